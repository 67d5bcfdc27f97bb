#include "core/report/unit_details.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <set>

#include "core/report/unit_images.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
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

/// Adds {"sample": {actual, predicted by method}} for the units [begin, end) of one layer.
void add_samples(const Report& report, const std::vector<ReportUnit>& units, std::size_t begin,
                 std::size_t end, std::int64_t sample, const PluginContext& context,
                 std::vector<ReportJson>& details) {
  const ReportLayer& layer = report.layers[units[begin].layer];
  const Rows& rows = report.split.test;
  const auto n = static_cast<std::int64_t>(rows.size());
  if (n == 0) return;
  std::vector<torch::Tensor> predicted(layer.methods.size());  // (units of this block, n)
  for (std::size_t m = 0; m < layer.methods.size(); ++m) {
    if (!layer.methods[m].simulator) continue;
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
  const auto test = copy_rows(layer.activations, rows);
  parallel_for(static_cast<std::int64_t>(end - begin), context.run().threads, [&](std::int64_t i) {
    const ReportUnit& unit = units[begin + static_cast<std::size_t>(i)];
    if (unit.unit >= test.size(1)) return;
    const auto actual = test.select(1, unit.unit).contiguous();
    const float* a = actual.data_ptr<float>();
    const auto chosen =
        sample_rows(a, n, sample,
                    Random::stream(context.run().seed + 1, static_cast<std::uint64_t>(unit.unit)));
    ReportJson json{{"actual", ReportJson::array()}, {"predicted", ReportJson::array()}};
    for (const auto row : chosen) json["actual"].push_back(report_number(a[row]));
    bool any = false;
    for (const auto& matrix : predicted) {
      ReportJson values = ReportJson::array();
      if (matrix.defined())
        for (const auto row : chosen) {
          const float value = matrix.data_ptr<float>()[i * n + row];
          any = any || std::isfinite(value);
          values.push_back(report_number(value));
        }
      json["predicted"].push_back(values);
    }
    if (any) details[begin + static_cast<std::size_t>(i)]["sample"] = std::move(json);
  });
}

/// Rows to show, the best ranks of all units first, until the budget is spent.
std::set<std::int64_t> affordable(const std::vector<std::vector<RankBand>>& bands,
                                  std::int64_t budget) {
  std::set<std::int64_t> rows;
  for (std::size_t b = 0; b < 4; ++b)
    for (const auto& unit : bands) {
      if (b >= unit.size()) continue;
      for (const auto row : unit[b].rows)
        if (static_cast<std::int64_t>(rows.size()) < budget) rows.insert(row);
    }
  return rows;
}

/// Adds {"bands": [...]} and returns the thumbnails they name.
std::vector<Thumbnail> add_images(const Report& report, const std::vector<ReportUnit>& units,
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
  const auto rows = affordable(bands, options.images);
  auto thumbnails = make_thumbnails(Rows(rows.begin(), rows.end()), *report.data,
                                    report.model ? report.model->preprocess() : Preprocess{},
                                    options.thumbnail, context);

  std::map<std::pair<std::size_t, std::int64_t>, SmallMap> map_of;  // (unit's index, row)
  for (std::size_t l = 0; l < report.layers.size() && report.model; ++l) {
    if (report.layers[l].pool == Pool::first) continue;  // of one token: no map
    std::vector<std::pair<std::int64_t, std::int64_t>> wanted;
    std::vector<std::size_t> owner;
    for (std::size_t i = 0; i < units.size(); ++i)
      for (const auto& band : bands[i])
        for (const auto row : band.rows)
          if (units[i].layer == l && rows.count(row)) {
            wanted.emplace_back(row, units[i].unit);
            owner.push_back(i);
          }
    std::vector<SmallMap> maps(wanted.size());
    visit_maps(*report.model, report.data, report.layers[l].name, wanted, context,
               [&](std::size_t i, const torch::Tensor& map) {
                 maps[i] = small_map(map, options.map_side);
               });
    for (std::size_t w = 0; w < wanted.size(); ++w)
      map_of[{owner[w], wanted[w].first}] = std::move(maps[w]);
  }

  const auto& labels = report.data->labels();
  for (std::size_t i = 0; i < units.size(); ++i) {
    ReportJson list = ReportJson::array();
    for (const auto& band : bands[i]) {
      ReportJson shots = ReportJson::array();
      for (const auto row : band.rows) {
        if (!rows.count(row)) continue;
        const float value =
            report.layers[units[i].layer].activations[row][units[i].unit].item<float>();
        ReportJson map;
        if (const auto found = map_of.find({i, row});
            found != map_of.end() && !found->second.bytes.empty())
          map = ReportJson::array(
              {found->second.height, found->second.width, base64(found->second.bytes)});
        shots.push_back(ReportJson::array(
            {row, report_number(value),
             labels.empty() ? ReportJson() : ReportJson(labels[static_cast<std::size_t>(row)]),
             map}));
      }
      if (!shots.empty())
        list.push_back({{"first", band.begin + 1},
                        {"last", band.end},
                        {"low", report_number(band.low)},
                        {"high", report_number(band.high)},
                        {"images", shots}});
    }
    if (!list.empty()) details[i]["bands"] = std::move(list);
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
    ReportJson shares = ReportJson::array();
    for (const auto& row : found.shares) {
      ReportJson values = ReportJson::array();
      for (const double share : row) values.push_back(report_number(share));
      shares.push_back(values);
    }
    details[static_cast<std::size_t>(i)]["composition"] = {{"max", report_number(found.max)},
                                                           {"counts", found.counts},
                                                           {"names", found.names},
                                                           {"shares", shares}};
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

ClassComposition class_composition(const torch::Tensor& activation,
                                   const std::vector<std::int64_t>& labels,
                                   const std::vector<std::string>& class_names, std::int64_t bins,
                                   std::size_t named) {
  ClassComposition result;
  const auto values = activation.to(torch::kFloat32).contiguous();
  const float* a = values.data_ptr<float>();
  const std::int64_t n = values.numel();
  result.max = n > 0 ? *std::max_element(a, a + n) : 0;
  if (!(result.max > 0) || labels.empty()) return result;
  result.counts.assign(static_cast<std::size_t>(bins), 0);
  std::vector<std::vector<std::int64_t>> by_class(
      class_names.size(), std::vector<std::int64_t>(static_cast<std::size_t>(bins), 0));
  for (std::int64_t i = 0; i < n; ++i) {
    if (!(a[i] > 0)) continue;
    const auto bin = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(std::ceil(a[i] / result.max * static_cast<double>(bins))) - 1, 0,
        bins - 1);
    ++result.counts[static_cast<std::size_t>(bin)];
    ++by_class[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])]
              [static_cast<std::size_t>(bin)];
  }
  const auto share = [&](std::size_t label, std::size_t bin) {
    return result.counts[bin]
               ? static_cast<double>(by_class[label][bin]) / static_cast<double>(result.counts[bin])
               : 0.0;
  };
  std::vector<double> weight(class_names.size(), 0);
  for (std::size_t label = 0; label < class_names.size(); ++label)
    for (std::size_t bin = 0; bin < result.counts.size(); ++bin) weight[label] += share(label, bin);
  std::vector<std::size_t> order(class_names.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t x, std::size_t y) { return weight[x] > weight[y]; });
  order.resize(std::min(order.size(), named));
  std::vector<double> other(result.counts.size());
  for (std::size_t bin = 0; bin < other.size(); ++bin) other[bin] = result.counts[bin] ? 1 : 0;
  for (const std::size_t label : order) {
    if (weight[label] <= 0) continue;
    std::vector<double> row;
    for (std::size_t bin = 0; bin < other.size(); ++bin) {
      row.push_back(share(label, bin));
      other[bin] = std::max(0.0, other[bin] - row.back());
    }
    result.names.push_back(class_names[label]);
    result.shares.push_back(std::move(row));
  }
  result.names.push_back("other");
  result.shares.push_back(std::move(other));
  return result;
}

PageDetails collect_details(const Report& report, const std::vector<ReportUnit>& units,
                            const ReportOptions& options, const PluginContext& context) {
  const bool any = std::any_of(report.layers.begin(), report.layers.end(),
                               [](const auto& layer) { return layer.activations.defined(); });
  if (!any || units.empty()) return {};
  PageDetails page;
  auto& details = page.units;
  details.assign(units.size(), ReportJson::object());
  if (report.data && options.images > 0)
    page.thumbnails = add_images(report, units, options, context, details);

  // Simulations of a few hundred units at a time: (units, test rows) floats a method.
  constexpr std::size_t kBlock = 256;
  for (std::size_t begin = 0; begin < units.size();) {
    std::size_t end = begin;
    while (end < units.size() && end - begin < kBlock && units[end].layer == units[begin].layer)
      ++end;
    if (report.layers[units[begin].layer].activations.defined())
      add_samples(report, units, begin, end, options.sample, context, details);
    check_cancelled(context);
    begin = end;
  }
  if (report.data && !report.data->labels().empty())
    add_compositions(report, units, context, details);
  return page;
}

}  // namespace linex
