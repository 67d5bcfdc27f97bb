// Runs checks one by one and turns whatever they throw into an outcome.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "linex/conformance.hpp"
#include "linex/error.hpp"

namespace linex::conformance {

/// Thrown by a check.
struct Failure {
  std::string detail;
};
struct Skip {
  std::string detail;
};

inline void require(bool condition, const std::string& otherwise) {
  if (!condition) throw Failure{otherwise};
}

/// Redirects standard output into a file of its own while it lives.
class StdoutWatch {
 public:
  StdoutWatch();
  ~StdoutWatch();
  StdoutWatch(const StdoutWatch&) = delete;
  StdoutWatch& operator=(const StdoutWatch&) = delete;
  long bytes_written() const;

 private:
  int saved_ = -1;
  std::FILE* file_ = nullptr;
};

class Runner {
 public:
  explicit Runner(const Setup& setup) : setup_(setup) {}

  template <class Work>
  Outcome run(const std::string& name, const Work& work) {
    begin(name);
    Check check{name, Outcome::passed, ""};
    if (is_skipped(name)) {
      check = {name, Outcome::skipped, "on request"};
    } else {
      try {
        work();
      } catch (...) {
        explain(check);
      }
    }
    end(check);
    return check.outcome;
  }

  /// The first call into a plugin: true when the checks after it can run.
  template <class Work>
  bool open(const std::string& name, const Work& work) {
    const auto willing = [&] {
      try {
        work();
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::usage && error.kind() != ErrorKind::input) throw;
        throw Skip{std::string("needs more than a check offers: ") + error.what()};
      }
    };
    return run(name, willing) == Outcome::passed;
  }

  std::vector<Check> finish();

 private:
  bool is_skipped(const std::string& name) const;
  void begin(const std::string& name);
  void end(const Check& check);
  static void explain(Check& check);  ///< inside a catch block

  const Setup& setup_;
  StdoutWatch stdout_;
  std::vector<Check> checks_;
};

}  // namespace linex::conformance
