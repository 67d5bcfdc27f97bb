// NumPy's .npy format, version 1.0–3.0 (numpy/lib/format.py documents it).
#include "toolkit/base/npy.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string_view>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// How elements lie in the file.
struct Element {
  torch::ScalarType dtype = torch::kFloat32;  ///< of the tensor
  std::size_t size = 4;                       ///< bytes in the file
  bool big_endian = false;
  bool is_unsigned = false;  ///< of 2, 4 or 8 bytes, which a tensor has not: the next wider signed
};

struct Header {
  Element element;
  bool fortran = false;
  std::vector<std::int64_t> shape;
  std::size_t data_offset;
};

constexpr struct {
  const char* descr;
  torch::ScalarType dtype;
} kTypes[] = {{"<f4", torch::kFloat32}, {"<f8", torch::kFloat64}, {"<f2", torch::kFloat16},
              {"<i8", torch::kInt64},   {"<i4", torch::kInt32},   {"<i2", torch::kInt16},
              {"|i1", torch::kInt8},    {"|u1", torch::kUInt8},   {"|b1", torch::kBool}};

Error npy_error(const std::string& source, const std::string& what) {
  return input_error("cannot read " + source + ": " + what);
}

Error no_type(const std::string& source, const std::string& descr, const std::string& why) {
  return npy_error(source, "dtype " + printable(descr) + why +
                               "; save it as float32, e.g. numpy.save(f, a.astype('float32'))");
}

/// NumPy's type string, e.g. <f4.
Element parse_type(const std::string& descr, const std::string& source) {
  const auto refuse = [&](const std::string& why) {
    return no_type(source, "'" + descr + "'", why);
  };
  if (descr.size() < 2) throw refuse(" is not supported");
  if (descr[1] == 'O') throw refuse(" holds Python objects, which are never run");
  if (descr[1] == 'c') throw refuse(" is complex");
  const std::string type = descr.substr(1);
  static const std::map<std::string, Element> kKinds = {
      {"f2", {torch::kFloat16, 2, false, false}}, {"f4", {torch::kFloat32, 4, false, false}},
      {"f8", {torch::kFloat64, 8, false, false}}, {"i1", {torch::kInt8, 1, false, false}},
      {"i2", {torch::kInt16, 2, false, false}},   {"i4", {torch::kInt32, 4, false, false}},
      {"i8", {torch::kInt64, 8, false, false}},   {"u1", {torch::kUInt8, 1, false, false}},
      {"u2", {torch::kInt32, 2, false, true}},    {"u4", {torch::kInt64, 4, false, true}},
      {"u8", {torch::kInt64, 8, false, true}},    {"b1", {torch::kBool, 1, false, false}}};
  const auto found = kKinds.find(type);
  if (found == kKinds.end() || std::string_view("<>|=").find(descr[0]) == std::string_view::npos)
    throw refuse(" is not supported");
  Element element = found->second;
  element.big_endian = descr[0] == '>' && element.size > 1;
  return element;
}

