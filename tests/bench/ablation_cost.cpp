// What does ablation scoring of every unit of a layer cost, in passes of the rest of the network
// over all images, and how far is the tabulated fit of `optim` from a fine one?
//
//   ablation_cost IMAGES WEIGHTS LAYER [NODES]...
//
// IMAGES is an image folder whose classes are the network's, WEIGHTS a checkpoint of the resnet
// plugin. Each unit's explanation is the mean of its activation by class.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "tests/test_plugins.hpp"
#include "tests/toy_model.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/split.hpp"
#include "toolkit/intervention/variant_runner.hpp"

namespace {

using namespace linex;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds for the whole network and for what follows `layer`, over all images; `stacked`: with as
/// many images at once as the evaluator takes, so that only the work is compared.
struct PassCost {
  double whole = 0, rest = 0, stacked = 0;
};
PassCost pass_cost(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                   const std::string& layer, int threads) {
  PassCost cost;
  Rows rows(static_cast<std::size_t>(data->size()));
  std::iota(rows.begin(), rows.end(), 0);
  BatchLoader loader(data, rows, model.preprocess(), {model.preferred_batch(), threads, 0});
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    const auto start = Clock::now();
    const auto tail = model.split(batch.images, layer);
    const auto output = tail->activation();
    const auto middle = Clock::now();
    tail->logits(output);
    cost.rest += seconds_since(middle);
    cost.whole += seconds_since(start);
    const std::int64_t copies = std::max<std::int64_t>(1, 256 / output.size(0));
    std::vector<std::int64_t> times(static_cast<std::size_t>(output.dim()), 1);
    times[0] = copies;
    const auto many = output.repeat(times);
    const auto again = Clock::now();
    tail->logits(many);
    cost.stacked += seconds_since(again) / static_cast<double>(copies);
  }
  return cost;
}

Explanation class_means(std::int64_t unit, const torch::Tensor& activation, const DataSet& data) {
  Explanation explanation;
  explanation.unit = unit;
  explanation.bias = activation.mean().item<double>();
  const auto labels = torch::tensor(data.labels());
  for (std::size_t c = 0; c < data.class_names().size(); ++c) {
    const auto rows = labels.eq(static_cast<std::int64_t>(c));
    const double weight = activation.masked_select(rows).mean().item<double>() - explanation.bias;
    explanation.terms.push_back({data.class_names()[c], weight});
  }
  return explanation;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s IMAGES WEIGHTS LAYER [NODES]...\n", argv[0]);
    return 2;
  }
  test::Plugins plugins(2);
  DataOptions where;
  where.root = argv[1];
  where.threads = 2;
  EvaluationInput input;
  input.data = open_data_set(where);
  const auto model =
      plugins.make<TargetModel>("resnet", test::given({{"weights", std::string(argv[2])}}));
  const auto labeler = plugins.make<ConceptLabeler>("label");
  labeler->attach(input.data);
  input.model = model.get();
  input.simulator = labeler.get();
  input.layer = argv[3];
  input.pool = linex::Pool::avg;
  input.split = make_split("0.7,0.1,0.2", input.data->size(), 0);
  input.activations = test::activations_of(*model, input.data, input.layer);
  for (std::int64_t unit = 0; unit < input.activations.size(1); ++unit)
    input.explanations.push_back(class_means(unit, input.activations.select(1, unit), *input.data));

  const PassCost cost = pass_cost(*model, input.data, input.layer, 2);
  const auto units = static_cast<double>(input.explanations.size());
  std::printf(
      "%lld images, %.0f units; a pass: %.3f s, of what follows %s: %.3f s (256 at once: "
      "%.3f s)\n",
      static_cast<long long>(input.data->size()), units, cost.whole, argv[3], cost.rest,
      cost.stacked);
  const auto score = [&](const OptionValues& options, const char* name) {
    const auto start = Clock::now();
    auto columns = plugins.make<Evaluator>("simulation_ablation", options)->evaluate(input);
    const double time = seconds_since(start);
    std::printf(
        "%-12s %7.2f s = %.2f passes of the rest a unit (%.2f of 256 at once) = %.2f whole "
        "passes in all\n",
        name, time, time / cost.rest / units, time / cost.stacked / units, time / cost.whole);
    return columns.front().value;
  };
  score({}, "as it is");
  std::vector<double> finest;
  for (int a = 4; a < argc; ++a) {
    const auto values = score(test::given({{"nodes", std::int64_t{std::atoi(argv[a])}},
                                           {"head", std::string("general")}}),
                              argv[a]);
    if (finest.empty()) finest = values;
    double worst = 0, sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double gap = std::abs(values[i] - finest[i]);
      worst = std::max(worst, gap);
      sum += gap;
    }
    std::printf("             optim differs from the first by %.5f on average, %.5f at most\n",
                sum / units, worst);
  }
  return 0;
}
