#include "core/report/unit_details.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "core/report/plots.hpp"
#include "core/report/unit_images.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/probe/unit_maps.hpp"

namespace linex {

namespace {

/// Rows of a plot: a quarter are the unit's strongest, since those are few and matter, the rest
/// drawn from all.
std::vector<std::int64_t> sample_rows(const float* actual, std::int64_t n, std::int64_t sample,
                                      Random random) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (n <= sample) return order;
  const std::int64_t top = sample / 4;
  std::partial_sort(order.begin(), order.begin() + top, order.end(),
                    [actual](std::int64_t a, std::int64_t b) {
                      return actual[a] != actual[b] ? actual[a] > actual[b] : a < b;
                    });
  std::vector<std::int64_t> rest(order.begin() + top, order.end());
  std::sort(rest.begin(), rest.end());
  random.shuffle(rest);
  order.resize(static_cast<std::size_t>(top));
  order.insert(order.end(), rest.begin(), rest.begin() + (sample - top));
  return order;
}

/// What methods (or `only` one of them) predict for the units [begin, end) of one layer:
/// (units, rows) a method, undefined without a simulator.
std::vector<torch::Tensor> predict_block(const Report& report, const std::vector<ReportUnit>& units,
                                         std::size_t begin, std::size_t end, const Rows& rows,
                                         const PluginContext& context,
                                         std::optional<std::size_t> only = {}) {
  const ReportLayer& layer = report.layers[units[begin].layer];
  std::vector<torch::Tensor> predicted(layer.methods.size());
  for (std::size_t m = 0; m < layer.methods.size(); ++m) {
    if (!layer.methods[m].simulator || (only && m != *only)) continue;
    std::vector<Explanation> some;
    for (std::size_t i = begin; i < end; ++i)
      some.push_back(units[i].at[m] < 0
                         ? Explanation{}
                         : layer.methods[m].explanations[static_cast<std::size_t>(units[i].at[m])]);
    predicted[m] = Simulation(some, *layer.methods[m].simulator)
                       .predict(rows, context.run().threads, context.run().memory_bytes)
                       .t()
                       .contiguous();
  }
  return predicted;
}

/// A few hundred units of one layer at a time: predictions are (units, rows) floats a method.
void visit_blocks(const Report& report, const std::vector<ReportUnit>& units,
                  const PluginContext& context,
                  const std::function<void(std::size_t, std::size_t)>& visit) {
  constexpr std::size_t kBlock = 256;
  for (std::size_t begin = 0; begin < units.size();) {
    std::size_t end = begin;
    while (end < units.size() && end - begin < kBlock && units[end].layer == units[begin].layer)
      ++end;
    if (report.layers[units[begin].layer].activations.defined()) visit(begin, end);
    check_cancelled(context);
    begin = end;
  }
}

/// Adds {"sample": {actual, predicted by method, r by method}} for a block of units; `worst` gets
/// the test rows that the method `lead` predicts worst.
void add_samples(const Report& report, const std::vector<ReportUnit>& units, std::size_t begin,
                 std::size_t end, std::size_t lead, std::int64_t sample,
                 const PluginContext& context, std::vector<ReportJson>& details,
                 std::vector<Rows>& worst) {
  constexpr std::size_t kWorst = 5;
  const ReportLayer& layer = report.layers[units[begin].layer];
  const Rows& rows = report.split.test;
  const auto n = static_cast<std::int64_t>(rows.size());
  if (n == 0) return;
  const auto predicted = predict_block(report, units, begin, end, rows, context);
  const auto test = copy_rows(layer.activations, rows);
  parallel_for(static_cast<std::int64_t>(end - begin), context.run().threads, [&](std::int64_t i) {
    const std::size_t at = begin + static_cast<std::size_t>(i);
    const ReportUnit& unit = units[at];
    if (unit.unit >= test.size(1)) return;
    const auto actual = test.select(1, unit.unit).contiguous();
    const float* a = actual.data_ptr<float>();
    const auto chosen =
        sample_rows(a, n, sample,
                    Random::stream(context.run().seed + 1, static_cast<std::uint64_t>(unit.unit)));
    ReportJson json{{"actual", ReportJson::array()},
                    {"predicted", ReportJson::array()},
                    {"r", ReportJson::array()}};
    for (const auto row : chosen) json["actual"].push_back(report_number(a[row]));
    bool any = false;
    for (std::size_t m = 0; m < predicted.size(); ++m) {
      ReportJson values = ReportJson::array();
      double r = kNone;
      if (predicted[m].defined()) {
        const auto prediction = predicted[m][i];
        const float* p = prediction.data_ptr<float>();
        r = pearson_columns(prediction.unsqueeze(1), actual.unsqueeze(1))[0];
        for (const auto row : chosen) {
          any = any || std::isfinite(p[row]);
          values.push_back(report_number(p[row]));
        }
        if (m == lead)
          for (const auto row : worst_predicted(p, a, n, kWorst))
            worst[at].push_back(rows[static_cast<std::size_t>(row)]);
      }
      json["predicted"].push_back(values);
      json["r"].push_back(report_number(r));
    }
    if (any) details[at]["sample"] = std::move(json);
  });
}

/// Rows to show until the budget is spent: the best ranks of all units first, then what is
/// predicted worst, then the lower ranks.
std::set<std::int64_t> affordable(const std::vector<std::vector<RankBand>>& bands,
                                  const std::vector<Rows>& worst, std::int64_t budget) {
  std::set<std::int64_t> rows;
  const auto add = [&](const Rows& some) {
    for (const auto row : some)
      if (static_cast<std::int64_t>(rows.size()) < budget) rows.insert(row);
  };
  for (std::size_t b = 0; b < 4; ++b) {
    for (const auto& unit : bands)
      if (b < unit.size()) add(unit[b].rows);
    if (b > 0) continue;
    for (const auto& unit : worst) add(unit);
  }
  return rows;
}

/// The unit's maps in the rows of `wanted_rows` that are shown, by (unit's index, row).
using MapOf = std::map<std::pair<std::size_t, std::int64_t>, SmallMap>;
MapOf collect_maps(const Report& report, const std::vector<ReportUnit>& units,
                   const std::vector<Rows>& shown, std::int64_t side,
                   const PluginContext& context) {
  MapOf map_of;
  for (std::size_t l = 0; l < report.layers.size() && report.model; ++l) {
    if (report.layers[l].pool == Pool::first) continue;  // of one token: no map
    std::vector<std::pair<std::int64_t, std::int64_t>> wanted;
    std::vector<std::size_t> owner;
    for (std::size_t i = 0; i < units.size(); ++i) {
      if (units[i].layer != l) continue;
      for (const auto row : shown[i]) {
        wanted.emplace_back(row, units[i].unit);
        owner.push_back(i);
      }
    }
    std::vector<SmallMap> maps(wanted.size());
    visit_maps(*report.model, report.data, report.layers[l].name, wanted, context,
               [&](std::size_t i, const torch::Tensor& map) { maps[i] = small_map(map, side); });
    for (std::size_t w = 0; w < wanted.size(); ++w)
      map_of[{owner[w], wanted[w].first}] = std::move(maps[w]);
  }
  return map_of;
}

/// What the method `lead` predicts for the shown rows, by unit and in the rows' order; NaN where it
/// predicts nothing.
std::vector<std::vector<float>> predict_shown(const Report& report,
                                              const std::vector<ReportUnit>& units,
                                              const std::vector<Rows>& shown, const Rows& rows,
                                              std::size_t lead, const PluginContext& context) {
  std::vector<std::vector<float>> predicted(units.size());
  visit_blocks(report, units, context, [&](std::size_t begin, std::size_t end) {
    const auto all = predict_block(report, units, begin, end, rows, context, lead);
    if (lead >= all.size() || !all[lead].defined()) return;
    const float* values = all[lead].data_ptr<float>();
    for (std::size_t i = begin; i < end; ++i)
      for (const auto row : shown[i]) {
        const auto at = std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
        predicted[i].push_back(values[(i - begin) * rows.size() + static_cast<std::size_t>(at)]);
      }
  });
  return predicted;
}

/// Adds {"bands": [...], "worst": [...]} and returns the thumbnails they name.
std::vector<Thumbnail> add_images(const Report& report, const std::vector<ReportUnit>& units,
                                  const std::vector<Rows>& worst, std::size_t lead,
                                  const ReportOptions& options, const PluginContext& context,
                                  std::vector<ReportJson>& details) {
  std::vector<std::vector<RankBand>> bands(units.size());
  parallel_for(static_cast<std::int64_t>(units.size()), context.run().threads, [&](std::int64_t i) {
    const ReportUnit& unit = units[static_cast<std::size_t>(i)];
    const auto& activations = report.layers[unit.layer].activations;
    if (activations.defined() && unit.unit < activations.size(1))
      bands[static_cast<std::size_t>(i)] =
          choose_bands(activations.select(1, unit.unit), context.run().seed, unit.unit);
  });
  const auto afforded = affordable(bands, worst, options.images);
  const Rows rows(afforded.begin(), afforded.end());
  auto thumbnails =
      make_thumbnails(rows, *report.data, report.model ? report.model->preprocess() : Preprocess{},
                      options.thumbnail, context);
  std::vector<Rows> shown(units.size());  // a row may stand in a band and among the worst
  for (std::size_t i = 0; i < units.size(); ++i) {
    std::set<std::int64_t> some(worst[i].begin(), worst[i].end());
    for (const auto& band : bands[i]) some.insert(band.rows.begin(), band.rows.end());
    for (const auto row : some)
      if (afforded.count(row)) shown[i].push_back(row);
  }
  const MapOf map_of = collect_maps(report, units, shown, options.map_side, context);
  const auto predicted = predict_shown(report, units, shown, rows, lead, context);

  const auto& labels = report.data->labels();
  for (std::size_t i = 0; i < units.size(); ++i) {
    const auto shots = [&](const Rows& wanted) {
      ReportJson list = ReportJson::array();
      for (const auto row : wanted) {
        const auto at = std::lower_bound(shown[i].begin(), shown[i].end(), row);
        if (at == shown[i].end() || *at != row) continue;
        const float value =
            report.layers[units[i].layer].activations[row][units[i].unit].item<float>();
        ReportJson map, prediction;
        if (const auto found = map_of.find({i, row});
            found != map_of.end() && !found->second.bytes.empty())
          map = ReportJson::array(
              {found->second.height, found->second.width, base64(found->second.bytes)});
        if (!predicted[i].empty())
          prediction = report_number(predicted[i][static_cast<std::size_t>(at - shown[i].begin())]);
        list.push_back(ReportJson::array(
            {row, report_number(value),
             labels.empty() ? ReportJson() : ReportJson(labels[static_cast<std::size_t>(row)]), map,
             prediction}));
      }
      return list;
    };
    ReportJson list = ReportJson::array();
    for (const auto& band : bands[i])
      if (auto images = shots(band.rows); !images.empty())
        list.push_back({{"first", band.begin + 1},
                        {"last", band.end},
                        {"low", report_number(band.low)},
                        {"high", report_number(band.high)},
                        {"images", std::move(images)}});
    if (!list.empty()) details[i]["bands"] = std::move(list);
    if (auto images = shots(worst[i]); !images.empty()) details[i]["worst"] = std::move(images);
  }
  return thumbnails;
}

void add_compositions(const Report& report, const std::vector<ReportUnit>& units,
                      const PluginContext& context, std::vector<ReportJson>& details) {
  const auto& labels = report.data->labels();
  const auto& names = report.data->class_names();
  parallel_for(static_cast<std::int64_t>(units.size()), context.run().threads, [&](std::int64_t i) {
    const ReportUnit& unit = units[static_cast<std::size_t>(i)];
    const auto& activations = report.layers[unit.layer].activations;
    if (!activations.defined() || unit.unit >= activations.size(1)) return;
    const auto found = class_composition(activations.select(1, unit.unit), labels, names, 8, 6);
    if (found.counts.empty()) return;
    details[static_cast<std::size_t>(i)]["composition"] = {{"svg", composition_figure(found)},
                                                           {"names", found.names}};
  });
}

}  // namespace

