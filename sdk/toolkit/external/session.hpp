// A conversation with a command of the user's: JSON lines there and back, with limits.
// docs/external.md is the protocol.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/option.hpp"
#include "toolkit/external/exchange.hpp"
#include "toolkit/external/process.hpp"

namespace linex {

/// First number of the protocol: what an older command would misunderstand raises it.
inline constexpr int kExternalProtocol = 1;

/// Options of every plugin named external.
inline constexpr std::array kExternalOptions{
    option::required(option::text(
        "command", "", "program and arguments, quoted as for a shell, e.g. \"python3 method.py\"")),
    option::real("timeout", 600, 0, option::kNoLimit,
                 "seconds without an answer after which the command is ended; 0 = never"),
    option::text("options", "",
                 "the command's own options: key=value,key=value or a JSON object; every other key "
                 "of the section is added to them"),
    option::flag("keep", false, "leave the exchange folder, to look at it")};

/// kExternalOptions and a kind's own ones.
template <std::size_t N>
constexpr std::array<linex_option_spec, kExternalOptions.size() + N> external_options(
    const std::array<linex_option_spec, N>& more) {
  std::array<linex_option_spec, kExternalOptions.size() + N> all{};
  for (std::size_t i = 0; i < kExternalOptions.size(); ++i) all[i] = kExternalOptions[i];
  for (std::size_t i = 0; i < N; ++i) all[kExternalOptions.size() + i] = more[i];
  return all;
}

/// What a command is for every cache key: its words and options, and the content of every file that
/// one of them names.
std::string describe_command(const OptionValues& options);

/// One running command. Used by one thread at a time; ends with the thread that made it.
class Session {
 public:
  /// Starts nothing yet. `kind` is "solver", "labeler", ...; checks the options, so that a plugin's
  /// constructor can refuse them. `computing_threads`: what OMP_NUM_THREADS and its like are set
  /// to.
  Session(const PluginContext& context, std::string kind, int computing_threads);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Exchange& exchange();
  /// Sends {"linex", "kind", "call", "options", "seed", ...} with `content` added, starting the
  /// command first where it does not run.
  void call(const std::string& name, nlohmann::json content = nlohmann::json::object());
  /// The next message of the current call that is neither progress nor log. Its "type" is one of
  /// `expected` or "done". Throws Error: the command's own (kind as it says), or Error(plugin) for
  /// anything that went wrong with it; it has been ended then.
  nlohmann::json receive(const std::vector<std::string>& expected);
  /// receive(expected), then "done": for calls with one answer.
  nlohmann::json answer(const std::string& expected);
  /// Called now and then while receive() waits; may throw.
  void when_idle(std::function<void()> work) { when_idle_ = std::move(work); }
  /// No more calls: waits for its end, kills what it left behind.
  void finish();

  /// Ends the command and throws Error(plugin) "COMMAND: WHAT; its last words: ...".
  [[noreturn]] void fail(const std::string& what);

 private:
  void start();
  void pump();
  void read_output();
  void read_errors();
  void log_errors(bool all);
  void write_input();
  bool take_line(std::string& line);
  nlohmann::json parse(const std::string& line);
  void show_progress(const nlohmann::json& message);
  void write_log(const nlohmann::json& message);
  [[noreturn]] void pass_error(const nlohmann::json& message);

  const PluginContext& context_;
  const std::string kind_;
  const int threads_;
  std::vector<std::string> words_;
  std::string short_name_;  // what a person calls the command: its script
  nlohmann::json free_options_;
  std::chrono::duration<double> timeout_;

  std::function<void()> when_idle_;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Process> process_;
  std::string to_send_, received_, errors_, last_words_;
  std::size_t taken_ = 0;         // of received_: lines before are done with
  std::size_t scanned_ = 0;       // of received_: no line end between taken_ and here
  std::uint64_t idle_bytes_ = 0;  // of progress and log since the last result
  std::int64_t lines_ = 0, error_lines_ = 0;
  bool output_ended_ = false, in_call_ = false;
  std::chrono::steady_clock::time_point last_answer_, output_closed_;
  std::unique_ptr<Progress> progress_;
  std::string progress_title_;
  std::int64_t progress_done_ = 0, progress_total_ = 0;
};

}  // namespace linex
