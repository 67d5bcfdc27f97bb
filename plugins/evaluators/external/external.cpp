// A score in any language as an evaluator: docs/external.md.
#include <algorithm>
#include <set>
#include <stdexcept>

#include "linex/plugin.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/session.hpp"

namespace {

using Json = nlohmann::json;

class External final : public linex::Evaluator {
 public:
  static constexpr auto kOptions = linex::kExternalOptions;

  explicit External(const linex::PluginContext& context)
      : context_(context), session_(context, "evaluator", 1) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    session_.call("evaluate", describe(input));
    std::vector<linex::ScoreColumn> columns;
    std::set<std::string> names;
    for (;;) {
      const Json message = session_.receive({"score"});
      if (message["type"] == "done") break;
      try {
        columns.push_back(linex::read_score(message, input.explanations.size()));
      } catch (const std::invalid_argument& error) {
        session_.fail(error.what());
      }
      if (!names.insert(columns.back().name).second)
        session_.fail("sent the score '" + columns.back().name + "' twice");
    }
    if (columns.empty()) session_.fail("said done without a score");
    session_.finish();
    return columns;
  }

 private:
  Json describe(const linex::EvaluationInput& input) {
    const linex::Exchange& exchange = session_.exchange();
    Json explanations = Json::array();
    for (const auto& explanation : input.explanations)
      explanations.push_back(linex::to_json(explanation));
    Json content{{"layer", input.layer},
                 {"pool", linex::to_string(input.pool)},
                 {"explanations", exchange.give("explanations", explanations)},
                 {"activations", exchange.give("activations", input.activations)}};
    for (const auto& [name, rows] : {std::pair{"train", &input.split.train},
                                     {"val", &input.split.val},
                                     {"test", &input.split.test}})
      content["split"][name] = exchange.give(name, torch::tensor(*rows, torch::kInt64));
    if (input.data) {
      Json names = Json::array();
      for (std::int64_t row = 0; row < input.data->size(); ++row)
        names.push_back(input.data->name(row));
      content["images"] = exchange.give("images", names);
    }
    add_simulation(input, content);
    return content;
  }

  /// What each explanation predicts on the test rows, and why it predicts nothing.
  void add_simulation(const linex::EvaluationInput& input, Json& content) {
    const linex::Exchange& exchange = session_.exchange();
    const linex::Simulation simulation(input.explanations, *input.simulator);
    Json status = Json::array();
    for (std::size_t i = 0; i < input.explanations.size(); ++i) {
      const bool exists = input.explanations[i].unit < input.activations.size(1);
      status.push_back(
          linex::to_string(exists ? simulation.status()[i] : linex::Status::unknown_unit));
    }
    content["predicted_status"] = exchange.give("predicted_status", status);
    const auto& rows = input.split.test;
    const auto count = static_cast<std::int64_t>(input.explanations.size());
    const auto total = static_cast<std::int64_t>(rows.size());
    const auto file = exchange.folder() / "predicted.npy";
    linex::NpyWriter writer(file, {total, count}, false);
    const std::int64_t at_once = std::max<std::int64_t>(
        1, context_.run().memory_bytes / 16 / std::max<std::int64_t>(count, 1));
    for (std::int64_t begin = 0; begin < total; begin += at_once) {
      linex::check_cancelled(context_);
      const linex::Rows block(rows.begin() + begin,
                              rows.begin() + std::min(total, begin + at_once));
      writer.append(simulation.predict(block, context_.run().threads, context_.run().memory_bytes));
    }
    writer.finish();
    content["predicted"] = {
        {"file", file.string()}, {"dtype", "float32"}, {"shape", {total, count}}};
  }

  const linex::PluginContext& context_;
  linex::Session session_;
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(External, "external", "0.1.0", "A score in any language: runs a command")
