// A program of the user's with pipes to and from it, ended together with everything it started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace linex {

struct ProcessOptions {
  std::vector<std::string> words;  ///< program (looked up on PATH) and arguments
  /// Added to this process' environment.
  std::vector<std::pair<std::string, std::string>> environment;
  /// One of `environment`, with a value no other process has: what the program started and let go
  /// of is recognised by it.
  std::pair<std::string, std::string> mark;
};

/// Runs in a session of its own, so that Ctrl-C in a terminal reaches only the host. Dies with the
/// thread that started it. Used by one thread at a time.
class Process {
 public:
  /// Throws Error(plugin) saying why the program cannot be started.
  explicit Process(const ProcessOptions& options);
  ~Process();  // end(): nothing is left behind
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Non-blocking ends of its pipes; -1 once closed.
  int input() const { return input_; }
  int output() const { return output_; }
  int errors() const { return errors_; }
  void close_input();
  void close_output();
  void close_errors();

  /// Writes to its input without a SIGPIPE; bytes taken, 0 where it would block, -1 where nobody
  /// reads any more.
  ssize_t write(const char* bytes, std::size_t size);

  /// Whether it has ended; waits for that up to `patience`.
  bool ended(std::chrono::milliseconds patience = {});
  /// "exit 3", "signal 9 (Killed)"; only once ended.
  std::string how() const;
  bool succeeded() const;

  /// Asks it to stop (SIGTERM), waits up to `grace`, then kills it and what it started.
  void end(std::chrono::milliseconds grace = {});

 private:
  void kill_rest() const;

  std::string mark_;  // NAME=value
  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = 0;
  int input_ = -1, output_ = -1, errors_ = -1;
};

}  // namespace linex
