#include "toolkit/intervention/impact.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "toolkit/base/parallel.hpp"
#include "toolkit/intervention/ablation.hpp"
#include "toolkit/math/column_stats.hpp"

namespace linex {

namespace {

/// Zeroing the pooled value of a last layer's unit: logits fall by a·w.
RemovalEffect remove_linear(const torch::Tensor& logits, const torch::Tensor& labels,
                            const torch::Tensor& loss, const torch::Tensor& correct,
                            const torch::Tensor& activation, const torch::Tensor& weight,
                            double temperature) {
  const auto without = torch::addr(logits, activation, weight, 1, -1);
  return {loss, intervention::cross_entropy_rows(without, labels, temperature), correct,
          without.argmax(1).eq(labels).to(torch::kUInt8)};
}

}  // namespace

std::vector<double> impact_shares(const torch::Tensor& activation, const RemovalEffect& effect,
                                  const std::vector<double>& cuts) {
  const auto values = activation.contiguous();
  const float* a = values.data_ptr<float>();
  const std::int64_t n = values.numel();
  std::vector<double> shares(cuts.size(), std::numeric_limits<double>::quiet_NaN());
  if (n == 0) return shares;
  const auto loss = effect.loss, change = effect.loss_without - loss;
  const auto correct = effect.correct.to(torch::kFloat64),
             lost = correct - effect.correct_without.to(torch::kFloat64);
  // A network that is never right has no share of accuracy to lose.
  const double right = std::max(correct.sum().item<double>(), 1.0),
               total = loss.sum().item<double>();
  const auto impact =
      (0.5 * (lost / right + (total > 0 ? change / total : torch::zeros_like(change))))
          .abs()
          .contiguous();
  const double* size = impact.data_ptr<double>();
  const double all = std::accumulate(size, size + n, 0.0);
  if (!(all > 0)) return shares;

  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [a](std::int64_t x, std::int64_t y) { return a[x] > a[y]; });
  std::vector<double> cumulative(static_cast<std::size_t>(n));
  double sum = 0;
  for (std::size_t i = 0; i < order.size(); ++i) cumulative[i] = sum += size[order[i]];
  for (std::size_t c = 0; c < cuts.size(); ++c) {
    const auto at = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(cuts[c] * static_cast<double>(n)), 0, n - 1);
    shares[c] = cumulative[static_cast<std::size_t>(at)] / all;
  }
  return shares;
}

std::vector<std::vector<double>> measure_impact(const VariantJob& job,
                                                const torch::Tensor& activations,
                                                const std::vector<std::int64_t>& units,
                                                const std::vector<double>& cuts, double temperature,
                                                const PluginContext& context) {
  const std::int64_t n = activations.size(0);
  Rows rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<std::vector<double>> shares(units.size());

  const LinearHead head = job.pool == Pool::avg ? job.model.linear_head(job.layer) : LinearHead{};
  if (head.weight.defined()) {
    const auto weight = head.weight.to(torch::kCPU);
    const auto labels = labels_of(*job.data, rows);
    check_labels(labels, weight.size(0));
    const auto logits = torch::addmm(head.bias.to(torch::kCPU), activations, weight.t());
    const auto loss = intervention::cross_entropy_rows(logits, labels, temperature);
    const auto correct = logits.argmax(1).eq(labels).to(torch::kUInt8);
    parallel_for(
        static_cast<std::int64_t>(units.size()), context.run().threads, [&](std::int64_t i) {
          check_cancelled(context);
          const auto unit = units[static_cast<std::size_t>(i)];
          const auto activation = activations.select(1, unit).contiguous();
          shares[static_cast<std::size_t>(i)] =
              impact_shares(activation,
                            remove_linear(logits, labels, loss, correct, activation,
                                          weight.select(1, unit).contiguous(), temperature),
                            cuts);
        });
    return shares;
  }

  VariantJob removal = job;
  removal.pool = Pool::avg;  // constant zero over the whole map, whatever the run pools
  removal.fill = Fill::constant;
  const auto zeros = torch::zeros({n});
  // Blocks of units bound the (units, n) losses kept.
  const auto block = static_cast<std::size_t>(std::max<std::int64_t>(
      1, context.run().memory_bytes / 16 / 16 / std::max<std::int64_t>(n, 1)));
  for (std::size_t begin = 0; begin < units.size(); begin += block) {
    const std::size_t end = std::min(units.size(), begin + block);
    std::vector<Variant> variants;
    for (std::size_t i = begin; i < end; ++i) variants.push_back({units[i], zeros});
    const auto outcome =
        run_variants("impact of " + job.layer, removal, rows, variants, temperature, context);
    const auto plain = intervention::loss_of(outcome.plain);
    parallel_for(static_cast<std::int64_t>(end - begin), context.run().threads,
                 [&](std::int64_t i) {
                   const std::size_t at = begin + static_cast<std::size_t>(i);
                   shares[at] = impact_shares(activations.select(1, units[at]),
                                              {plain, intervention::loss_of(outcome.variants[i]),
                                               outcome.plain_correct, outcome.variants_correct[i]},
                                              cuts);
                 });
  }
  return shares;
}

std::vector<std::int64_t> dead_units(const torch::Tensor& activations,
                                     const std::vector<std::int64_t>& units) {
  std::vector<std::int64_t> dead;
  if (activations.size(0) == 0) return dead;
  const auto low = activations.amin(0), high = activations.amax(0);
  for (const auto unit : units)
    if (!varies(low[unit].item<float>(), high[unit].item<float>())) dead.push_back(unit);
  return dead;
}

}  // namespace linex