ReportJson report_number(double value) {
  if (!std::isfinite(value)) return {};
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", value);
  const double rounded = std::strtod(buffer, nullptr);
  if (rounded == std::floor(rounded) && std::abs(rounded) < 1e15)
    return static_cast<std::int64_t>(rounded);
  return rounded;
}

std::vector<ReportUnit> units_of(const ReportLayer& layer, std::size_t index) {
  std::map<std::int64_t, ReportUnit> units;
  for (std::size_t m = 0; m < layer.methods.size(); ++m)
    for (std::size_t i = 0; i < layer.methods[m].explanations.size(); ++i) {
      ReportUnit& unit = units[layer.methods[m].explanations[i].unit];
      if (unit.at.empty()) {
        unit.layer = index;
        unit.unit = layer.methods[m].explanations[i].unit;
        unit.at.assign(layer.methods.size(), -1);
      }
      if (unit.at[m] < 0) unit.at[m] = static_cast<std::int64_t>(i);  // of a doubled unit the first
    }
  std::vector<ReportUnit> sorted;
  for (auto& entry : units) sorted.push_back(std::move(entry.second));
  return sorted;
}

std::vector<std::int64_t> worst_predicted(const float* predicted, const float* actual,
                                          std::int64_t n, std::size_t count) {
  double mean_p = 0, mean_a = 0, pp = 0, pa = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    mean_p += predicted[i];
    mean_a += actual[i];
  }
  mean_p /= static_cast<double>(n);
  mean_a /= static_cast<double>(n);
  for (std::int64_t i = 0; i < n; ++i) {
    pp += (predicted[i] - mean_p) * (predicted[i] - mean_p);
    pa += (predicted[i] - mean_p) * (actual[i] - mean_a);
  }
  // NaN, or a spread that is the rounding of 32-bit values.
  if (!(pp > 1e-13 * mean_p * mean_p * static_cast<double>(n)) || !std::isfinite(pp)) return {};
  std::vector<double> miss;
  for (std::int64_t i = 0; i < n; ++i)
    miss.push_back(std::fabs(actual[i] - mean_a - pa / pp * (predicted[i] - mean_p)));
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto kept = static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(
      order.begin(), order.begin() + kept, order.end(), [&](std::int64_t x, std::int64_t y) {
        const double mx = miss[static_cast<std::size_t>(x)], my = miss[static_cast<std::size_t>(y)];
        return mx != my ? mx > my : x < y;
      });
  order.resize(static_cast<std::size_t>(kept));
  return order;
}

