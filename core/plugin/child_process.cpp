#include "core/plugin/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

#include "core/plugin/plugin_guard.hpp"
#include "linex/abi_tag.hpp"
#include "linex/error.hpp"

namespace linex {
namespace {

constexpr int kThrew = 70;  ///< exit status of a child whose work threw
/// Says that the work came to its end: exit status 0 alone may be a plugin's exit().
constexpr char kDone[] = "\x04";

void limit_memory() {
  // What a sanitizer keeps beside it counts as memory.
  if (!std::strstr(kAbiTag, "sanitizer=none")) return;
  const auto half = static_cast<rlim_t>(::sysconf(_SC_PHYS_PAGES)) / 2 *
                    static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
  const rlimit memory{half, half};
  ::setrlimit(RLIMIT_DATA, &memory);
}

[[noreturn]] void be_child(int pipe, const std::function<void(const Say&)>& work, bool quiet) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no orphans
  ::setpgid(0, 0);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  limit_memory();
  remove_crash_handler();
  for (const int signal : {SIGINT, SIGTERM, SIGSEGV, SIGABRT}) std::signal(signal, SIG_DFL);
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(nowhere, STDIN_FILENO);
  if (quiet) {
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  const Say say = [pipe](const std::string& text) {
    std::string line = text;
    std::replace(line.begin(), line.end(), '\n', ' ');
    line += '\n';
    for (std::size_t done = 0; done < line.size();) {
      const ssize_t put = ::write(pipe, line.data() + done, line.size() - done);
      if (put < 0 && errno != EINTR) ::_exit(kThrew);
      if (put > 0) done += static_cast<std::size_t>(put);
    }
  };
  int status = 0;
  try {
    work(say);
    say(kDone);
  } catch (...) {
    status = kThrew;
  }
  std::fflush(nullptr);
  ::_exit(status);  // not exit: the parent's atexit handlers are not ours to run
}

/// Whether the child ends within `patience`; it stays to be waited for.
bool ends_within(pid_t child, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == child)
      return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// Ends the child's whole group and says how the child itself ended.
std::string describe_end(pid_t child, bool done) {
  ::kill(-child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return "could not be waited for";
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "crashed (signal " + std::to_string(signal) + ", " + ::strsignal(signal) + ")";
  }
  if (WEXITSTATUS(status) == 0 && done) return "";
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
  bool late = false, done = false;
  ::setpgid(child, child);  // whichever of the two comes first
  for (;;) {
    pollfd ready{ends[0], POLLIN, 0};
    const auto patience = std::chrono::milliseconds(options.patience).count();
    const int events = ::poll(&ready, 1, static_cast<int>(patience));
    if (events < 0 && errno == EINTR) {
      if (!options.cancelled || !options.cancelled()) continue;
      ::close(ends[0]);
      describe_end(child, false);
      throw Error(ErrorKind::interrupted, "interrupted");
    }
    if (events == 0) {
      late = true;
      break;
    }
    const ssize_t got = ::read(ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    pending.append(buffer.data(), static_cast<std::size_t>(got));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos;) {
      const std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      if (line == kDone)
        done = true;
      else
        on_line(line);
    }
    if (done) break;  // a process that the plugin left behind may hold the pipe open
  }
  ::close(ends[0]);
  late = late || !ends_within(child, options.patience);
  const std::string end = describe_end(child, done);
  if (late) return "did not answer within " + std::to_string(options.patience.count()) + " s";
  return end;
}

}  // namespace linex
