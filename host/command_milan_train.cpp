// linex milan-train: a MILAN of one's own from a file of captions.
#include <charconv>

#include "core/run/run_stages.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "plugins/solvers/milan/featurizer.hpp"
#include "plugins/solvers/milan/milan.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

namespace {

constexpr std::int64_t kExemplars = 15;

std::int64_t whole_number(const std::string& text, const char* name, std::int64_t fallback) {
  if (text.empty()) return fallback;
  std::int64_t value = 0;
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || value < 1 || value > 100000)
    throw usage_error(std::string("--") + name + ": '" + text +
                      "' is not a number from 1 to 100000");
  return value;
}

/// Captions of one layer by unit. A file may say several things about a unit.
std::map<std::int64_t, std::vector<std::string>> captions_by_unit(
    const std::vector<Explanation>& rows) {
  std::map<std::int64_t, std::vector<std::string>> captions;
  for (const auto& row : rows)
    for (const auto& term : row.terms) captions[row.unit].push_back(term.concept_name);
  return captions;
}

}  // namespace

int run_milan_train(PluginRegistry& registry, const Sections& raw,
                    const MilanTrainRequest& request) {
  if (request.captions.empty())
    throw usage_error("linex milan-train needs --captions FILE.csv (layer,unit,description)");
  MilanTrainOptions options;
  options.epochs = whole_number(request.epochs, "epochs", options.epochs);
  options.hidden = whole_number(request.hidden, "hidden", options.hidden);
  const ExplanationFile file = read_explanations(request.captions);
  StageClock clock;
  Workplace place(registry, raw);
  const auto data = place.open_data();
  const Source source = open_source(place, data);
  if (!data) throw usage_error("linex milan-train needs images; set data.root");
  place.prepare_out();
  const PluginContext& context = place.context();
  options.seed = context.run().seed;

  TargetModel& network = *source.model.object;
  const PyramidFeaturizer featurizer(network, default_feature_layers(network, *data));
  const Preprocess view = network.preprocess();
  CaptionedUnits training;
  std::vector<torch::Tensor> features;
  for (const auto& layer : source.layers) {
    const auto captions = captions_by_unit(select_layer(file, layer, source.layers.size() == 1));
    if (captions.empty()) continue;
    std::vector<std::int64_t> units;
    for (const auto& [unit, texts] : captions) {
      units.push_back(unit);
      training.captions.push_back(texts);
    }
    UnitMaps maps(network, data, layer, units, context);
    const Exemplars exemplars = find_exemplars(maps, {kExemplars, 0.99, QuantileMethod::automatic});
    const auto first = data->pixels(exemplars.rows[0][0].item<std::int64_t>());
    const ImageSize input = output_size(view, {first.size(0), first.size(1)});
    features.push_back(featurize(
        featurizer, view, *data, view,
        masked_exemplars(exemplars, 0, static_cast<std::int64_t>(units.size()), input), context));
  }
  if (features.empty())
    throw input_error(request.captions + " has no caption for the layers " +
                      join(source.layers, ", ") + " of this network");
  training.features = torch::cat(features);
  Milan milan = clock.time("train", [&] { return train_milan(training, options, context); });
  milan.feature_layers = featurizer.layers();
  save_milan(place.out() / "milan.pth", milan);
  RunSummary summary;
  summary.figures["milan_units"] = static_cast<double>(training.captions.size());
  summary.figures["milan_vocabulary"] = static_cast<double>(milan.vocabulary.size());
  finish_run(place, summary, clock);
  std::printf("%s: %zu units, %lld words; use it with solver.plugin=milan solver.checkpoint=%s\n",
              (place.out() / "milan.pth").c_str(), training.captions.size(),
              static_cast<long long>(milan.vocabulary.size()), (place.out() / "milan.pth").c_str());
  return 0;
}

}  // namespace linex
