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

/// Runs one call into a plugin. `plugin` is its key ("solver/linear"), `stage` what it was asked.
template <class Call>
decltype(auto) guard(const std::string& plugin, const char* stage, Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (...) {
    rethrow_from_plugin(plugin, stage);
  }
}

}  // namespace linex
