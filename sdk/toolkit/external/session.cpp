#include "toolkit/external/session.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/external/command_words.hpp"
#include "toolkit/external/free_options.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kLongestLine = 16U << 20;
constexpr std::uint64_t kMostIdle = 64U << 20;
constexpr std::int64_t kMostErrorLines = 1000;
constexpr std::size_t kLongestErrorLine = 4096;
constexpr milliseconds kTick{100};
constexpr milliseconds kGrace{2000};       // to stop when asked to
constexpr milliseconds kFarewell{10'000};  // from the last answer to the end

std::string megabytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MB"; }

std::string type_of(const Json& message) {
  const auto type = message.find("type");
  return type != message.end() && type->is_string() ? type->get<std::string>() : std::string();
}

std::string text_of(const Json& message, const char* key) {
  const auto value = message.find(key);
  return value != message.end() && value->is_string() ? value->get<std::string>() : std::string();
}

}  // namespace

namespace {

/// " (digest)" of a file, "" for a word that names none. A large one, such as weights, is told by
/// its size and time.
std::string content_of(const std::string& word) {
  namespace fs = std::filesystem;
  constexpr std::uintmax_t kLarge = 64U << 20;
  std::error_code failure;
  if (word.empty() || !fs::is_regular_file(word, failure)) return "";
  const auto size = fs::file_size(word, failure);
  if (size <= kLarge) return " (" + sha256_of_file(word) + ")";
  const auto time = fs::last_write_time(word, failure).time_since_epoch().count();
  return " (" + std::to_string(size) + " bytes of " + std::to_string(time) + ")";
}

}  // namespace

std::string describe_command(const OptionValues& options) {
  std::string text;
  for (const auto& word : split_command(options.text("command")))
    text += printable(word, 4096) + content_of(word) + " ";
  const Json free_options = parse_free_options(options.text("options"));
  text += free_options.dump();
  for (const auto& value : free_options)
    if (value.is_string()) text += content_of(value.get<std::string>());
  return text;
}

Session::Session(const PluginContext& context, std::string kind, int computing_threads)
    : context_(context),
      kind_(std::move(kind)),
      threads_(computing_threads),
      words_(split_command(context.options().text("command"))),
      free_options_(parse_free_options(context.options().text("options"))),
      timeout_(context.options().real("timeout")) {
  // "python3 -u my_method.py --fast" is my_method.py to people.
  short_name_ = std::filesystem::path(words_.front()).filename().string();
  for (std::size_t i = 1; i < words_.size(); ++i) {
    std::error_code failure;
    if (!words_[i].empty() && words_[i][0] != '-' &&
        std::filesystem::path(words_[i]).has_extension()) {
      short_name_ = std::filesystem::path(words_[i]).filename().string();
      break;
    }
  }
  short_name_ = printable(short_name_);
}

Session::~Session() {
  try {
    if (!in_call_) finish();
  } catch (...) {  // nothing is lost by it
  }
  if (process_) process_->end(kGrace);
}

const Exchange& Session::exchange() {
  if (!exchange_) {
    exchange_ = std::make_unique<Exchange>(context_.run());
    if (context_.options().flag("keep")) {
      exchange_->keep();
      context_.log().info(short_name_ + ": exchange folder " + exchange_->folder().string());
    }
  }
  return *exchange_;
}

void Session::start() {
  ProcessOptions options;
  options.words = words_;
  const std::string threads = std::to_string(threads_);
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"})
    options.environment.emplace_back(name, threads);
  options.mark = {"LINEX_EXCHANGE", exchange().folder().string()};
  to_send_.clear();
  received_.clear();
  errors_.clear();
  last_words_.clear();
  taken_ = scanned_ = 0;
  idle_bytes_ = 0;
  lines_ = error_lines_ = 0;
  output_ended_ = false;
  process_ = std::make_unique<Process>(options);
}

void Session::call(const std::string& name, Json content) {
  if (!process_) start();
  Json request{{"linex", kExternalProtocol},
               {"kind", kind_},
               {"call", name},
               {"options", free_options_},
               {"seed", context_.run().seed},
               {"threads", context_.run().threads},
               {"device", context_.run().device},
               {"memory_bytes", context_.run().memory_bytes},
               {"exchange", exchange().folder().string()}};
  request.update(content);
  // A name that is not UTF-8 has no form in JSON.
  const std::string line = request.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  exchange().give("request", request);
  to_send_ += line;
  progress_.reset();
  in_call_ = true;
  last_answer_ = Clock::now();
  write_input();
}

