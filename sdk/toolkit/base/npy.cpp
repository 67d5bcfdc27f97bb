// NumPy's .npy format, version 1.0–3.0 (numpy/lib/format.py documents it).
#include "toolkit/base/npy.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

struct Header {
  torch::ScalarType dtype;
  std::vector<std::int64_t> shape;
  std::size_t data_offset;
};

constexpr struct {
  const char* descr;
  torch::ScalarType dtype;
} kTypes[] = {{"<f4", torch::kFloat32}, {"<f8", torch::kFloat64}, {"<f2", torch::kFloat16},
              {"<i8", torch::kInt64},   {"<i4", torch::kInt32},   {"<i2", torch::kInt16},
              {"|i1", torch::kInt8},    {"|u1", torch::kUInt8},   {"|b1", torch::kBool}};

Error npy_error(const fs::path& path, const std::string& what) {
  return input_error("cannot read " + path.string() + ": " + what);
}

/// Text after `key` in the header's Python dict literal, up to `stop`.
std::string field(const std::string& header, const std::string& key, char stop,
                  const fs::path& path) {
  auto at = header.find("'" + key + "'");
  if (at != std::string::npos) at = header.find(':', at);
  if (at == std::string::npos) throw npy_error(path, "its .npy header has no '" + key + "'");
  const auto begin = header.find_first_not_of(' ', at + 1);
  const auto end = header.find(stop, begin == std::string::npos ? at : begin);
  if (begin == std::string::npos || end == std::string::npos)
    throw npy_error(path, "its .npy header is malformed");
  return header.substr(begin, end - begin);
}

std::vector<std::int64_t> parse_shape(const std::string& text, const fs::path& path) {
  std::vector<std::int64_t> shape;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto begin = text.find_first_of("0123456789", at);
    if (begin == std::string::npos) break;
    auto end = text.find_first_not_of("0123456789", begin);
    if (end == std::string::npos) end = text.size();
    if (end - begin > 18) throw npy_error(path, "its .npy shape is absurd: (" + text + ")");
    shape.push_back(std::stoll(text.substr(begin, end - begin)));
    at = end;
  }
  if (shape.size() > 8) throw npy_error(path, "its .npy shape has more than 8 dimensions");
  return shape;
}

Header parse_header(const unsigned char* bytes, std::size_t size, const fs::path& path) {
  if (size < 10 || std::memcmp(bytes, "\x93NUMPY", 6) != 0)
    throw npy_error(path, "it is not a .npy file");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw npy_error(path, "unknown .npy version " + std::to_string(version));
  const std::size_t prefix = version == 1 ? 10 : 12;
  if (size < prefix) throw npy_error(path, "it is truncated");
  std::size_t length = bytes[8] | bytes[9] << 8;
  if (version > 1)
    length |= static_cast<std::size_t>(bytes[10]) << 16 | static_cast<std::size_t>(bytes[11]) << 24;
  if (length > size - prefix) throw npy_error(path, "it is truncated");
  const std::string text(reinterpret_cast<const char*>(bytes) + prefix, length);

  const std::string descr = field(text, "descr", ',', path);
  std::optional<torch::ScalarType> dtype;
  for (const auto& type : kTypes)
    if (descr == std::string("'") + type.descr + "'") dtype = type.dtype;
  if (!dtype)
    throw npy_error(path, "dtype " + descr +
                              " is not supported; save it as float32, e.g. "
                              "numpy.save(f, a.astype('float32'))");
  if (field(text, "fortran_order", ',', path) != "False")
    throw npy_error(path, "it is in Fortran order; save numpy.ascontiguousarray(a)");
  const auto open = field(text, "shape", ')', path);
  if (open.empty() || open[0] != '(') throw npy_error(path, "its .npy header is malformed");
  return {*dtype, parse_shape(open.substr(1), path), prefix + length};
}

void write_all(int fd, const void* bytes, std::size_t size, const fs::path& path) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = ::write(fd, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw input_error("cannot write " + path.string() + ": " + std::strerror(errno));
    at += put;
    size -= static_cast<std::size_t>(put);
  }
}

