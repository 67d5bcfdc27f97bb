// Plain values as bytes and back, between processes of one run. Not a file format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace linex {

class ByteWriter {
 public:
  template <class T>
  std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>> put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put(const std::string& text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes_ += text;
  }
  template <class T>
  void put(const std::vector<T>& values) {
    put(static_cast<std::uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), sizeof(T) * values.size());
  }
  void put(const std::map<std::string, double>& values) {
    put(static_cast<std::uint64_t>(values.size()));
    for (const auto& [name, value] : values) {
      put(name);
      put(value);
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Reads what a ByteWriter wrote, which it lends. Throws std::logic_error where it is something
/// else.
class ByteReader {
 public:
  explicit ByteReader(const std::string& bytes) : bytes_(bytes) {}

  bool at_end() const { return at_ == bytes_.size(); }
  template <class T>
  std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>> take(T& value) {
    std::memcpy(&value, next(sizeof value), sizeof value);
  }
  void take(std::string& text) {
    const std::size_t size = count(1);
    text.assign(next(size), size);
  }
  template <class T>
  void take(std::vector<T>& values) {
    values.resize(count(sizeof(T)));
    if (!values.empty())
      std::memcpy(values.data(), next(sizeof(T) * values.size()), sizeof(T) * values.size());
  }
  void take(std::map<std::string, double>& values) {
    for (std::size_t left = count(1); left > 0; --left) {
      std::string name;
      take(name);
      take(values[name]);
    }
  }
  /// A number of elements of at least `size` bytes each.
  std::size_t count(std::size_t size) {
    std::uint64_t count = 0;
    take(count);
    if (count > (bytes_.size() - at_) / size)
      throw std::logic_error("bytes of another rank end early");
    return static_cast<std::size_t>(count);
  }

 private:
  const char* next(std::size_t size) {
    if (size > bytes_.size() - at_) throw std::logic_error("bytes of another rank end early");
    at_ += size;
    return bytes_.data() + at_ - size;
  }

  const std::string& bytes_;
  std::size_t at_ = 0;
};

}  // namespace linex
