#include "core/run/run_stages.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "core/report/report.hpp"
#include "core/run/finished.hpp"
#include "core/run/units.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/finite.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/activation_store.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/net/layers.hpp"

namespace linex {

namespace {

/// By blocks of rows: a mapped file may be larger than the memory. Every rank looks at its share.
void check_finite(const torch::Tensor& matrix, const std::string& what, const Cluster& cluster,
                  int threads) {
  constexpr std::int64_t kRowsAtOnce = 1024;
  const torch::Tensor activations = matrix.contiguous();
  const std::int64_t width = activations.size(1);
  const Share share = share_of(activations.size(0), kRowsAtOnce, &cluster);
  constexpr std::int64_t kNowhere = -1;
  std::vector<std::int64_t> bad(
      static_cast<std::size_t>((share.size() + kRowsAtOnce - 1) / kRowsAtOnce), kNowhere);
  parallel_for(static_cast<std::int64_t>(bad.size()), threads, [&](std::int64_t block) {
    const std::int64_t begin = share.begin + block * kRowsAtOnce,
                       n = std::min(kRowsAtOnce, share.end - begin);
    const std::int64_t at =
        first_not_finite(activations.data_ptr<float>() + begin * width, n * width);
    release_rows(activations, begin, n);
    if (at < n * width) bad[static_cast<std::size_t>(block)] = begin * width + at;
  });
  for (const std::int64_t at : bad)
    if (at != kNowhere)
      throw input_error(what + ": row " + std::to_string(at / width) + ", unit " +
                        std::to_string(at % width) +
                        " is NaN or infinite; activations must be finite");
}

}  // namespace

namespace {

void check_recorded_rows(const Source& source, const std::shared_ptr<const DataSet>& data) {
  if (data && data->size() != source.recorded.size(0))
    throw input_error("model.activations has " + std::to_string(source.recorded.size(0)) +
                      " rows, the data set " + std::to_string(data->size()));
}

/// model.layer as the layers are called with a basis: LAYER@STEM, whether that was said or LAYER.
std::string stated_layers(const std::string& text, const std::string& stem) {
  std::vector<std::string> layers;
  for (const auto& part : split(text, ',')) {
    const std::string layer = trim(part), end = "@" + stem;
    const bool has =
        layer.size() > end.size() && layer.compare(layer.size() - end.size(), end.size(), end) == 0;
    layers.push_back(layer.empty() || has ? layer : units::with_stem(layer, stem));
  }
  return join(layers, ",");
}

/// The rest of open_source() where [units] names a basis.
Source with_basis(Workplace& place, const std::shared_ptr<const DataSet>& data,
                  std::shared_ptr<UnitBasis> basis, Source source) {
  const std::string layer = place.options("model").text("layer");
  if (source.recorded.defined()) {
    check_recorded_rows(source, data);
    source.data = data;
    source.layers = {stated_layers(trim(layer).empty() ? "recorded" : layer, basis->stem())};
    const Split split = place.open_split(source.rows(), data.get());
    basis->attach(source.recorded, source.model.object->fingerprint(), split.train);
    basis->check(source.recorded.narrow(0, 0, 1), source.layers.front());
    source.basis = std::move(basis);
    return source;
  }
  if (!data)
    throw usage_error("data.root: " + source.model.name +
                      " is a network and needs images; name their folder");
  source.data = data;
  const Split split = place.open_split(data->size(), data.get());
  source.model.object = basis->attach(source.model.object, data, split.train);
  source.layers = parse_layers(stated_layers(layer, basis->stem()), *source.model.object);
  basis->check(*source.model.object, *data, source.layers);
  return source;
}

}  // namespace

Source open_source(Workplace& place, const std::shared_ptr<const DataSet>& data) {
  const OptionValues& options = place.options("model");
  Source source;
  source.model = place.open_model();
  source.recorded = source.model.object->recorded();
  if (trim(options.text("layer")) == "?") {
    std::fputs(describe_layers(*source.model.object).c_str(), stdout);
    throw Finished();
  }
  source.pool = pool_from_string(options.text("pool"));
  if (auto basis = open_unit_basis(place)) return with_basis(place, data, std::move(basis), source);
  source.layers = parse_layers(options.text("layer"), *source.model.object);
  if (!source.recorded.defined()) {
    if (!data)
      throw usage_error("data.root: " + source.model.name +
                        " is a network and needs images; name their folder");
    source.data = data;
    place.settle_preprocess(source.model.object->preprocess());
    return source;
  }
  // Maps and tokens are pooled as a layer's output is.
  if (source.recorded.dim() > 2)
    source.recorded = pool_output(source.recorded, source.pool, source.layers.front());
  check_recorded_rows(source, data);
  source.data = data;
  return source;
}

void Source::check_units(const std::string& units) const {
  if (trim(units).empty()) return;
  if (recorded.defined()) {
    parse_units(units, basis ? basis->of(layers.front()).units() : recorded.size(1));
    return;
  }
  const auto image = load_batch(*data, {0}, model.object->preprocess(), 1);
  const auto outputs = model.object->forward(image, layers, false);
  for (std::size_t l = 0; l < layers.size(); ++l)
    parse_units(units, pool_output(outputs.layers[l], pool, layers[l]).size(1));
}

void check_rows(const Source& source, const Named<ConceptLabeler>& labeler) {
  const auto presence = labeler.object->presence();
  if (presence && presence->rows() != source.rows())
    throw input_error(labeler.name + " has " + std::to_string(presence->rows()) + " rows, " +
                      source.model.name + " has " + std::to_string(source.rows()));
}

RecordedLayers record_activations(Workplace& place, const Source& source, StageClock& clock,
                                  bool logits) {
  RecordedLayers recorded;
  clock.time("activations", [&] {
    if (source.recorded.defined()) {
      const auto values = source.recorded.to(torch::kFloat32);
      check_finite(values.flatten(1), source.model.name, place.cluster(), place.settings().threads);
      recorded.layers = {
          source.basis ? source.basis->pooled(values, source.layers.front(), source.pool) : values};
    } else {
      ActivationRequest request;
      request.layers = source.layers;
      request.pool = source.pool;
      request.logits = logits;
      auto extracted =
          extract_activations(*source.model.object, source.data, request, place.context());
      recorded.layers = std::move(extracted.layers);
      recorded.logits = std::move(extracted.logits);
    }
  });
  return recorded;
}

void append_layer(ExplanationFile& file, const std::string& layer,
                  const std::vector<Explanation>& explanations,
                  const std::vector<ScoreColumn>& scores) {
  for (const auto& score : scores)
    if (!score.sanity.empty()) file.sanity[layer][score.name] = score.sanity;
  file.explanations.insert(file.explanations.end(), explanations.begin(), explanations.end());
  file.layers.insert(file.layers.end(), explanations.size(), layer);
  if (file.scores.empty()) {
    file.scores = scores;
    return;
  }
  for (std::size_t s = 0; s < scores.size(); ++s) {
    const auto extend = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    extend(file.scores[s].value, scores[s].value);
    extend(file.scores[s].status, scores[s].status);
    extend(file.scores[s].low, scores[s].low);
    extend(file.scores[s].high, scores[s].high);
  }
}

ReportMethod select_rows(const ExplanationFile& file, const std::string& layer, bool only) {
  const bool one_layer = std::all_of(file.layers.begin(), file.layers.end(),
                                     [&](const auto& name) { return name == file.layers.front(); });
  ReportMethod method;
  for (const auto& score : file.scores)
    method.scores.push_back({score.name, score.higher_is_better, {}, {}, {}, {}});
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    if (!file.layers[i].empty() && normalise_layer(file.layers[i]) != layer && !(only && one_layer))
      continue;
    method.explanations.push_back(file.explanations[i]);
    for (std::size_t s = 0; s < file.scores.size(); ++s) {
      const auto copy = [i](std::vector<double>& to, const std::vector<double>& from) {
        if (i < from.size()) to.push_back(from[i]);
      };
      copy(method.scores[s].value, file.scores[s].value);
      copy(method.scores[s].low, file.scores[s].low);
      copy(method.scores[s].high, file.scores[s].high);
    }
  }
  return method;
}

