#include "toolkit/base/file_digest.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// A regular file, open for reading. What cannot be read is an Error(input).
class OpenFile {
 public:
  explicit OpenFile(const fs::path& path)
      // Does not wait for the other end of a FIFO.
      : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (file_ < 0) fail(std::strerror(errno));
    if (::fstat(file_, &status_) == 0 && S_ISREG(status_.st_mode)) return;
    ::close(file_);
    fail("not a regular file");
  }
  ~OpenFile() { ::close(file_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  const struct stat& status() const { return status_; }
  std::uint64_t size() const { return static_cast<std::uint64_t>(status_.st_size); }

  /// To its end, where that comes first.
  std::string digest(std::uint64_t begin, std::uint64_t bytes) const {
    Sha256 digest;
    std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, 1 << 20)));
    while (bytes > 0) {
      const ssize_t got = ::pread(file_, buffer.data(), std::min<std::size_t>(buffer.size(), bytes),
                                  static_cast<off_t>(begin));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::strerror(errno));
      if (got == 0) break;
      digest.add(buffer.data(), static_cast<std::size_t>(got));
      begin += static_cast<std::uint64_t>(got);
      bytes -= static_cast<std::uint64_t>(got);
    }
    return digest.hex();
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw input_error("cannot read " + path_.string() + ": " + why);
  }

  const fs::path& path_;
  int file_;
  struct stat status_ {};
};

/// "" for small files, which folders have by the million, and where a clock's tick may hold two
/// changes.
std::string stamp_of(const struct stat& status) {
  constexpr off_t kLarge = 1 << 20;
  if (status.st_size < kLarge || std::time(nullptr) - status.st_ctim.tv_sec < 2) return "";
  return std::to_string(status.st_dev) + " " + std::to_string(status.st_ino) + " " +
         std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
         std::to_string(status.st_mtim.tv_nsec) + " " + std::to_string(status.st_ctim.tv_sec) +
         "." + std::to_string(status.st_ctim.tv_nsec);
}

/// Digests by stamp.
class KnownDigests {
 public:
  void keep(const std::string& stamp, const std::string& digest) {
    const std::lock_guard<std::mutex> guard(lock_);
    if (!stamp.empty()) digests_[stamp] = digest;
  }
  std::string find(const std::string& stamp) {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto found = digests_.find(stamp);
    return found == digests_.end() ? "" : found->second;
  }

 private:
  std::mutex lock_;
  std::map<std::string, std::string> digests_;
};
KnownDigests& known_digests() {
  static KnownDigests known;
  return known;
}

}  // namespace

std::string digest_of_pieces(const std::vector<std::string>& pieces) {
  if (pieces.size() == 1) return pieces.front();
  Sha256 digest;
  for (const std::string& piece : pieces) digest.add(piece.data(), piece.size()).add("\n", 1);
  return digest.hex();
}

std::string digest_of_piece(const fs::path& path, std::int64_t piece) {
  const OpenFile file(path);
  if (piece >= digest_pieces(file.size()))
    throw input_error("cannot read " + path.string() + ": it has become shorter");
  return file.digest(static_cast<std::uint64_t>(piece) * kDigestPiece, kDigestPiece);
}

std::string digest_of_file(const fs::path& path, int threads) {
  const OpenFile file(path);
  const std::string before = stamp_of(file.status());
  if (const std::string known = known_digests().find(before); !known.empty()) return known;
  std::vector<std::string> pieces(static_cast<std::size_t>(digest_pieces(file.size())));
  parallel_for(static_cast<std::int64_t>(pieces.size()), threads, [&](std::int64_t i) {
    pieces[static_cast<std::size_t>(i)] =
        file.digest(static_cast<std::uint64_t>(i) * kDigestPiece, kDigestPiece);
  });
  const std::string digest = digest_of_pieces(pieces);
  remember_digest(path, before, digest);
  return digest;
}

std::string stamp_of_file(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? stamp_of(status) : "";
}

std::string known_digest(const std::string& stamp) { return known_digests().find(stamp); }

void remember_digest(const fs::path& path, const std::string& stamp, const std::string& digest) {
  if (stamp_of_file(path) == stamp) known_digests().keep(stamp, digest);
}

}  // namespace linex
