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
  std::function<bool()> cancelled;    ///< asked when a signal comes; true ends child and call
};

/// Runs work(say) in a child that has no standard input, half of the machine's memory and a process
/// group of its own, all of which ends with it; each line it says reaches `on_line` here. Returns
/// "" when the work came to its end, else what happened ("crashed (signal 11, Segmentation fault)",
/// "ended the process (exit 0)"). Call it before this process has started computing threads. Throws
/// Error(plugin) when no child can be started, Error(interrupted) when cancelled.
std::string run_in_child(const std::function<void(const Say&)>& work, const Say& on_line,
                         const ChildOptions& options = {});

}  // namespace linex
