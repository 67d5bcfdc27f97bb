// What the host lends its plugins.
#pragma once

#include <memory>
#include <string>

#include "core/cluster/run_cluster.hpp"
#include "core/run/console.hpp"
#include "linex/ability.hpp"
#include "linex/context.hpp"
#include "linex/precision.hpp"

namespace linex {

/// A PluginContext over the host's logger, run settings, precision and cluster (null: one process),
/// all of which outlive it but the precision.
class HostContext final : public PluginContext {
 public:
  HostContext(OptionValues options, const RunSettings& run, Logger& log, bool quiet,
              const RunCluster* cluster = nullptr, Precision precision = {})
      : options_(std::move(options)),
        run_(run),
        log_(log),
        quiet_(quiet),
        cluster_(cluster),
        precision_(precision) {}

  const OptionValues& options() const override { return options_; }
  const RunSettings& run() const override { return run_; }
  Logger& log() const override { return log_; }
  std::unique_ptr<Progress> progress(const std::string& title, std::int64_t total,
                                     const std::string& unit) const override {
    return make_console_progress(title, total, unit, quiet_);
  }
  bool cancelled() const noexcept override { return interrupted(); }
  const void* ability(const char* name) const override {
    if (const void* const precision = offer<Precision>(name, &precision_)) return precision;
    const Cluster* const cluster = cluster_ ? cluster_->for_plugins() : nullptr;
    return cluster ? offer<Cluster>(name, cluster) : nullptr;
  }

 private:
  OptionValues options_;
  const RunSettings& run_;
  Logger& log_;
  bool quiet_;
  const RunCluster* cluster_;
  Precision precision_;
};

}  // namespace linex