/// Reads the header's text: a Python dict literal of the keys descr, fortran_order and shape, each
/// once, and blanks after it. Whatever else stands there is an error.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Header read() {
    Header header;
    std::set<std::string> seen;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr")
        header.element = parse_type(type(), source_);
      else if (key == "fortran_order")
        header.fortran = boolean();
      else if (key == "shape")
        header.shape = shape();
      else
        throw malformed();
      if (!seen.insert(key).second) throw malformed();
      if (take(',')) continue;
      expect('}');
      break;
    }
    skip_blanks();
    if (at_ < text_.size()) throw malformed();
    for (const char* key : {"descr", "fortran_order", "shape"})
      if (seen.count(key) == 0)
        throw npy_error(source_, std::string("its .npy header has no '") + key + "'");
    return header;
  }

 private:
  Error malformed() const { return npy_error(source_, "its .npy header is malformed"); }
  void skip_blanks() {
    while (at_ < text_.size() && std::strchr(" \t\n\r", text_[at_]) && text_[at_]) ++at_;
  }
  bool take(char wanted) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) throw malformed();
  }
  bool take_word(std::string_view word) {
    skip_blanks();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  /// A text without its quotes. No key and no type has an escape in it.
  std::string quoted() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : 0;
    const auto end = quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : text_.npos;
    if (end == text_.npos) throw malformed();
    const std::string inside(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return inside;
  }
  std::string type() {
    skip_blanks();
    const char first = at_ < text_.size() ? text_[at_] : 0;
    if (first == '[' || first == '(' || first == '{')
      throw no_type(source_, std::string(text_.substr(at_, text_.find(',', at_) - at_)),
                    " is a structure, not one number");
    return quoted();
  }
  bool boolean() {
    if (take_word("True")) return true;
    if (take_word("False")) return false;
    throw malformed();
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> extents;
    expect('(');
    while (!take(')')) {
      extents.push_back(extent());
      if (extents.size() > 8) throw npy_error(source_, "its .npy shape has more than 8 dimensions");
      if (take(',')) continue;
      expect(')');
      break;
    }
    return extents;
  }
  std::int64_t extent() {
    skip_blanks();
    const auto begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    const std::string digits(text_.substr(begin, at_ - begin));
    if (digits.empty()) throw malformed();
    if (digits.size() > 18) throw npy_error(source_, "its .npy shape is absurd: " + digits);
    take('L');  // Python 2
    return std::stoll(digits);
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0;
};

Header parse_header(const unsigned char* bytes, std::size_t size, const std::string& source) {
  if (size < 10 || std::memcmp(bytes, "\x93NUMPY", 6) != 0)
    throw npy_error(source, "it is not a .npy file");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw npy_error(source, "unknown .npy version " + std::to_string(version));
  const std::size_t prefix = version == 1 ? 10 : 12;
  if (size < prefix) throw npy_error(source, "it is truncated");
  std::size_t length = bytes[8] | bytes[9] << 8;
  if (version > 1)
    length |= static_cast<std::size_t>(bytes[10]) << 16 | static_cast<std::size_t>(bytes[11]) << 24;
  if (length > size - prefix) throw npy_error(source, "it is truncated");
  // Far above NumPy's own headers of plain arrays, which have a hundred bytes.
  constexpr std::size_t kMaxHeader = 1 << 20;
  if (length > kMaxHeader) throw npy_error(source, "its .npy header is absurdly long");
  Header header =
      HeaderReader({reinterpret_cast<const char*>(bytes) + prefix, length}, source).read();
  header.data_offset = prefix + length;
  return header;
}

/// One element, most significant byte first or last.
std::uint64_t element_bits(const unsigned char* from, const Element& element) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < element.size; ++i)
    bits = bits << 8 | from[element.big_endian ? i : element.size - 1 - i];
  return bits;
}

/// The elements as a tensor has them: in this machine's byte order, signed.
torch::Tensor convert(const unsigned char* data, std::int64_t count, const Element& element,
                      const std::string& source) {
  torch::Tensor values = torch::empty({count}, torch::dtype(element.dtype));
  auto* to = static_cast<unsigned char*>(values.data_ptr());
  const std::size_t width = torch::elementSize(element.dtype);
  if (count == 0) return values;  // and an array without values has no address
  if (!element.big_endian && !element.is_unsigned) {
    std::memcpy(to, data, static_cast<std::size_t>(count) * width);
    return values;
  }
  for (std::int64_t i = 0; i < count; ++i, data += element.size, to += width) {
    const std::uint64_t bits = element_bits(data, element);
    if (element.is_unsigned && element.size == 8 && bits >> 63)
      throw npy_error(source, "element " + std::to_string(i) + " is " + std::to_string(bits) +
                                  ", too large for a 64-bit integer; save it as float64");
    std::memcpy(to, &bits, width);  // the low bytes come first on every machine LibTorch runs on
  }
  return values;
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

}  // namespace

torch::Tensor npy_over_bytes(const std::shared_ptr<const void>& owner, unsigned char* bytes,
                             std::size_t size, const std::string& source) {
  const Header header = parse_header(bytes, size, source);
  // An array without values has strides all the same, which must not overflow: zeros come last.
  std::int64_t extents = sizeof(double), count = 1;
  for (const auto extent : header.shape) {
    if (__builtin_mul_overflow(extents, std::max<std::int64_t>(extent, 1), &extents))
      throw npy_error(source, "its .npy shape is absurd");
    count *= extent;
  }
  const std::uint64_t needed = header.element.size * static_cast<std::uint64_t>(count);
  if (needed > size - header.data_offset)
    throw npy_error(source, "it is truncated: its shape needs " + std::to_string(needed) +
                                " bytes of data, it has " +
                                std::to_string(size - header.data_offset));
  unsigned char* data = bytes + header.data_offset;
  const bool as_it_is = !header.element.big_endian && !header.element.is_unsigned &&
                        reinterpret_cast<std::uintptr_t>(data) % header.element.size == 0;
  const torch::Tensor values =
      as_it_is ? torch::from_blob(
                     data, {count}, [owner](void*) {}, torch::dtype(header.element.dtype))
               : convert(data, count, header.element, source);
  if (!header.fortran || header.shape.size() < 2) return values.view(header.shape);
  // Rows are what everybody reads: columns are gathered into them once.
  std::vector<std::int64_t> reversed(header.shape.rbegin(), header.shape.rend()), order;
  for (std::size_t d = reversed.size(); d-- > 0;) order.push_back(static_cast<std::int64_t>(d));
  return values.view(reversed).permute(order).contiguous();
}

