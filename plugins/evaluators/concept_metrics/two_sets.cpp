#include "two_sets.hpp"

#include <map>

#include "linex/error.hpp"
#include "metrics.hpp"
#include "toolkit/data/activation_store.hpp"
#include "toolkit/data/dataset.hpp"

namespace linex_metrics {

using linex::kNone;
using linex::Status;

std::vector<linex::ScoreColumn> two_set_columns(const linex::EvaluationInput& input,
                                                const std::string& folder,
                                                const linex::PluginContext& context) {
  if (!input.model)
    throw linex::usage_error(
        "evaluator.concept_images: recorded activations have no network to run on new images");
  linex::DataOptions where;
  where.root = folder;
  where.threads = context.run().threads;
  const auto images = linex::open_data_set(where);
  if (images->labels().empty())
    throw linex::input_error("evaluator.concept_images: " + folder +
                             " needs one sub-folder of images for each concept");
  linex::ActivationRequest request;
  request.layers = {input.layer};
  request.pool = input.pool;
  const auto shown =
      linex::extract_activations(*input.model, images, request, context).layers.front().t();
  const auto control =
      input.activations.index_select(0, torch::tensor(input.split.test, torch::kInt64))
          .t()
          .contiguous();
  std::map<std::string, std::vector<std::int64_t>> rows;
  for (std::int64_t i = 0; i < images->size(); ++i)
    rows[images->class_names()[images->labels()[i]]].push_back(i);

  std::vector<linex::ScoreColumn> columns{{"cosy auc", true, {}, {}, {}, {}},
                                          {"cosy auc p", false, {}, {}, {}, {}},
                                          {"cosy mad", true, {}, {}, {}, {}}};
  for (const auto& explanation : input.explanations) {
    Status status = explanation.status == Status::not_converged ? Status::ok : explanation.status;
    const std::string& name =
        explanation.terms.empty() ? explanation.text : explanation.terms.front().concept_name;
    const auto found = rows.find(name);
    if (status == Status::ok && name.empty()) status = Status::empty;
    if (status == Status::ok && found == rows.end()) status = Status::unknown_concept;
    if (explanation.unit < 0 || explanation.unit >= control.size(0)) status = Status::unknown_unit;
    linex::TwoSetScores scores{kNone, kNone, kNone};
    if (status == Status::ok) {
      const auto of_concept = shown[explanation.unit]
                                  .index_select(0, torch::tensor(found->second, torch::kInt64))
                                  .contiguous();
      scores = linex::two_set_scores(of_concept.data_ptr<float>(), of_concept.numel(),
                                     control[explanation.unit].data_ptr<float>(), control.size(1));
    }
    const double values[] = {scores.auc, scores.p_value, scores.mad};
    for (std::size_t c = 0; c < columns.size(); ++c) {
      columns[c].value.push_back(values[c]);
      columns[c].status.push_back(status);
    }
  }
  return columns;
}

}  // namespace linex_metrics
