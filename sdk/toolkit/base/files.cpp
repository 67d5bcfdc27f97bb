// Files: durable atomic writes, bounded reads, digests.
#include "toolkit/base/files.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// An open file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Does not wait for the other end of a FIFO; regular_size() then refuses it.
int open_to_read(const fs::path& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

Error file_error(const fs::path& path, const std::string& verb, int code) {
  return input_error("cannot " + verb + " " + path.string() + ": " + std::strerror(code));
}

std::uint64_t regular_size(int fd, const fs::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw file_error(path, "read", errno);
  if (!S_ISREG(info.st_mode))
    throw input_error("cannot read " + path.string() + ": not a regular file");
  return static_cast<std::uint64_t>(info.st_size);
}

/// A write may take a part only: the rest follows, or its error.
void write_all(int fd, const void* bytes, std::size_t size, const fs::path& path) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = ::write(fd, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) throw file_error(path, "write", put < 0 ? errno : EIO);
    at += put;
    size -= static_cast<std::size_t>(put);
  }
}

/// Makes a new name in a folder durable, where the file system can.
void sync_folder_of(const fs::path& path) {
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const Descriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0 && ::fsync(folder.get()) != 0 && errno != EINVAL && errno != EROFS)
    throw file_error(path, "write", errno);
}

}  // namespace

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  const Descriptor file(open_to_read(path));
  if (file.get() < 0) throw file_error(path, "read", errno);
  const std::uint64_t size = regular_size(file.get(), path);
  if (size > max_bytes)
    throw input_error("cannot read " + path.string() + ": " + std::to_string(size) +
                      " bytes, more than the " + std::to_string(max_bytes) + " expected at most");
  std::string content(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), &content[done], size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw file_error(path, "read", got < 0 ? errno : EIO);
    done += static_cast<std::size_t>(got);
  }
  return content;
}

AtomicFile::AtomicFile(fs::path path, bool durable)
    : path_(std::move(path)),
      temporary_(path_.string() + ".tmp" + std::to_string(::getpid())),
      durable_(durable) {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) throw file_error(path_, "write", errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::append(const void* bytes, std::size_t size) { write_all(fd_, bytes, size, path_); }

void AtomicFile::finish() {
  if (durable_ && ::fsync(fd_) != 0) throw file_error(path_, "write", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw file_error(path_, "write", errno);
  ::close(std::exchange(fd_, -1));
  if (durable_) sync_folder_of(path_);
}

void remove_leftovers(const fs::path& folder) {
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    const std::string name = it->path().filename().string();
    const auto at = name.rfind(".tmp");
    if (at == std::string::npos || at + 4 == name.size() ||
        name.find_first_not_of("0123456789", at + 4) != std::string::npos)
      continue;
    std::error_code ignored;
    fs::remove(it->path(), ignored);
  }
}

void make_own_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure)
    throw input_error("cannot make the folder " + folder.string() + ": " + failure.message());
  remove_leftovers(folder);
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.append(content.data(), content.size());
  file.finish();
}

void append_durably(const fs::path& path, std::string_view text) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.get() < 0) throw file_error(path, "write", errno);
  write_all(file.get(), text.data(), text.size(), path);
  if (::fsync(file.get()) != 0) throw file_error(path, "write", errno);
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(open_to_read(path));
  if (file.get() < 0) throw file_error(path, "read", errno);
  size_ = regular_size(file.get(), path);
  if (size_ == 0) throw input_error("cannot read " + path.string() + ": the file is empty");
  void* pages =
      ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.get(), 0);
  if (pages == MAP_FAILED) throw file_error(path, "map", errno);
  data_ = static_cast<unsigned char*>(pages);
}

MappedFile::~MappedFile() { ::munmap(data_, size_); }

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr);
}
Sha256::~Sha256() = default;

Sha256& Sha256::add(const void* bytes, std::size_t size) {
  EVP_DigestUpdate(state_->context, bytes, size);
  return *this;
}

Sha256& Sha256::add(std::string_view text) {
  const std::uint64_t size = text.size();
  return add(&size, sizeof size).add(text.data(), text.size());
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(state_->context, digest.data(), &size);
  static const char* const kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

std::string sha256_of_file(const fs::path& path) {
  // Of one piece it is the same; of more, nobody asks twice.
  std::error_code failure;
  if (fs::file_size(path, failure) <= kDigestPiece && !failure) return digest_of_file(path);
  const Descriptor file(open_to_read(path));
  if (file.get() < 0) throw file_error(path, "read", errno);
  regular_size(file.get(), path);
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(path, "read", errno);
    if (got == 0) return digest.hex();
    digest.add(buffer.data(), static_cast<std::size_t>(got));
  }
}

Place split_place(const std::string& text) {
  std::error_code ignored;
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || fs::exists(text, ignored) ||
      !fs::exists(text.substr(0, colon), ignored))
    return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string sha256_of_paths(const std::vector<fs::path>& paths, int threads) {
  Sha256 digest;
  for (const fs::path& path : paths) {
    std::error_code failure;
    if (path.empty()) {
      digest.add("none");
      continue;
    }
    if (!fs::is_directory(path, failure)) {
      const Place place = split_place(path.string());
      digest.add("file").add(digest_of_file(place.file, threads));
      if (!place.name.empty()) digest.add(place.name);
      continue;
    }
    std::vector<fs::path> files;
    for (fs::recursive_directory_iterator
             it(path, fs::directory_options::follow_directory_symlink, failure),
         end;
         !failure && it != end; it.increment(failure))
      if (it->is_regular_file(failure)) files.push_back(it->path());
    if (failure) throw input_error("cannot read " + path.string() + ": " + failure.message());
    std::sort(files.begin(), files.end());  // a folder's own order is arbitrary
    std::vector<std::string> contents(files.size());
    parallel_for(static_cast<std::int64_t>(files.size()), threads, [&](std::int64_t i) {
      contents[static_cast<std::size_t>(i)] = digest_of_file(files[static_cast<std::size_t>(i)]);
    });
    digest.add("folder");
    for (std::size_t i = 0; i < files.size(); ++i)
      digest.add(files[i].lexically_relative(path).string()).add(contents[i]);
    digest.add("end");
  }
  return digest.hex();
}

}  // namespace linex
