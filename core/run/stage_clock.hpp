// Wall-clock seconds by stage, for summary.json.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace linex {

class StageClock {
 public:
  /// Runs `work`, adds its seconds to `stage`, returns its value.
  template <class Work>
  auto time(const std::string& stage, const Work& work) {
    const Timer timer{*this, stage, Clock::now()};
    return work();
  }
  void add(const std::string& stage, double seconds) { seconds_[stage] += seconds; }
  double seconds(const std::string& stage) const {
    const auto found = seconds_.find(stage);
    return found == seconds_.end() ? 0.0 : found->second;
  }
  double total() const { return since(start_); }

 private:
  using Clock = std::chrono::steady_clock;
  static double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  struct Timer {
    StageClock& clock;
    const std::string& stage;
    Clock::time_point start;
    ~Timer() { clock.add(stage, since(start)); }
  };
  std::map<std::string, double> seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace linex
