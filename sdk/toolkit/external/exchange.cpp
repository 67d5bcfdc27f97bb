#include "toolkit/external/exchange.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/matrix_presence.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

constexpr const char* kPrefix = "linex-external-";
constexpr const char* kLock = ".lock";
constexpr std::uint64_t kHeader = 1 << 16;  ///< more than a .npy header takes

/// The lock of a folder, held, or -1 where another process holds it.
int lock_folder(const fs::path& folder) {
  const int fd = ::open((folder / kLock).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0) ::close(fd);
  return -1;
}

/// Folders of ours that nobody holds.
void remove_left_behind(const fs::path& root) {
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(root, failure)) {
    const std::string name = entry.path().filename().string();
    if (name.compare(0, std::strlen(kPrefix), kPrefix) != 0) continue;
    struct stat info {};
    if (::lstat(entry.path().c_str(), &info) != 0 || !S_ISDIR(info.st_mode) ||
        info.st_uid != ::getuid() || !fs::exists(entry.path() / kLock, failure))
      continue;
    const int lock = lock_folder(entry.path());
    if (lock < 0) continue;
    fs::remove_all(entry.path(), failure);
    ::close(lock);
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> parts;
  for (const auto extent : shape) parts.push_back(extent < 0 ? "any" : std::to_string(extent));
  return "(" + join(parts, ", ") + ")";
}

std::string dtype_text(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32:
      return "float32";
    case torch::kFloat64:
      return "float64";
    case torch::kFloat16:
      return "float16";
    case torch::kInt64:
      return "int64";
    case torch::kInt32:
      return "int32";
    case torch::kInt16:
      return "int16";
    case torch::kInt8:
      return "int8";
    case torch::kUInt8:
      return "uint8";
    case torch::kBool:
      return "bool";
    default:
      return c10::toString(type);
  }
}

Json described(const fs::path& file, const torch::Tensor& tensor) {
  return {{"file", file.string()},
          {"dtype", dtype_text(tensor.scalar_type())},
          {"shape", tensor.sizes().vec()}};
}

/// The .npy file whose mapped bytes are all of `tensor`, or "".
fs::path mapped_from(const torch::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu() || tensor.nbytes() == 0) return {};
  const auto first = reinterpret_cast<std::uintptr_t>(tensor.data_ptr());
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0, offset = 0;
    unsigned major = 0, minor = 0;
    unsigned long inode = 0;
    int path_at = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR " %x:%x %lu %n", &begin,
                    &end, &offset, &major, &minor, &inode, &path_at) < 6 ||
        inode == 0 || first < begin || first >= end)
      continue;
    const fs::path path = line.substr(static_cast<std::size_t>(path_at));
    // The name may have been given to another file since.
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0 || info.st_ino != inode) return {};
    try {
      const torch::Tensor again = map_npy(path);
      // Where the data begin: a header takes the rest of the file.
      const std::uint64_t size = static_cast<std::uint64_t>(info.st_size);
      const bool whole = again.sizes().equals(tensor.sizes()) &&
                         again.scalar_type() == tensor.scalar_type() &&
                         offset + (first - begin) + tensor.nbytes() <= size;
      const auto* const a = static_cast<const unsigned char*>(again.data_ptr());
      const std::size_t probe = std::min<std::size_t>(tensor.nbytes(), 4096);
      const std::size_t last = tensor.nbytes() - probe;
      const auto* const b = static_cast<const unsigned char*>(tensor.data_ptr());
      if (whole && std::memcmp(a, b, probe) == 0 && std::memcmp(a + last, b + last, probe) == 0)
        return path;
    } catch (const Error&) {  // not a .npy file
    }
    return {};
  }
  return {};
}

}  // namespace

Exchange::Exchange(const RunSettings& run) {
  open(run.cache.empty() ? fs::temp_directory_path() : fs::absolute(run.cache));
}

Exchange::Exchange(const RunSettings& run, std::uint64_t bytes) {
  const fs::path memory = "/dev/shm";
  std::error_code failure;
  const auto space = fs::space(memory, failure);
  constexpr std::uint64_t kShare = 4;  // leaves the memory to others
  if (!failure && space.available / kShare > bytes && ::access(memory.c_str(), W_OK) == 0)
    open(memory);
  else
    open(run.cache.empty() ? fs::temp_directory_path() : fs::absolute(run.cache));
}

void Exchange::open(const fs::path& root) {
  std::error_code failure;
  fs::create_directories(root, failure);
  remove_left_behind(root);
  std::string name = (root / (kPrefix + std::string("XXXXXX"))).string();
  if (!::mkdtemp(name.data()))
    throw input_error("cannot make a folder in " + root.string() + ": " + std::strerror(errno));
  folder_ = name;
  lock_ = lock_folder(folder_);
}

Exchange::~Exchange() {
  std::error_code failure;
  if (keep_)
    fs::remove(folder_ / kLock, failure);  // or the next run would take it for left behind
  else
    fs::remove_all(folder_, failure);
  if (lock_ >= 0) ::close(lock_);
}

