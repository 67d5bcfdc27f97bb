#include "linex/conformance.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <iostream>

#include "conformance_runner.hpp"

namespace linex::conformance {
namespace {

class SilentLogger final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

class SilentProgress final : public Progress {
 public:
  void advance(std::int64_t) override {}
};

}  // namespace

struct TestContext::State {
  OptionValues options;
  RunSettings run;
  SilentLogger log;
  std::atomic<bool> cancelled{false};
};

TestContext::TestContext(OptionValues options, RunSettings run) : state_(new State) {
  state_->options = std::move(options);
  state_->run = std::move(run);
}
TestContext::~TestContext() = default;
const OptionValues& TestContext::options() const { return state_->options; }
const RunSettings& TestContext::run() const { return state_->run; }
Logger& TestContext::log() const { return state_->log; }
std::unique_ptr<Progress> TestContext::progress(const std::string&, std::int64_t,
                                                const std::string&) const {
  return std::make_unique<SilentProgress>();
}
bool TestContext::cancelled() const noexcept { return state_->cancelled; }
void TestContext::cancel() { state_->cancelled = true; }

std::string failures(const std::vector<Check>& checks) {
  std::string text;
  for (const Check& check : checks)
    if (check.outcome == Outcome::failed) text += check.name + ": " + check.detail + "\n";
  return text;
}

StdoutWatch::StdoutWatch() : file_(std::tmpfile()) {
  std::cout.flush();
  std::fflush(stdout);
  saved_ = ::dup(STDOUT_FILENO);
  if (file_) ::dup2(::fileno(file_), STDOUT_FILENO);
}

StdoutWatch::~StdoutWatch() {
  std::cout.flush();
  std::fflush(stdout);
  if (saved_ >= 0) {
    ::dup2(saved_, STDOUT_FILENO);
    ::close(saved_);
  }
  if (file_) std::fclose(file_);
}

long StdoutWatch::bytes_written() const {
  std::cout.flush();
  std::fflush(stdout);
  struct stat info {};
  return file_ && ::fstat(::fileno(file_), &info) == 0 ? static_cast<long>(info.st_size) : 0;
}

bool Runner::is_skipped(const std::string& name) const {
  const auto& skip = setup_.quirks.skip;
  return std::find(skip.begin(), skip.end(), name) != skip.end();
}

void Runner::begin(const std::string& name) {
  if (setup_.before) setup_.before(name);
}

void Runner::end(const Check& check) {
  checks_.push_back(check);
  if (setup_.after) setup_.after(check);
}

void Runner::explain(Check& check) {
  check.outcome = Outcome::failed;
  try {
    throw;
  } catch (const Failure& failure) {
    check.detail = failure.detail;
  } catch (const Skip& skip) {
    check.outcome = Outcome::skipped;
    check.detail = skip.detail;
  } catch (const c10::Error& error) {
    check.detail = std::string("threw ") + error.what_without_backtrace();
  } catch (const std::exception& error) {
    check.detail = std::string("threw ") + error.what();
  } catch (...) {
    check.detail = "threw something that is not a std::exception";
  }
}

std::vector<Check> Runner::finish() {
  run("nothing on stdout", [&] {
    const long bytes = stdout_.bytes_written();
    require(bytes == 0, std::to_string(bytes) + " bytes were written to standard output");
  });
  return std::move(checks_);
}

}  // namespace linex::conformance
