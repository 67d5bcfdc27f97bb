#include "core/plugin/plugin_guard.hpp"

#include <torch/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace linex {
namespace {

thread_local const PluginCall* t_call = nullptr;
thread_local bool t_is_main = false;
// Threads that a plugin starts know of no call; then it is the main thread's.
std::atomic<const PluginCall*> g_main_call{nullptr};
std::atomic<bool> g_armed{false};
std::terminate_handler g_terminate_before = nullptr;

#if defined(__SANITIZE_ADDRESS__)  // it reports faults itself, with more
constexpr std::array kFaults{SIGABRT};
#else
constexpr std::array kFaults{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#endif

const PluginCall* current_call() noexcept { return t_call ? t_call : g_main_call.load(); }

const char* signal_name(int signal) noexcept {
  switch (signal) {
    case SIGSEGV:
      return "crashed (signal 11, Segmentation fault)";
    case SIGBUS:
      return "crashed (signal 7, Bus error)";
    case SIGFPE:
      return "crashed (signal 8, Floating point exception)";
    case SIGILL:
      return "crashed (signal 4, Illegal instruction)";
    default:
      return "crashed (signal 6, Aborted)";
  }
}

/// Async-signal-safe: one line about the call, and the end of the process.
[[noreturn]] void end_process(const PluginCall& call, const char* what) noexcept {
  std::array<char, 1024> line{};
  std::size_t size = 0;
  const auto add = [&](const char* text, std::size_t length) {
    length = std::min(length, line.size() - 1 - size);
    std::memcpy(line.data() + size, text, length);
    size += length;
  };
  const auto add_text = [&](const char* text) { add(text, std::strlen(text)); };
  if (::isatty(STDERR_FILENO) == 1) add_text("\r\x1b[K");  // a progress bar
  add_text("linex: ");
  add(call.plugin().data(), std::min<std::size_t>(call.plugin().size(), 200));
  add_text(": ");
  add_text(call.stage());
  add_text(": ");
  add(what, std::min<std::size_t>(std::strlen(what), 500));
  add_text("; what was finished is kept");
  line[size++] = '\n';
  const ssize_t ignored = ::write(STDERR_FILENO, line.data(), size);
  static_cast<void>(ignored);
  ::_exit(static_cast<int>(ErrorKind::plugin));
}

void on_fault(int signal) {
  if (const PluginCall* const call = current_call()) end_process(*call, signal_name(signal));
  // Ours: the default action is what a debugger and a core file need.
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

[[noreturn]] void on_terminate() {
  const PluginCall* const call = current_call();
  if (!call || !g_armed) {
    if (g_terminate_before) g_terminate_before();
    std::abort();
  }
  std::string what = "threw where nothing can catch it, as in a thread of its own";
  try {
    if (std::current_exception()) throw;
  } catch (const c10::Error& error) {
    what += ": " + one_line(error.what_without_backtrace());
  } catch (const std::exception& error) {
    what += ": " + one_line(error.what());
  } catch (...) {
  }
  end_process(*call, what.c_str());
}

void on_exit() {
  if (!g_armed) return;
  if (const PluginCall* const call = current_call()) end_process(*call, "called exit");
}

}  // namespace

PluginCall::PluginCall(const std::string& plugin, const char* stage) noexcept
    : plugin_(plugin), stage_(stage), outer_(t_call), is_main_(t_is_main) {
  t_call = this;
  if (is_main_) g_main_call.store(this, std::memory_order_relaxed);
}

PluginCall::~PluginCall() {
  t_call = outer_;
  if (is_main_) g_main_call.store(outer_, std::memory_order_relaxed);
}

void install_crash_handler() {
  t_is_main = true;
  // A stack of its own, for the plugin that used up the other.
  static std::array<char, 64 << 10> stack;
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_handler = on_fault;
  action.sa_flags = SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : kFaults) ::sigaction(signal, &action, nullptr);
  g_terminate_before = std::set_terminate(on_terminate);
  static const bool registered = std::atexit(on_exit) == 0;
  g_armed = registered;
}

void remove_crash_handler() {
  if (!g_armed.exchange(false)) return;
  for (const int signal : kFaults) std::signal(signal, SIG_DFL);
  std::set_terminate(g_terminate_before);
}

PluginError::~PluginError() = default;

std::string one_line(const std::string& text) {
  constexpr std::size_t kMost = 400;
  std::string line;
  // c10 appends its stack below this line once its error has become a std::exception.
  for (const char c : text.substr(0, text.find("\nException raised from "))) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (!blank) {
      line += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() > kMost) line = line.substr(0, kMost) + "...";
  return line.empty() ? "no reason given" : line;
}

void rethrow_from_plugin(const std::string& plugin, const char* stage) {
  const auto failed = [&](const std::string& why) {
    return PluginError(plugin + ": " + stage + ": " + one_line(why));
  };
  try {
    throw;
  } catch (const PluginError&) {
    throw;  // one plugin called another: the inner one is to blame
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::plugin) throw;
    throw failed(error.what());
  } catch (const c10::Error& error) {
    throw failed(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    throw failed("out of memory");
  } catch (const std::exception& error) {  // cv::Exception too
    throw failed(error.what());
  } catch (...) {
    throw failed("an exception that is not a std::exception");
  }
}

}  // namespace linex