torch::Tensor map_npy(const fs::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  const std::uint64_t size = file->size();
  if (size < kLargeFile) return npy_over_bytes(file, file->data(), file->size(), path.string());
  // Known as a large file for as long as a tensor views it.
  large_files().add(file->data(), size);
  const std::shared_ptr<const void> owner(
      file.get(), [file](const void*) { large_files().remove(file->data()); });
  return npy_over_bytes(owner, file->data(), file->size(), path.string());
}

torch::Tensor read_npy(const fs::path& path, std::uint64_t max_bytes) {
  const auto content = std::make_shared<std::string>(read_file(path, max_bytes));
  auto* const bytes = reinterpret_cast<unsigned char*>(content->data());
  return npy_over_bytes(content, bytes, content->size(), path.string());
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
  auto shape = matrix.sizes().vec();
  const std::int64_t columns = shape[0] > 0 ? matrix.numel() / shape[0] : 0;
  const torch::Tensor copy = copy_rows(matrix.view({shape[0], columns}), rows, 0, columns);
  shape[0] = static_cast<std::int64_t>(rows.size());
  return copy.view(shape);
}

torch::Tensor copy_rows(const torch::Tensor& any, const std::vector<std::int64_t>& rows,
                        std::int64_t first, std::int64_t columns) {
  const torch::Tensor matrix = any.contiguous();
  constexpr std::size_t kRowsAtOnce = 1024;
  torch::Tensor copy =
      torch::empty({static_cast<std::int64_t>(rows.size()), columns}, matrix.options());
  const std::size_t size = matrix.element_size(),
                    whole = static_cast<std::size_t>(matrix.size(1)) * size,
                    part = static_cast<std::size_t>(columns) * size;
  const auto* const from =
      static_cast<const unsigned char*>(matrix.data_ptr()) + static_cast<std::size_t>(first) * size;
  auto* to = static_cast<unsigned char*>(copy.data_ptr());
  for (std::size_t begin = 0; begin < rows.size(); begin += kRowsAtOnce) {
    const std::size_t end = std::min(rows.size(), begin + kRowsAtOnce);
    for (std::size_t i = begin; i < end; ++i, to += part)
      std::memcpy(to, from + static_cast<std::size_t>(rows[i]) * whole, part);
    release_rows(matrix, rows[begin], rows[end - 1] + 1 - rows[begin]);
  }
  return copy;
}

struct NpyWriter::State {
  AtomicFile file;
  std::vector<std::int64_t> shape;
  std::int64_t rows = 0;
};

NpyWriter::NpyWriter(const fs::path& path, std::vector<std::int64_t> shape, bool durable)
    : state_(new State{AtomicFile(path, durable), std::move(shape)}) {
  const std::string header = header_bytes(torch::kFloat32, state_->shape);
  state_->file.append(header.data(), header.size());
}

NpyWriter::~NpyWriter() = default;

void NpyWriter::append(const torch::Tensor& rows) {
  const auto block = rows.to(torch::kCPU, torch::kFloat32).contiguous();
  if (!block.sizes().slice(1).equals(torch::IntArrayRef(state_->shape).slice(1)))
    throw std::logic_error("NpyWriter::append: rows have another shape than the file");
  state_->rows += block.size(0);
  state_->file.append(block.data_ptr(), block.nbytes());
}

void NpyWriter::finish() {
  if (state_->rows != state_->shape[0])
    throw std::logic_error("NpyWriter::finish: fewer or more rows than announced");
  state_->file.finish();
}

void write_npy(const fs::path& path, const torch::Tensor& tensor) {
  const auto data = tensor.cpu().contiguous();
  std::string content = header_bytes(data.scalar_type(), data.sizes().vec());
  content.append(static_cast<const char*>(data.data_ptr()), data.nbytes());
  write_file_atomic(path, content);
}

void write_scratch_npy(const fs::path& path, const torch::Tensor& tensor) {
  const auto data = tensor.cpu().contiguous();
  const std::string header = header_bytes(data.scalar_type(), data.sizes().vec());
  AtomicFile file(path, false);
  file.append(header.data(), header.size());
  file.append(data.data_ptr(), data.nbytes());
  file.finish();
}

}  // namespace linex
