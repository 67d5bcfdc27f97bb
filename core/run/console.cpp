#include "core/run/console.hpp"

#include <fcntl.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "linex/error.hpp"

namespace linex {

struct ConsoleLogger::State {
  std::shared_ptr<spdlog::logger> logger;
  mutable std::mutex lock;
  std::vector<std::string> warnings;
};

ConsoleLogger::ConsoleLogger(const std::string& level, bool shown)
    : state_(std::make_unique<State>()) {
  state_->logger = std::make_shared<spdlog::logger>(
      "linex", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  state_->logger->set_pattern("%H:%M:%S %^%l%$ %v");
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off")
    throw usage_error("run.log-level: '" + level +
                      "' is none of trace, debug, info, warning, error, off");
  state_->logger->set_level(shown ? parsed : spdlog::level::off);
}
ConsoleLogger::~ConsoleLogger() = default;

void ConsoleLogger::write(LogLevel level, std::string_view message) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err};
  state_->logger->log(kLevels[static_cast<int>(level)], "{}", message);
  if (level != LogLevel::warning) return;
  const std::lock_guard<std::mutex> guard(state_->lock);
  state_->warnings.emplace_back(message);
}

std::vector<std::string> ConsoleLogger::warnings() const {
  const std::lock_guard<std::mutex> guard(state_->lock);
  return state_->warnings;
}

namespace {

using Clock = std::chrono::steady_clock;

class ConsoleProgress final : public Progress {
 public:
  ConsoleProgress(std::string title, std::int64_t total, std::string unit)
      : title_(std::move(title)),
        unit_(std::move(unit)),
        total_(total),
        terminal_(::isatty(2) == 1) {}

  ~ConsoleProgress() override {
    if (terminal_ && drawn_) std::fputs("\r\x1b[K", stderr);
  }

  void advance(std::int64_t count) override {
    const std::lock_guard<std::mutex> guard(lock_);
    done_ = std::min(total_, done_ + count);  // a rank speaks for all, and shares are not equal
    const auto now = Clock::now();
    if (now - last_ < (terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10)))
      return;
    last_ = now;
    draw(std::chrono::duration<double>(now - start_).count());
  }

 private:
  void draw(double seconds) {
    const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
    const double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : 0;
    const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
    if (!terminal_) {
      std::fprintf(stderr, "%s: %lld of %lld %s (%.0f %%), %.3g %s/s, %.0f s left\n",
                   title_.c_str(), static_cast<long long>(done_), static_cast<long long>(total_),
                   unit_.c_str(), 100 * share, rate, unit_.c_str(), left);
      return;
    }
    drawn_ = true;
    constexpr int kWidth = 24;
    std::string bar(kWidth, '.');
    std::fill(bar.begin(), bar.begin() + static_cast<int>(kWidth * std::min(share, 1.0)), '#');
    std::fprintf(stderr, "\r\x1b[K%s [%s] %lld/%lld %s  %.3g/s  %.0f s left", title_.c_str(),
                 bar.c_str(), static_cast<long long>(done_), static_cast<long long>(total_),
                 unit_.c_str(), rate, left);
    std::fflush(stderr);
  }

  const std::string title_, unit_;
  const std::int64_t total_;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  std::int64_t done_ = 0;
  bool drawn_ = false;
  std::mutex lock_;
};

class SilentProgress final : public Progress {
 public:
  void advance(std::int64_t) override {}
};

volatile std::sig_atomic_t g_interrupted = 0;

void on_signal(int signal) {
  if (g_interrupted) ::_exit(128 + signal);
  g_interrupted = 1;
}

}  // namespace

std::unique_ptr<Progress> make_console_progress(const std::string& title, std::int64_t total,
                                                const std::string& unit, bool quiet) {
  if (quiet) return std::make_unique<SilentProgress>();
  return std::make_unique<ConsoleProgress>(title, total, unit);
}

bool interrupted() noexcept { return g_interrupted != 0; }

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

void hold_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The wrong way round: whoever uses it is still told that it is closed.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

void finish_standard_output() {
  const bool lost = std::ferror(stdout) != 0;
  errno = 0;
  bool failed = std::fflush(stdout) != 0;
  // The cause of an earlier loss is gone: a stream that is still broken tells it again.
  if (lost && !failed) failed = ::write(STDOUT_FILENO, "\n", 1) < 0;
  if (lost || failed)
    throw input_error(std::string("standard output: ") +
                      (failed ? std::strerror(errno) : "some of it could not be written"));
}

}  // namespace linex
