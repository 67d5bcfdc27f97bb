// JSON configurations as libraries keep them beside weights.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace linex {

/// An object of a configuration, or nothing. Lookups never throw: what is absent or of another form
/// tells nothing. Copies share the file's contents. [any thread]
class ConfigFile {
 public:
  /// Tells nothing.
  ConfigFile() = default;
  /// Throws Error(input) unless `file` is a JSON object (of at most 16 MiB).
  static ConfigFile open(const std::filesystem::path& file);
  /// The first of `names` beside `weights`, or in it where that is a folder; else nothing.
  static ConfigFile beside(const std::filesystem::path& weights,
                           const std::vector<std::string>& names);

  explicit operator bool() const { return object_ != nullptr; }
  /// The object under `key`, or nothing.
  ConfigFile section(const std::string& key) const;
  /// A whole number in [1, 100000], or `fallback`.
  std::int64_t count(const std::string& key, std::int64_t fallback) const;
  /// The numbers of a list of at most 8 whole ones in [1, 100000]; empty for anything else.
  std::vector<std::int64_t> counts(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> flag(const std::string& key) const;
  /// Three finite numbers.
  std::optional<std::array<float, 3>> triple(const std::string& key) const;
  std::string text(const std::string& key) const;  ///< "" where there is none
  /// The file, for messages; "" where there is none.
  const std::string& source() const { return source_; }

 private:
  std::shared_ptr<const void> object_;  // a nlohmann::json
  std::string source_;
};

}  // namespace linex