Json Session::receive(const std::vector<std::string>& expected) {
  std::string line;
  for (;;) {
    while (!take_line(line)) pump();
    Json message = parse(line);
    last_answer_ = Clock::now();
    const std::string type = type_of(message);
    if (type == "progress" || type == "log") {
      idle_bytes_ += line.size() + 1;
      if (idle_bytes_ > kMostIdle)
        fail("wrote more than " + megabytes(kMostIdle) +
             " of progress and log messages without a result");
      type == "log" ? write_log(message) : show_progress(message);
      continue;
    }
    idle_bytes_ = 0;
    if (type == "error") pass_error(message);
    if (type == "hello") {
      const auto version = message.find("linex");
      if (version == message.end() || *version != kExternalProtocol)
        fail("speaks version " +
             (version == message.end() ? std::string("?") : printable(version->dump())) +
             " of the protocol, this linex version " + std::to_string(kExternalProtocol));
      continue;
    }
    if (type == "done") in_call_ = false;
    if (type == "done" || std::find(expected.begin(), expected.end(), type) != expected.end())
      return message;
    fail("sent a message of type '" + printable(type) + "' where " +
         (expected.empty() ? std::string() : "'" + join(expected, "' or '") + "' or ") +
         "'done' was due");
  }
}

Json Session::answer(const std::string& expected) {
  Json message = receive({expected});
  if (type_of(message) == "done") fail("said done without a message '" + expected + "'");
  receive({});
  return message;
}

void Session::finish() {
  if (!process_) return;
  progress_.reset();
  process_->close_input();
  const auto until = Clock::now() + kFarewell;
  // What it still says must not fill a pipe that it then waits for.
  while (!process_->ended(milliseconds(5)) && Clock::now() < until && !context_.cancelled()) {
    read_output();
    read_errors();
    received_.clear();
    taken_ = scanned_ = 0;
  }
  const bool in_time = process_->ended();
  const std::string how = in_time ? process_->how() : "";
  const bool well = in_time && process_->succeeded();
  process_->end(kGrace);
  log_errors(true);
  if (!in_time)
    context_.log().warning(kind_ + "/external: " + short_name_ +
                           " had not ended 10 s after its last answer and was killed");
  else if (!well)
    context_.log().warning(kind_ + "/external: " + short_name_ +
                           " gave all answers, then ended by " + how);
  process_.reset();
}

void Session::fail(const std::string& what) {
  progress_.reset();
  if (process_) {
    process_->end(kGrace);
    log_errors(true);
    process_.reset();
  }
  std::string message = short_name_ + ": " + what;  // the host names the plugin
  if (!last_words_.empty()) message += "; its last words: " + printable(last_words_, 300);
  throw Error(ErrorKind::plugin, message);
}

void Session::pass_error(const Json& message) {
  const std::string text = printable(text_of(message, "message"), 2000);
  const std::string kind = text_of(message, "kind");
  progress_.reset();
  process_->end(kGrace);
  log_errors(true);
  process_.reset();
  const std::string line =
      short_name_ + ": " + (text.empty() ? "reports an error without a message" : text);
  if (kind == "input") throw input_error(kind_ + "/external: " + line);
  if (kind == "usage") throw usage_error(kind_ + "/external: " + line);
  throw Error(ErrorKind::plugin, line);
}

// ---------------------------------------------------------------------------------------- pipes

void Session::pump() {
  if (context_.cancelled()) {
    process_->end(kGrace);
    process_.reset();
    check_cancelled(context_);
  }
  const double silent = std::chrono::duration<double>(Clock::now() - last_answer_).count();
  if (timeout_.count() > 0 && silent > timeout_.count())
    fail("gave no answer for " + format_number(timeout_.count()) +
         " s (option timeout) and was ended");

  if (output_ended_) {
    if (process_->ended()) {
      const std::string how = process_->how();
      const bool well = process_->succeeded();
      if (!received_.empty()) fail("ended in the middle of a line (" + how + ")");
      fail(well ? "ended (exit 0) without 'done'" : "ended by " + how);
    }
    if (Clock::now() - output_closed_ > kGrace)
      fail("closed its output without 'done' and went on running");
  }

  std::vector<pollfd> waiting;
  if (!output_ended_) waiting.push_back({process_->output(), POLLIN, 0});
  if (process_->errors() >= 0) waiting.push_back({process_->errors(), POLLIN, 0});
  if (!to_send_.empty() && process_->input() >= 0)
    waiting.push_back({process_->input(), POLLOUT, 0});
  if (when_idle_) when_idle_();
  ::poll(waiting.data(), waiting.size(), static_cast<int>(kTick.count()));
  write_input();
  read_errors();
  // Asked before reading: what was written before the end is read below, whoever else may still
  // hold the pipe.
  const bool over = process_->ended();
  read_output();
  if (over && !output_ended_) {
    output_ended_ = true;
    output_closed_ = Clock::now();
  }
}

void Session::write_input() {
  while (!to_send_.empty() && process_->input() >= 0) {
    const ssize_t put = process_->write(to_send_.data(), to_send_.size());
    if (put == 0) return;
    if (put < 0) {  // it reads no more: its answers decide
      to_send_.clear();
      process_->close_input();
      return;
    }
    to_send_.erase(0, static_cast<std::size_t>(put));
  }
}

