// Whatever a plugin throws becomes one line that names it.
#pragma once

#include <string>
#include <utility>

#include "linex/error.hpp"

namespace linex {

/// A plugin failed (exit 4): "solver/linear: solve: why".
class PluginError : public Error {
 public:
  explicit PluginError(const std::string& message) : Error(ErrorKind::plugin, message) {}
  ~PluginError() override;
};

/// Blanks for line ends and runs of blanks, C++ back traces dropped, at most 400 characters.
std::string one_line(const std::string& text);

/// Inside a catch block: throws what the user should see. Error(usage, input, interrupted) and
/// PluginError pass unchanged, since they already say what to do; Error(plugin), c10::Error,
/// std::bad_alloc, every other std::exception and anything else become a PluginError.
[[noreturn]] void rethrow_from_plugin(const std::string& plugin, const char* stage);

/// While it lives, this thread is inside a plugin: what crashes or ends the process is put down to
/// it. `plugin` and `stage` outlive it.
class PluginCall {
 public:
  PluginCall(const std::string& plugin, const char* stage) noexcept;
  ~PluginCall();
  PluginCall(const PluginCall&) = delete;
  PluginCall& operator=(const PluginCall&) = delete;
  const std::string& plugin() const noexcept { return plugin_; }
  const char* stage() const noexcept { return stage_; }

 private:
  const std::string& plugin_;
  const char* stage_;
  const PluginCall* outer_;
  bool is_main_;  ///< the thread that reports for threads a plugin has started
};

/// From now on a plugin that crashes (SIGSEGV, SIGBUS, SIGFPE, SIGILL, abort), lets an exception
/// out of a thread of its own or calls exit ends the process with one line that names it, and with
/// exit code 4. Crashes elsewhere stay what they are. Call it on the main thread. Not caught:
/// SIGKILL, _exit, and a plugin that never comes back.
void install_crash_handler();
/// Undoes it: in a child process its parent reports.
void remove_crash_handler();

/// Runs one call into a plugin. `plugin` is its key ("solver/linear"), `stage` what it was asked.
template <class Call>
decltype(auto) guard(const std::string& plugin, const char* stage, Call&& call) {
  try {
    const PluginCall running(plugin, stage);
    return std::forward<Call>(call)();
  } catch (...) {
    rethrow_from_plugin(plugin, stage);
  }
}

}  // namespace linex
