// The host's logger (spdlog behind the contract's Logger) and its progress bars.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "linex/context.hpp"

namespace linex {

/// Logs to standard error; keeps warnings for summary.json. [any thread]
class ConsoleLogger final : public Logger {
 public:
  /// `level`: trace, debug, info, warning, error or off; throws Error(usage) for another word.
  /// Not `shown`: warnings are kept, and nothing is printed.
  explicit ConsoleLogger(const std::string& level, bool shown = true);
  ~ConsoleLogger() override;
  void write(LogLevel level, std::string_view message) override;
  std::vector<std::string> warnings() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A bar with rate and time left on a terminal, at most one plain line every ten seconds elsewhere;
/// silent where `quiet`.
std::unique_ptr<Progress> make_console_progress(const std::string& title, std::int64_t total,
                                                const std::string& unit, bool quiet);

/// True once SIGINT or SIGTERM arrived; install_interrupt_handler() makes them arrive gently. A
/// second signal ends the process at once.
bool interrupted() noexcept;
void install_interrupt_handler();

/// Occupies those of the three standard streams that are closed, so that no file of a run gets
/// their number and what is printed into it. Call it first.
void hold_standard_streams();
/// Throws Error(input) with the cause where standard output did not take everything printed.
void finish_standard_output();

}  // namespace linex
