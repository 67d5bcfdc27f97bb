#include "core/plugin/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/plugin/plugin_guard.hpp"
#include "linex/error.hpp"

namespace linex {
namespace {

constexpr int kThrew = 70;  ///< exit status of a child whose work threw

[[noreturn]] void be_child(int pipe, const std::function<void(const Say&)>& work, bool quiet) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no orphans
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  for (const int signal : {SIGINT, SIGTERM, SIGSEGV, SIGABRT}) std::signal(signal, SIG_DFL);
  if (quiet) {
    const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  int status = 0;
  try {
    work([pipe](const std::string& text) {
      const std::string line = one_line(text) + "\n";
      for (std::size_t done = 0; done < line.size();) {
        const ssize_t put = ::write(pipe, line.data() + done, line.size() - done);
        if (put < 0 && errno != EINTR) ::_exit(kThrew);
        if (put > 0) done += static_cast<std::size_t>(put);
      }
    });
  } catch (...) {
    status = kThrew;
  }
  std::fflush(nullptr);
  ::_exit(status);  // not exit: the parent's atexit handlers are not ours to run
}

std::string describe_end(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return "could not be waited for";
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "crashed (signal " + std::to_string(signal) + ", " + ::strsignal(signal) + ")";
  }
  if (WEXITSTATUS(status) == 0) return "";
  return WEXITSTATUS(status) == kThrew
             ? "threw an exception"
             : "ended the process (exit " + std::to_string(WEXITSTATUS(status)) + ")";
}

}  // namespace

std::string run_in_child(const std::function<void(const Say&)>& work, const Say& on_line,
                         const ChildOptions& options) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(ErrorKind::plugin, std::string("cannot make a pipe: ") + std::strerror(errno));
  std::fflush(nullptr);  // or the child would write our buffers once more
  const pid_t child = ::fork();
  if (child < 0) {
    const int code = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw Error(ErrorKind::plugin, std::string("cannot start a process: ") + std::strerror(code));
  }
  if (child == 0) {
    ::close(ends[0]);
    be_child(ends[1], work, options.quiet);
  }
  ::close(ends[1]);

  std::string pending;
  std::array<char, 4096> buffer{};
  bool late = false;
  for (;;) {
    pollfd ready{ends[0], POLLIN, 0};
    const auto patience = std::chrono::milliseconds(options.patience).count();
    const int events = ::poll(&ready, 1, static_cast<int>(patience));
    if (events < 0 && errno == EINTR) continue;
    if (events == 0) {
      late = true;
      ::kill(child, SIGKILL);
      break;
    }
    const ssize_t got = ::read(ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    pending.append(buffer.data(), static_cast<std::size_t>(got));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos;) {
      on_line(pending.substr(0, end));
      pending.erase(0, end + 1);
    }
  }
  ::close(ends[0]);
  const std::string end = describe_end(child);
  if (late) return "did not answer within " + std::to_string(options.patience.count()) + " s";
  return end;
}

}  // namespace linex