std::string header_bytes(torch::ScalarType dtype, const std::vector<std::int64_t>& shape) {
  const char* descr = nullptr;
  for (const auto& type : kTypes)
    if (type.dtype == dtype) descr = type.descr;
  if (!descr) throw std::logic_error("write_npy: unsupported dtype");
  std::string text = std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += std::to_string(shape[i]) + (shape.size() == 1 ? "," : i + 1 < shape.size() ? ", " : "");
  text += "), }";
  // NumPy aligns the data to 64 bytes; the header ends in a line feed.
  text.append((64 - (10 + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}

constexpr std::uint64_t kLargeFile = std::uint64_t{1} << 30;

/// Where large files are mapped: release_rows must not touch any other memory.
class LargeFiles {
 public:
  void add(const unsigned char* begin, std::uint64_t size) {
    const std::lock_guard<std::mutex> lock(lock_);
    size_of_[begin] = size;
  }
  void remove(const unsigned char* begin) {
    const std::lock_guard<std::mutex> lock(lock_);
    size_of_.erase(begin);
  }
  bool contain(const unsigned char* address) {
    const std::lock_guard<std::mutex> lock(lock_);
    auto after = size_of_.upper_bound(address);
    if (after == size_of_.begin()) return false;
    --after;
    return address < after->first + after->second;
  }

 private:
  std::mutex lock_;
  std::map<const unsigned char*, std::uint64_t> size_of_;
};

/// Never destroyed: a tensor may outlive everything at exit.
LargeFiles& large_files() {
  static auto* const files = new LargeFiles;
  return *files;
}

/// The header of a file of `size` bytes whose data are all there.
Header checked_header(const unsigned char* file, std::size_t size, const fs::path& path) {
  Header header = parse_header(file, size, path);
  std::uint64_t bytes = torch::elementSize(header.dtype);
  for (const auto extent : header.shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes))
      throw npy_error(path, "its .npy shape is absurd");
  if (bytes > size - header.data_offset)
    throw npy_error(path, "it is truncated: its shape needs " + std::to_string(bytes) +
                              " bytes of data, it has " +
                              std::to_string(size - header.data_offset));
  return header;
}

}  // namespace

torch::Tensor map_npy(const fs::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  const Header header = checked_header(file->data(), file->size(), path);
  unsigned char* data = file->data() + header.data_offset;
  const std::uint64_t size = file->size();
  if (size >= kLargeFile) large_files().add(file->data(), size);
  return torch::from_blob(
      data, header.shape,
      [file, size](void*) {
        if (size >= kLargeFile) large_files().remove(file->data());
      },
      torch::dtype(header.dtype));
}

torch::Tensor read_npy(const fs::path& path, std::uint64_t max_bytes) {
  const std::string content = read_file(path, max_bytes);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(content.data());
  const Header header = checked_header(bytes, content.size(), path);
  torch::Tensor tensor = torch::empty(header.shape, torch::dtype(header.dtype));
  std::memcpy(tensor.data_ptr(), bytes + header.data_offset, tensor.nbytes());
  return tensor;
}

void release_rows(const torch::Tensor& mapped, std::int64_t first, std::int64_t n) {
  if (mapped.nbytes() < kLargeFile / 2 || !mapped.is_contiguous() || n <= 0) return;
  auto* const begin = static_cast<unsigned char*>(mapped.data_ptr());
  if (!large_files().contain(begin)) return;
  const std::uint64_t row = mapped.nbytes() / static_cast<std::uint64_t>(mapped.size(0));
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t from = (address + row * static_cast<std::uint64_t>(first) + page - 1) / page;
  const std::uintptr_t to = (address + row * static_cast<std::uint64_t>(first + n)) / page;
  if (from < to) ::madvise(reinterpret_cast<void*>(from * page), (to - from) * page, MADV_DONTNEED);
}

torch::Tensor copy_rows(const torch::Tensor& any, const std::vector<std::int64_t>& rows) {
  const torch::Tensor matrix = any.contiguous();
  constexpr std::size_t kRowsAtOnce = 1024;
  auto shape = matrix.sizes().vec();
  shape[0] = static_cast<std::int64_t>(rows.size());
  torch::Tensor copy = torch::empty(shape, matrix.options());
  const std::size_t row = rows.empty() ? 0 : copy.nbytes() / rows.size();
  const auto* const from = static_cast<const unsigned char*>(matrix.data_ptr());
  auto* to = static_cast<unsigned char*>(copy.data_ptr());
  for (std::size_t begin = 0; begin < rows.size(); begin += kRowsAtOnce) {
    const std::size_t end = std::min(rows.size(), begin + kRowsAtOnce);
    for (std::size_t i = begin; i < end; ++i, to += row)
      std::memcpy(to, from + static_cast<std::size_t>(rows[i]) * row, row);
    release_rows(matrix, rows[begin], rows[end - 1] + 1 - rows[begin]);
  }
  return copy;
}

struct NpyWriter::State {
  fs::path path, temporary;
  std::vector<std::int64_t> shape;
  std::int64_t rows = 0;
  bool durable = true;
  int fd = -1;
};

NpyWriter::NpyWriter(const fs::path& path, std::vector<std::int64_t> shape, bool durable)
    : state_(std::make_unique<State>()) {
  state_->durable = durable;
  state_->path = path;
  state_->temporary = path.string() + ".tmp" + std::to_string(::getpid());
  state_->shape = std::move(shape);
  state_->fd = ::open(state_->temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (state_->fd < 0)
    throw input_error("cannot write " + path.string() + ": " + std::strerror(errno));
  const std::string header = header_bytes(torch::kFloat32, state_->shape);
  write_all(state_->fd, header.data(), header.size(), path);
}

NpyWriter::~NpyWriter() {
  if (state_->fd < 0) return;
  ::close(state_->fd);
  ::unlink(state_->temporary.c_str());
}

void NpyWriter::append(const torch::Tensor& rows) {
  const auto block = rows.to(torch::kCPU, torch::kFloat32).contiguous();
  if (!block.sizes().slice(1).equals(torch::IntArrayRef(state_->shape).slice(1)))
    throw std::logic_error("NpyWriter::append: rows have another shape than the file");
  state_->rows += block.size(0);
  write_all(state_->fd, block.data_ptr(), block.nbytes(), state_->path);
}

void NpyWriter::finish() {
  if (state_->rows != state_->shape[0])
    throw std::logic_error("NpyWriter::finish: fewer or more rows than announced");
  const bool synced = !state_->durable || ::fsync(state_->fd) == 0;
  ::close(state_->fd);
  state_->fd = -1;
  if (!synced || ::rename(state_->temporary.c_str(), state_->path.c_str()) != 0)
    throw input_error("cannot write " + state_->path.string() + ": " + std::strerror(errno));
}

void write_npy(const fs::path& path, const torch::Tensor& tensor) {
  const auto data = tensor.cpu().contiguous();
  std::string content = header_bytes(data.scalar_type(), data.sizes().vec());
  content.append(static_cast<const char*>(data.data_ptr()), data.nbytes());
  write_file_atomic(path, content);
}

void write_scratch_npy(const fs::path& path, const torch::Tensor& tensor) {
  const auto data = tensor.cpu().contiguous();
  const fs::path temporary = path.string() + ".tmp";
  const int fd =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) throw input_error("cannot write " + path.string() + ": " + std::strerror(errno));
  try {
    const std::string header = header_bytes(data.scalar_type(), data.sizes().vec());
    write_all(fd, header.data(), header.size(), path);
    write_all(fd, data.data_ptr(), data.nbytes(), path);
  } catch (...) {
    ::close(fd);
    ::unlink(temporary.c_str());
    throw;
  }
  ::close(fd);
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw input_error("cannot write " + path.string() + ": " + std::strerror(errno));
}

}  // namespace linex
