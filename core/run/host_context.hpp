// What the host lends its plugins.
#pragma once

#include <memory>
#include <string>

#include "core/run/console.hpp"
#include "linex/context.hpp"

namespace linex {

/// A PluginContext over the host's logger and run settings, both of which outlive it.
class HostContext final : public PluginContext {
 public:
  HostContext(OptionValues options, const RunSettings& run, Logger& log, bool quiet)
      : options_(std::move(options)), run_(run), log_(log), quiet_(quiet) {}

  const OptionValues& options() const override { return options_; }
  const RunSettings& run() const override { return run_; }
  Logger& log() const override { return log_; }
  std::unique_ptr<Progress> progress(const std::string& title, std::int64_t total,
                                     const std::string& unit) const override {
    return make_console_progress(title, total, unit, quiet_);
  }
  bool cancelled() const noexcept override { return interrupted(); }

 private:
  OptionValues options_;
  const RunSettings& run_;
  Logger& log_;
  bool quiet_;
};

}  // namespace linex