std::vector<Explanation> select_layer(const ExplanationFile& file, const std::string& layer,
                                      bool only) {
  return select_rows(file, layer, only).explanations;
}

std::string method_name(const Workplace& place) {
  if (!place.has_plugin("solver") || !place.has_plugin("labeler")) return "explanations";
  return place.options("solver").text("plugin") + " over " +
         place.options("labeler").text("plugin");
}

namespace {

/// "resnet cifar_resnet20, resnet20.th": the plugin with what it was told of architecture and
/// files.
std::string describe_model(const std::map<std::string, std::string>& options) {
  const auto value = [&](const char* key) {
    const auto found = options.find(key);
    return found == options.end() ? std::string() : found->second;
  };
  std::string text = value("plugin");
  if (const auto arch = value("arch"); !arch.empty() && arch != "auto") text += " " + arch;
  for (const char* key : {"weights", "file", "module", "activations"})
    if (const auto file = value(key); !file.empty())
      text += ", " + std::filesystem::path(file).filename().string();
  return text;
}

/// "cifar10/test (2000 images)".
std::string describe_data(const std::filesystem::path& root, std::int64_t rows) {
  const std::string images = std::to_string(rows) + " images";
  if (root.empty()) return images;
  const auto path = std::filesystem::absolute(root).lexically_normal();
  const auto named = path.has_filename() ? path : path.parent_path();
  return named.parent_path().filename().string() + "/" + named.filename().string() + " (" + images +
         ")";
}

std::string describe_split(const Split& split) {
  return "split " + std::to_string(split.train.size()) + " train, " +
         std::to_string(split.val.size()) + " validation, " + std::to_string(split.test.size()) +
         " test";
}

/// The day on which the run's explanations were written, or today (UTC).
std::string day_of(const std::filesystem::path& folder) {
  std::error_code failure;
  const auto written = std::filesystem::last_write_time(folder / "explanations.csv", failure);
  // C++17 has no conversion between the clocks: what both say now aligns them.
  auto age = std::filesystem::file_time_type::clock::now() - written;
  if (failure) age = {};
  const std::time_t time = std::chrono::system_clock::to_time_t(
      std::chrono::system_clock::now() -
      std::chrono::duration_cast<std::chrono::system_clock::duration>(age));
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

}  // namespace

namespace {

/// stability.csv of a run by layer, unit and term; empty where there is none.
std::map<std::string, std::map<std::pair<std::int64_t, std::string>, double>> read_frequencies(
    const std::filesystem::path& path) {
  std::map<std::string, std::map<std::pair<std::int64_t, std::string>, double>> found;
  if (!std::filesystem::exists(path)) return found;
  const CsvTable table = read_csv(path);
  const int layer = table.column("layer"), unit = table.column("unit"), term = table.column("term"),
            frequency = table.column("frequency");
  if (layer < 0 || unit < 0 || term < 0 || frequency < 0) return found;
  for (const auto& row : table.rows) {
    const auto cell = [&](int column) { return row[static_cast<std::size_t>(column)]; };
    found[cell(layer)][{std::strtoll(cell(unit).c_str(), nullptr, 10), cell(term)}] =
        std::strtod(cell(frequency).c_str(), nullptr);
  }
  return found;
}

}  // namespace

void make_report(Workplace& place, const ReportParts& parts) {
  const std::string wanted = place.options("run").text("report");
  if (wanted == "none" || !place.leads()) return;
  const RunCluster::Apart apart(place.cluster());
  RunSummary summary;
  place.describe(summary);
  Report report;
  report.methods = parts.methods;
  report.split = parts.split;
  report.data = parts.source.data;
  report.model = parts.source.recorded.defined() ? nullptr : parts.source.model.object.get();
  report.warnings = summary.warnings;
  report.options = summary.options;
  std::size_t units = 0;
  auto frequencies =
      parts.methods.size() == 1
          ? read_frequencies(place.out() / "stability.csv")
          : std::map<std::string, std::map<std::pair<std::int64_t, std::string>, double>>();
  for (std::size_t l = 0; l < parts.source.layers.size(); ++l) {
    ReportLayer layer{parts.source.layers[l], parts.source.pool, {}, {}};
    if (l < parts.recorded.layers.size()) layer.activations = parts.recorded.layers[l];
    for (std::size_t m = 0; m < parts.methods.size(); ++m)
      layer.methods.push_back(
          select_rows(*parts.files[m], layer.name, parts.source.layers.size() == 1));
    for (std::size_t m = 0; m < parts.methods.size(); ++m)
      layer.methods[m].simulator = parts.simulators[m];
    layer.methods.front().frequency = std::move(frequencies[layer.name]);
    units += layer.methods.front().explanations.size();
    report.layers.push_back(std::move(layer));
  }
  report.title = std::to_string(units) + " units of " + join(parts.source.layers, ", ");
  report.facts = {describe_model(report.options["model"]),
                  describe_data(place.options("data").path("root"), parts.source.rows()),
                  describe_split(parts.split), join(parts.methods, ", "), day_of(place.out())};
  report.facts.insert(report.facts.end(), parts.trust.begin(), parts.trust.end());
  for (const auto* file : parts.files)
    for (const auto& [layer, scores] : file->sanity) report.sanity[layer] = scores;
  ReportOptions options;
  if (wanted == "plain") options.images = 0;
  write_report(place.out() / "report", report, options, place.context());
}

void finish_run(Workplace& place, RunSummary& summary, StageClock& clock,
                const ReportParts* parts) {
  place.describe(summary);
  if (parts)
    for (const auto* file : parts->files)
      summary.sanity.insert(file->sanity.begin(), file->sanity.end());
  if (parts) clock.time("report", [&] { make_report(place, *parts); });
  if (place.leads()) write_summary(place.out() / "summary.json", summary, clock);
}

std::vector<std::size_t> best_explained(const RunSummary& summary, std::size_t count) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < summary.test_correlation.size(); ++i)
    if (std::isfinite(summary.test_correlation[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return summary.test_correlation[a] > summary.test_correlation[b];
  });
  if (order.size() > count) order.resize(count);
  return order;
}

}  // namespace linex
