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
#include <fstream>
#include <vector>

#include "linex/error.hpp"
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

}  // namespace

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
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

void write_file_atomic(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  {
    const Descriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) throw file_error(path, "write", errno);
    std::size_t done = 0;
    while (done < content.size()) {
      const ssize_t put = ::write(file.get(), content.data() + done, content.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) {
        const int code = errno;
        ::unlink(temporary.c_str());
        throw file_error(path, "write", code);
      }
      done += static_cast<std::size_t>(put);
    }
    if (::fsync(file.get()) != 0) throw file_error(path, "sync", errno);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary.c_str());
    throw file_error(path, "write", code);
  }
  const Descriptor folder(
      ::open(path.has_parent_path() ? path.parent_path().c_str() : ".", O_RDONLY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
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
  std::ifstream file(path, std::ios::binary);
  if (!file) throw input_error("cannot read " + path.string());
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    digest.add(buffer.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) throw input_error("cannot read " + path.string());
  return digest.hex();
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
      if (!fs::is_regular_file(path, failure)) throw input_error("cannot read " + path.string());
      digest.add("file").add(sha256_of_file(path));
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
      contents[static_cast<std::size_t>(i)] = sha256_of_file(files[static_cast<std::size_t>(i)]);
    });
    digest.add("folder");
    for (std::size_t i = 0; i < files.size(); ++i)
      digest.add(files[i].lexically_relative(path).string()).add(contents[i]);
    digest.add("end");
  }
  return digest.hex();
}

}  // namespace linex
