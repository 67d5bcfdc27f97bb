#include "core/run/folder_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

using FileId = std::pair<dev_t, ino_t>;

FileId id_of(const struct stat& info) { return {info.st_dev, info.st_ino}; }

/// The open, locked file; removes it when the last run of this process ends.
class Lock {
 public:
  Lock(int fd, fs::path file) : fd_(fd), file_(std::move(file)) {}
  ~Lock() {
    ::unlink(file_.c_str());
    ::close(fd_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_;
  fs::path file_;
};

std::string owner_text(int fd) {
  std::array<char, 256> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size() - 1, 0);
  const std::string owner = got > 0 ? printable(trim(text.data())) : "";
  return owner.empty() ? "another linex" : owner;
}

void write_owner(int fd, const fs::path& file) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = "process " + std::to_string(::getpid()) + " on " + host.data() + "\n";
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    throw input_error("cannot write " + file.string() + ": " + std::strerror(errno));
}

std::mutex g_guard;
std::map<FileId, std::weak_ptr<const Lock>>& held() {
  static auto* const locks = new std::map<FileId, std::weak_ptr<const Lock>>;
  return *locks;
}

}  // namespace

std::shared_ptr<const void> lock_folder(const fs::path& folder) {
  const std::lock_guard<std::mutex> guard(g_guard);
  const fs::path file = folder / ".lock";
  struct stat named {};
  if (::stat(file.c_str(), &named) == 0)
    if (const auto found = held().find(id_of(named)); found != held().end())
      if (auto lock = found->second.lock()) return lock;

  for (;;) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
      throw input_error("cannot write into " + folder.string() + ": " + std::strerror(errno));
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int code = errno;
      const std::string owner = owner_text(fd);
      ::close(fd);
      if (code == EINTR) continue;
      // A file system that knows no locks cannot tell two runs apart.
      if (code == ENOTSUP || code == ENOLCK || code == ENOSYS) return {};
      if (code != EWOULDBLOCK)
        throw input_error("cannot lock " + file.string() + ": " + std::strerror(code));
      throw input_error("run.out " + folder.string() + " is in use by " + owner +
                        "; wait for its end or name another run.out");
    }
    struct stat opened {};
    // Between open and flock its last owner may have removed it.
    if (::fstat(fd, &opened) != 0 || ::stat(file.c_str(), &named) != 0 ||
        id_of(opened) != id_of(named)) {
      ::close(fd);
      continue;
    }
    const auto lock = std::make_shared<const Lock>(fd, file);
    write_owner(fd, file);
    remove_leftovers(folder);
    held()[id_of(opened)] = lock;
    return lock;
  }
}

}  // namespace linex
