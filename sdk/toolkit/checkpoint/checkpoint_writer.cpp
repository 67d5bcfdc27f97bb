#include "toolkit/checkpoint/checkpoint_writer.hpp"

#include <zlib.h>

#include <cstdint>
#include <cstring>

#include "toolkit/base/files.hpp"

namespace linex {

namespace {

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i, value >>= 8) out += static_cast<char>(value & 0xff);
}

/// Pickle protocol 2. Tensors become _rebuild_tensor_v2 over storages kept beside the pickle.
class Pickler {
 public:
  std::string run(const CheckpointNode& root) {
    out_ = "\x80\x02";
    write(root);
    return out_ + ".";
  }
  const std::vector<std::string>& storages() const { return storages_; }

 private:
  void text(const std::string& value) {
    out_ += 'X';
    put(out_, value.size(), 4);
    out_ += value;
  }
  void integer(std::int64_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX) {
      out_ += 'J';
      put(out_, static_cast<std::uint64_t>(value), 4);
      return;
    }
    out_ += "\x8a\x08";  // LONG1 of eight bytes
    put(out_, static_cast<std::uint64_t>(value), 8);
  }
  void integers(torch::IntArrayRef values) {
    out_ += '(';
    for (const auto value : values) integer(value);
    out_ += 't';
  }

  void write(const CheckpointNode& node) {
    if (const auto* flag = std::get_if<bool>(&node.value)) {
      out_ += *flag ? '\x88' : '\x89';
    } else if (const auto* whole = std::get_if<std::int64_t>(&node.value)) {
      integer(*whole);
    } else if (const auto* real = std::get_if<double>(&node.value)) {
      std::uint64_t bits;
      std::memcpy(&bits, real, sizeof bits);
      out_ += 'G';
      for (int i = 7; i >= 0; --i) out_ += static_cast<char>(bits >> (8 * i) & 0xff);
    } else if (const auto* words = std::get_if<std::string>(&node.value)) {
      text(*words);
    } else if (const auto* tensor = std::get_if<torch::Tensor>(&node.value)) {
      write(*tensor);
    } else if (const auto* list = std::get_if<CheckpointNode::List>(&node.value)) {
      out_ += "](";
      for (const auto& item : *list) write(item);
      out_ += 'e';
    } else if (const auto* dict = std::get_if<CheckpointNode::Dict>(&node.value)) {
      out_ += "}(";
      for (const auto& [key, item] : *dict) {
        text(key);
        write(item);
      }
      out_ += 'u';
    } else {
      out_ += 'N';
    }
  }

  void write(const torch::Tensor& tensor) {
    const torch::Tensor dense = tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous();
    const std::string key = std::to_string(storages_.size());
    storages_.emplace_back(static_cast<const char*>(dense.data_ptr()), dense.nbytes());
    out_ += "ctorch._utils\n_rebuild_tensor_v2\n((";
    text("storage");
    out_ += "ctorch\nFloatStorage\n";
    text(key);
    text("cpu");
    integer(dense.numel());
    out_ += "tQ";  // the tuple names a storage
    integer(0);
    integers(dense.sizes());
    integers(dense.strides());
    out_ +=
        "\x89"
        "ccollections\nOrderedDict\n)RtR";
  }

  std::string out_;
  std::vector<std::string> storages_;
};

/// Stored members, each starting at a multiple of 64 bytes as PyTorch aligns them.
class ZipWriter {
 public:
  void add(const std::string& name, const std::string& content) {
    constexpr std::size_t kAlignment = 64, kLocalHeader = 30;
    const std::size_t at = out_.size();
    const std::size_t start = at + kLocalHeader + name.size();
    // An extra field of unknown id takes the padding; it needs four bytes of its own.
    const std::size_t padding = 4 + (kAlignment - (start + 4) % kAlignment) % kAlignment;
    std::string common;
    put(common, 20, 2);  // version needed
    put(common, 0, 2);
    put(common, 0, 2);          // stored
    put(common, 0x21'0000, 4);  // 1980-01-01: same content, same bytes
    put(common, ::crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()), 4);
    put(common, content.size(), 4);
    put(common, content.size(), 4);
    put(common, name.size(), 2);
    out_ += "PK\x03\x04" + common;
    put(out_, padding, 2);
    out_ += name;
    put(out_, 0x4246, 2);
    put(out_, padding - 4, 2);
    out_.append(padding - 4, 'Z');
    out_ += content;

    directory_ += "PK\x01\x02";
    put(directory_, 20, 2);
    directory_ += common;
    put(directory_, 0, 2 + 2 + 2 + 2 + 4);  // extra, comment, disk, attributes
    put(directory_, at, 4);
    directory_ += name;
    ++entries_;
  }
  std::string finish() {
    const std::size_t at = out_.size();
    out_ += directory_ + std::string("PK\x05\x06\0\0\0\0", 8);
    put(out_, entries_, 2);
    put(out_, entries_, 2);
    put(out_, directory_.size(), 4);
    put(out_, at, 4);
    put(out_, 0, 2);
    return out_;
  }

 private:
  std::string out_, directory_;
  std::uint64_t entries_ = 0;
};

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const CheckpointNode& root) {
  Pickler pickler;
  const std::string pickle = pickler.run(root);
  const std::string folder = path.stem().string();
  ZipWriter zip;
  zip.add(folder + "/data.pkl", pickle);
  zip.add(folder + "/byteorder", "little");
  for (std::size_t i = 0; i < pickler.storages().size(); ++i)
    zip.add(folder + "/data/" + std::to_string(i), pickler.storages()[i]);
  zip.add(folder + "/version", "3\n");
  write_file_atomic(path, zip.finish());
}

}  // namespace linex
