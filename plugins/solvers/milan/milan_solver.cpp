// MILAN: a sentence for each unit from the images it responds to most (docs/methods.md §2.3).
#include <algorithm>
#include <memory>

#include "featurizer.hpp"
#include "linex/plugin.hpp"
#include "milan.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/resnet_network.hpp"

namespace {

using linex::option::choice;
using linex::option::integer;
using linex::option::path;
using linex::option::real;
using linex::option::required;
using linex::option::text;

linex::CaptionStrategy strategy_from(const std::string& name) {
  if (name == "greedy") return linex::CaptionStrategy::greedy;
  return name == "beam" ? linex::CaptionStrategy::beam : linex::CaptionStrategy::rerank;
}

class MilanSolver final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      required(path("checkpoint", "",
                    "trained MILAN: a published milan-*.pth or one of linex "
                    "milan-train")),
      choice("strategy", "rerank", "rerank|beam|greedy",
             "rerank: beam search, then mutual information with the language model"),
      integer("beam", 0, 0, 10000, "candidates of the beam search; 0 = the checkpoint's (50)"),
      integer("length", 0, 0, 1000, "most words of a caption; 0 = the checkpoint's (15)"),
      real("temperature", -1, -1, 100,
           "weight of the language model in re-ranking; -1 = the checkpoint's (0.2)"),
      integer("exemplars", 15, 1, 1000, "images a unit is described by"),
      real("quantile", 0.99, 0, 1, "a unit's mask is where it exceeds this quantile of itself"),
      path("featurizer", "",
           "weights of the torchvision ResNet that sees the exemplars (published: resnet101, "
           "ImageNet); default: the run's own network"),
      text("feature_layers", "",
           "layers of the featurizer; default: the checkpoint's, or conv1,layer1,...,layer4"),
  };

  explicit MilanSolver(const linex::PluginContext& context)
      : context_(context), milan_(linex::load_milan(context.options().path("checkpoint"))) {
    const auto& options = context.options();
    captions_.strategy = strategy_from(options.text("strategy"));
    captions_.beam = options.integer("beam");
    captions_.length = options.integer("length");
    captions_.temperature = options.real("temperature");
    exemplars_.count = options.integer("exemplars");
    exemplars_.quantile = options.real("quantile");
    const auto& weights = options.path("featurizer");
    if (weights.empty()) {
      if (!milan_.encoder.empty())
        context.log().warning("solver milan: " + options.path("checkpoint").string() +
                              " was trained on features of " + milan_.encoder +
                              "; give its weights with solver.featurizer");
      return;
    }
    auto state = linex::load_weights(weights);
    featurizer_ = std::make_unique<linex::ImageModel>(
        linex::build_resnet(linex::resnet_spec("auto", state), state), context.run());
  }

  linex::SolverNeeds needs() const override { return {false, false, true}; }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    if (!problem.model || !problem.data)
      throw linex::input_error(
          "solver milan needs a network and its images, not recorded matrices");
    linex::SolveReport report;
    if (problem.finished >= problem.units.size()) return report;
    linex::TargetModel& network = featurizer_ ? *featurizer_ : *problem.model;
    const linex::PyramidFeaturizer featurizer(network, feature_layers(network, *problem.data));
    const linex::Captioner captioner(milan_, captions_, context_.options().path("checkpoint"));

    linex::UnitMaps maps(*problem.model, problem.data, problem.layer, problem.units, context_);
    const auto exemplars = linex::find_exemplars(maps, exemplars_);
    const linex::Preprocess view = problem.model->preprocess();
    const auto first = problem.data->pixels(exemplars.rows[0][0].item<std::int64_t>());
    const linex::ImageSize input = linex::output_size(view, {first.size(0), first.size(1)});

    const auto count = static_cast<std::int64_t>(problem.units.size());
    const std::int64_t block = block_size(captioner.feature_size(), exemplars.rows.size(1));
    const auto progress = context_.progress("captions", count, "units");
    for (std::int64_t begin = 0; begin < count; begin += block) {
      const std::int64_t end = std::min(count, begin + block);
      progress->advance(end - begin);
      if (end <= static_cast<std::int64_t>(problem.finished)) continue;
      const auto features =
          linex::featurize(featurizer, network.preprocess(), *problem.data, view,
                           linex::masked_exemplars(exemplars, begin, end, input), context_);
      const auto captions = captioner.describe(features, context_.run().threads);
      std::vector<linex::Explanation> finished;
      for (std::int64_t k = std::max(begin, static_cast<std::int64_t>(problem.finished)); k < end;
           ++k)
        finished.push_back(explain(problem.units[static_cast<std::size_t>(k)], exemplars, k,
                                   captions[static_cast<std::size_t>(k - begin)]));
      emit(finished);
    }
    report.figures["vocabulary"] = static_cast<double>(milan_.vocabulary.size());
    return report;
  }

 private:
  /// Units whose features and masks take an eighth of the memory; fixed, so that resuming does not
  /// change what is computed together.
  std::int64_t block_size(std::int64_t features, std::int64_t exemplars) const {
    return std::clamp<std::int64_t>(
        context_.run().memory_bytes / 8 / (4 * exemplars * (features + 224 * 224)), 1, 256);
  }

  std::vector<std::string> feature_layers(linex::TargetModel& network,
                                          const linex::DataSet& data) const {
    std::vector<std::string> layers;
    for (const auto& part : linex::split(context_.options().text("feature_layers"), ','))
      if (!linex::trim(part).empty()) layers.push_back(linex::trim(part));
    if (layers.empty()) layers = milan_.feature_layers;
    return layers.empty() ? linex::default_feature_layers(network, data) : layers;
  }

  static linex::Explanation explain(std::int64_t unit, const linex::Exemplars& exemplars,
                                    std::int64_t k, const linex::Captioner::Caption& caption) {
    linex::Explanation explanation;
    explanation.unit = unit;
    // A unit that never rises above one value has no image that it responds to.
    if (exemplars.maps[k].max().item<float>() <= exemplars.maps[k].min().item<float>()) {
      explanation.status = linex::Status::dead;
      return explanation;
    }
    explanation.text = caption.text;
    explanation.objective = caption.score;
    if (caption.text.empty()) explanation.status = linex::Status::no_concept;
    return explanation;
  }

  const linex::PluginContext& context_;
  linex::Milan milan_;
  linex::CaptionOptions captions_;
  linex::ExemplarOptions exemplars_;
  std::unique_ptr<linex::ImageModel> featurizer_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(MilanSolver, "milan", "0.1.0",
                    "MILAN: a sentence from the images a unit responds to most")
