#include "toolkit/external/process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

extern char** environ;

namespace linex {
namespace {

using Clock = std::chrono::steady_clock;

/// Both ends of a pipe, closed unless taken.
struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw Error(ErrorKind::plugin, std::string("cannot make a pipe: ") + std::strerror(errno));
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    if (read >= 0) ::close(read);
    if (write >= 0) ::close(write);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
};

int take(int& end) { return std::exchange(end, -1); }

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

void close_end(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

/// Between fork and exec: calls only what is safe there in a process with threads.
[[noreturn]] void become(const Pipe& in, const Pipe& out, const Pipe& err, int trouble,
                         pid_t parent, char* const* words, char* const* environment) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the host died before it was asked to tell
  ::dup2(in.read, STDIN_FILENO);
  ::dup2(out.write, STDOUT_FILENO);
  ::dup2(err.write, STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_DFL);
  ::execvpe(words[0], words, environment);
  const int code = errno;
  [[maybe_unused]] const ssize_t told = ::write(trouble, &code, sizeof code);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// This process' environment with `added` in place of what has the same names.
std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (std::none_of(added.begin(), added.end(), [&](const auto& a) { return a.first == name; }))
      all.push_back(text);
  }
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  return all;
}

std::string why_not_started(const std::string& program, int code) {
  const std::string shown = "'" + printable(program) + "'";
  if (code == ENOENT)
    return program.find('/') == std::string::npos
               ? "there is no program " + shown + " on PATH"
               : "there is no file " + shown +
                     ", or its first line names an interpreter that is "
                     "not there";
  if (code == EACCES) return shown + " is not allowed to be run; chmod +x makes a file a program";
  if (code == ENOEXEC)
    return shown + " is not a program; a script needs a first line like #!/usr/bin/env python3";
  return shown + " cannot be started: " + std::strerror(code);
}

/// Whether process `pid` has `mark` in the environment it was started with.
bool has_mark(const std::string& pid, const std::string& mark) {
  const std::string path = "/proc/" + pid + "/environ";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;  // gone, or another user's
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (ssize_t got; (got = ::read(fd, buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(got));
  ::close(fd);
  const auto at = text.find(mark + '\0');
  return at != std::string::npos && (at == 0 || text[at - 1] == '\0');
}

}  // namespace

Process::Process(const ProcessOptions& options)
    : mark_(options.mark.first + "=" + options.mark.second) {
  Pipe in, out, err, trouble;
  std::vector<std::string> words = options.words;
  auto added = options.environment;
  added.push_back(options.mark);
  std::vector<std::string> environment = environment_with(added);
  const auto word_pointers = pointers(words), environment_pointers = pointers(environment);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0)
    throw Error(ErrorKind::plugin, std::string("cannot start a process: ") + std::strerror(errno));
  if (pid_ == 0)
    become(in, out, err, trouble.write, parent, word_pointers.data(), environment_pointers.data());

  ::close(take(trouble.write));
  int code = 0;
  ssize_t got;
  while ((got = ::read(trouble.read, &code, sizeof code)) < 0 && errno == EINTR) {
  }
  if (got == sizeof code) {
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    throw Error(ErrorKind::plugin, why_not_started(options.words.front(), code));
  }
  input_ = take(in.write);
  output_ = take(out.read);
  errors_ = take(err.read);
  for (const int fd : {input_, output_, errors_}) set_nonblocking(fd);
}

Process::~Process() {
  end();
  close_input();
  close_output();
  close_errors();
}

void Process::close_input() { close_end(input_); }
void Process::close_output() { close_end(output_); }
void Process::close_errors() { close_end(errors_); }

ssize_t Process::write(const char* bytes, std::size_t size) {
  // A SIGPIPE that write() raises is this thread's own: keep it pending, then take it away.
  sigset_t pipe, former, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe, &former);
  const ssize_t put = ::write(input_, bytes, size);
  const int code = errno;
  if (put < 0 && code == EPIPE && !was_pending) {
    const timespec at_once{0, 0};
    while (::sigtimedwait(&pipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
  if (put >= 0) return put;
  return code == EAGAIN || code == EINTR ? 0 : -1;
}

bool Process::ended(std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (!reaped_) {
    siginfo_t info{};
    const int got = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (got == 0 && info.si_pid == pid_) {
      // Its group goes with it, and now: the group's id is its own until it is waited for.
      ::kill(-pid_, SIGKILL);
      while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
      }
      reaped_ = true;
    } else if (got < 0 && errno == ECHILD) {
      reaped_ = true;
    }
    if (reaped_ || Clock::now() >= until) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return reaped_;
}

std::string Process::how() const {
  if (WIFSIGNALED(status_))
    return "signal " + std::to_string(WTERMSIG(status_)) + " (" + ::strsignal(WTERMSIG(status_)) +
           ")";
  return "exit " + std::to_string(WEXITSTATUS(status_));
}

bool Process::succeeded() const { return WIFEXITED(status_) && WEXITSTATUS(status_) == 0; }

void Process::end(std::chrono::milliseconds grace) {
  if (pid_ < 0) return;
  if (!ended() && grace.count() > 0) {
    ::kill(-pid_, SIGTERM);
    ended(grace);
  }
  if (!ended()) {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    ended(std::chrono::seconds(10));  // longer only for one stuck in the kernel
  }
  kill_rest();
  if (reaped_) pid_ = -1;
}

void Process::kill_rest() const {
  // What made a session of its own still has our mark. A process that starts others while it is
  // looked for is caught in a later round.
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    bool found = false;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", failure)) {
      const std::string name = entry.path().filename().string();
      pid_t pid = 0;
      const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
      if (bad != std::errc() || end != name.data() + name.size() || pid <= 1 || pid == ::getpid())
        continue;
      struct stat info {};
      if (::stat(entry.path().c_str(), &info) != 0 || info.st_uid != ::getuid()) continue;
      if (!has_mark(name, mark_)) continue;
      found = ::kill(pid, SIGKILL) == 0 || found;
    }
    if (!found) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace linex