fs::path Exchange::room_for(const std::string& file, std::uint64_t bytes) const {
  std::error_code failure;
  const auto space = fs::space(folder_, failure);
  if (!failure && bytes > space.available)
    throw input_error("no room for " + file + " in " + folder_.string() + ": " +
                      std::to_string(bytes >> 20) + " MB are needed, " +
                      std::to_string(space.available >> 20) +
                      " MB are free; name another folder by run.cache");
  return folder_ / file;
}

Json Exchange::give(const std::string& name, const torch::Tensor& tensor) const {
  if (const fs::path mapped = mapped_from(tensor); !mapped.empty())
    return described(mapped, tensor);
  const fs::path path = room_for(name + ".npy", tensor.nbytes());
  write_scratch_npy(path, tensor);
  return described(path, tensor);
}

Json Exchange::give(const std::string& name, const Presence& presence,
                    const PluginContext& context) const {
  const std::int64_t rows = presence.rows(), cols = presence.cols();
  fs::path mapped;
  if (const auto* whole = ability<WholeMatrix>(presence))
    if (whole->matrix().scalar_type() == torch::kFloat32) mapped = mapped_from(whole->matrix());
  const auto row_bytes = static_cast<std::uint64_t>(cols) * sizeof(float);
  const fs::path path =
      !mapped.empty()
          ? mapped
          : room_for(name + ".npy", static_cast<std::uint64_t>(rows) * row_bytes + kHeader);
  const std::int64_t most =
      std::clamp<std::int64_t>(context.run().memory_bytes / 8, 1 << 16, 1 << 25);
  const std::int64_t at_once = std::clamp<std::int64_t>(
      most / std::max<std::int64_t>(1, static_cast<std::int64_t>(row_bytes)), 1,
      std::max<std::int64_t>(1, rows));
  std::optional<NpyWriter> writer;
  if (mapped.empty()) writer.emplace(path, std::vector<std::int64_t>{rows, cols}, false);
  torch::Tensor block = torch::empty({at_once, cols});
  std::vector<std::int64_t> ids;
  for (std::int64_t begin = 0; begin < rows; begin += at_once) {
    check_cancelled(context);
    const std::int64_t n = std::min(at_once, rows - begin);
    ids.resize(static_cast<std::size_t>(n));
    std::iota(ids.begin(), ids.end(), begin);
    // A file as it is is read, too: that finds what is not finite.
    presence.read(ids, Columns::all(), block.data_ptr<float>());
    if (writer) writer->append(block.narrow(0, 0, n));
  }
  if (writer) writer->finish();
  return {{"file", path.string()}, {"dtype", "float32"}, {"shape", {rows, cols}}};
}

std::string Exchange::give(const std::string& name, const Json& value) const {
  const fs::path path = folder_ / (name + ".json");
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  AtomicFile file(path, false);
  file.append(text.data(), text.size());
  file.finish();
  return path.string();
}

torch::Tensor Exchange::take(const std::string& name,
                             const std::vector<std::int64_t>& shape) const {
  const std::string shown = "'" + printable(name) + "'";
  fs::path path(name);
  if (path.is_absolute() && path.parent_path() == folder_) path = path.filename();
  if (name.empty() || path.has_parent_path() || path == ".." || path == ".")
    throw std::invalid_argument("the file " + shown + " is not in the exchange folder");
  path = folder_ / path;
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    throw std::invalid_argument("there is no file " + shown + " in the exchange folder");
  if (!S_ISREG(info.st_mode))
    throw std::invalid_argument("the file " + shown +
                                " is not a regular file of the exchange folder");

  std::uint64_t most = sizeof(double);  // room for a wrong dtype, so that it can be told
  const bool bounded = std::all_of(shape.begin(), shape.end(), [](auto e) { return e >= 0; });
  for (const auto extent : shape)
    if (__builtin_mul_overflow(most, static_cast<std::uint64_t>(std::max<std::int64_t>(extent, 1)),
                               &most))
      most = UINT64_MAX / 2;
  constexpr std::uint64_t kMostUnknown = 1ULL << 32;
  most = (bounded ? most : kMostUnknown) + kHeader;
  if (static_cast<std::uint64_t>(info.st_size) > most)
    throw std::invalid_argument("the file " + shown + " has " + std::to_string(info.st_size) +
                                " bytes; float32 " + shape_text(shape) + " is expected");
  torch::Tensor tensor;
  try {
    tensor = read_npy(path, most);
  } catch (const Error& error) {
    throw std::invalid_argument(error.what());
  }
  const auto sizes = tensor.sizes();
  bool same = sizes.size() == shape.size();
  for (std::size_t i = 0; same && i < shape.size(); ++i)
    same = shape[i] < 0 || sizes[i] == shape[i];
  if (!same || tensor.scalar_type() != torch::kFloat32)
    throw std::invalid_argument("the file " + shown + " is " + dtype_text(tensor.scalar_type()) +
                                " " + shape_text(sizes.vec()) + ", not float32 " +
                                shape_text(shape));
  const auto finite = torch::isfinite(tensor);
  if (!finite.all().item<bool>()) {
    const auto at = finite.logical_not().nonzero()[0];
    std::vector<std::int64_t> index(at.data_ptr<std::int64_t>(),
                                    at.data_ptr<std::int64_t>() + at.numel());
    throw std::invalid_argument("the file " + shown + " holds NaN or an infinite value at " +
                                shape_text(index));
  }
  return tensor;
}

}  // namespace linex
