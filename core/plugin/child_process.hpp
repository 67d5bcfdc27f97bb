// Running a plugin's code where it can do no harm: in a forked child.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace linex {

using Say = std::function<void(const std::string& line)>;

struct ChildOptions {
  std::chrono::seconds patience{60};  ///< longest silence between two lines before it is ended
  bool quiet = true;                  ///< its stdout and stderr go nowhere
};

/// Runs work(say) in a child; each line it says reaches `on_line` here. Returns "" when the work
/// came to its end, else what happened ("crashed (signal 11, Segmentation fault)"). Call it before
/// this process has started computing threads. Throws Error(plugin) when no child can be started.
std::string run_in_child(const std::function<void(const Say&)>& work, const Say& on_line,
                         const ChildOptions& options = {});

}  // namespace linex