void Session::read_output() {
  char buffer[1 << 16];
  // A bounded share at a time, so that lines are taken as they come.
  for (std::size_t taken = 0; process_->output() >= 0 && taken < (1U << 22);) {
    const ssize_t got = ::read(process_->output(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      process_->close_output();
      output_ended_ = true;
      output_closed_ = Clock::now();
      return;
    }
    received_.append(buffer, static_cast<std::size_t>(got));
    taken += static_cast<std::size_t>(got);
  }
}

bool Session::take_line(std::string& line) {
  const auto end = received_.find('\n', scanned_);
  if (end == std::string::npos) {
    received_.erase(0, taken_);  // once a buffer, not once a line
    taken_ = 0;
    scanned_ = received_.size();
    if (scanned_ > kLongestLine)
      fail("wrote more than " + megabytes(kLongestLine) + " without a line end");
    return false;
  }
  if (end - taken_ > kLongestLine) fail("wrote a line of more than " + megabytes(kLongestLine));
  line = received_.substr(taken_, end - taken_);
  taken_ = scanned_ = end + 1;
  ++lines_;
  return true;
}

void Session::read_errors() {
  char buffer[1 << 16];
  for (std::size_t taken = 0; process_->errors() >= 0 && taken < (1U << 22);) {
    const ssize_t got = ::read(process_->errors(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      process_->close_errors();
      break;
    }
    errors_.append(buffer, static_cast<std::size_t>(got));
    taken += static_cast<std::size_t>(got);
    log_errors(false);
  }
}

/// Passes whole lines on; `all`: the pipe's rest and an unfinished line, too.
void Session::log_errors(bool all) {
  if (all && process_) read_errors();
  std::size_t begin = 0;
  for (;;) {
    auto end = errors_.find_first_of("\r\n", begin);
    if (end == std::string::npos) {
      if (!all && errors_.size() - begin <= kLongestErrorLine) break;
      end = errors_.size();
    }
    const std::string line = errors_.substr(begin, std::min(end - begin, kLongestErrorLine));
    // A line that is drawn over (a progress bar) is no line of a log.
    const bool drawn_over = end < errors_.size() && errors_[end] == '\r' &&
                            !(end + 1 < errors_.size() && errors_[end + 1] == '\n');
    if (!trim(line).empty()) {
      if (!drawn_over && error_lines_ < kMostErrorLines)
        context_.log().info(short_name_ + ": " + printable(line, 500));
      if (!drawn_over && ++error_lines_ == kMostErrorLines)
        context_.log().info(short_name_ + ": further lines of its stderr are left out");
      last_words_ = trim(line);
    }
    begin = std::min(end + 1, errors_.size());
    if (begin == errors_.size()) break;
  }
  errors_.erase(0, begin);
}

// ------------------------------------------------------------------------------------- messages

Json Session::parse(const std::string& line) {
  Json message = Json::parse(line, nullptr, false);
  if (message.is_object() && !type_of(message).empty()) return message;
  const std::string where = "line " + std::to_string(lines_) + " of its output ";
  if (message.is_discarded()) {
    const bool number =
        line.find("NaN") != std::string::npos || line.find("Infinity") != std::string::npos;
    fail(where + "is not JSON: " + printable(line, 80) +
         (number ? " (NaN and Infinity are not JSON; null stands for no number)" : ""));
  }
  fail(where + "is no message, an object with a \"type\": " + printable(line, 80));
}

void Session::write_log(const Json& message) {
  const std::string level = text_of(message, "level");
  const LogLevel as = level == "debug"     ? LogLevel::debug
                      : level == "warning" ? LogLevel::warning
                      : level == "error"   ? LogLevel::error
                                           : LogLevel::info;
  context_.log().write(as, short_name_ + ": " + printable(text_of(message, "text"), 2000));
}

void Session::show_progress(const Json& message) {
  const auto number = [&](const char* key) -> std::int64_t {
    const auto value = message.find(key);
    if (value == message.end() || !value->is_number()) return -1;
    const double given = value->get<double>();
    return given >= 0 && given < 1e15 ? static_cast<std::int64_t>(given) : -1;
  };
  const std::int64_t done = number("done"), total = number("total");
  if (done < 0 || total < 0) fail("sent progress without the numbers \"done\" and \"total\"");
  std::string title = printable(text_of(message, "title"));
  if (title.empty()) title = short_name_;
  if (!progress_ || title != progress_title_ || total != progress_total_ || done < progress_done_) {
    progress_.reset();
    const std::string unit = printable(text_of(message, "unit"));
    progress_ = context_.progress(title, total, unit.empty() ? "steps" : unit);
    progress_title_ = title;
    progress_total_ = total;
    progress_done_ = 0;
  }
  progress_->advance(done - progress_done_);
  progress_done_ = done;
}

}  // namespace linex