ClassComposition class_composition(const torch::Tensor& activation,
                                   const std::vector<std::int64_t>& labels,
                                   const std::vector<std::string>& class_names, std::int64_t bins,
                                   std::size_t named) {
  ClassComposition result;
  const auto values = activation.to(torch::kFloat32).contiguous();
  const float* a = values.data_ptr<float>();
  const std::int64_t n = values.numel();
  if (n == 0 || labels.empty()) return result;
  const auto [least, most] = std::minmax_element(a, a + n);
  result.min = std::min(*least, 0.0F);
  result.max = *most;
  const bool negative = result.min < 0;
  if (!(result.max > result.min) || (negative && *least == *most)) return result;
  result.counts.assign(static_cast<std::size_t>(bins), 0);
  std::vector<std::vector<std::int64_t>> by_class(
      class_names.size(), std::vector<std::int64_t>(static_cast<std::size_t>(bins), 0));
  for (std::int64_t i = 0; i < n; ++i) {
    if (!(a[i] > 0) && !negative) continue;
    const double part = (a[i] - result.min) / (result.max - result.min);
    const auto bin = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(std::ceil(part * static_cast<double>(bins))) - 1, 0, bins - 1);
    ++result.counts[static_cast<std::size_t>(bin)];
    ++by_class[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])]
              [static_cast<std::size_t>(bin)];
  }
  const auto share = [&](std::size_t label, std::size_t bin) {
    return result.counts[bin]
               ? static_cast<double>(by_class[label][bin]) / static_cast<double>(result.counts[bin])
               : kNone;
  };
  std::vector<double> weight(class_names.size(), 0);
  for (std::size_t label = 0; label < class_names.size(); ++label)
    for (std::size_t bin = 0; bin < result.counts.size(); ++bin)
      if (result.counts[bin]) weight[label] += share(label, bin);
  std::vector<std::size_t> order(class_names.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t x, std::size_t y) { return weight[x] > weight[y]; });
  order.resize(std::min(order.size(), named));
  std::vector<double> other(result.counts.size());
  for (std::size_t bin = 0; bin < other.size(); ++bin) other[bin] = result.counts[bin] ? 1 : kNone;
  for (const std::size_t label : order) {
    if (weight[label] <= 0) continue;
    std::vector<double> row;
    for (std::size_t bin = 0; bin < other.size(); ++bin) {
      row.push_back(share(label, bin));
      if (result.counts[bin]) other[bin] = std::max(0.0, other[bin] - row.back());
    }
    result.names.push_back(class_names[label]);
    result.shares.push_back(std::move(row));
  }
  result.names.push_back("other");
  result.shares.push_back(std::move(other));
  return result;
}

PageDetails collect_details(const Report& report, const std::vector<ReportUnit>& units,
                            std::size_t lead, const ReportOptions& options,
                            const PluginContext& context) {
  const bool any = std::any_of(report.layers.begin(), report.layers.end(),
                               [](const auto& layer) { return layer.activations.defined(); });
  if (!any || units.empty()) return {};
  PageDetails page;
  auto& details = page.units;
  details.assign(units.size(), ReportJson::object());
  std::vector<Rows> worst(units.size());
  visit_blocks(report, units, context, [&](std::size_t begin, std::size_t end) {
    add_samples(report, units, begin, end, lead, options.sample, context, details, worst);
  });
  if (report.data && options.images > 0)
    page.thumbnails = add_images(report, units, worst, lead, options, context, details);
  if (report.data && !report.data->labels().empty())
    add_compositions(report, units, context, details);
  return page;
}

}  // namespace linex
