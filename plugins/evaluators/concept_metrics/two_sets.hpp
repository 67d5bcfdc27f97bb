// CoSy's scores (docs/methods.md §5.2): a unit on images of its concept against a control set.
#pragma once

#include <string>
#include <vector>

#include "linex/context.hpp"
#include "linex/evaluator.hpp"

namespace linex_metrics {

/// Columns "cosy auc", "cosy auc p" and "cosy mad". `folder` has one sub-folder of images for each
/// concept; an explanation is scored on the images of its first concept (or text) and has status
/// unknown_concept without them. The control set is the activations of the test rows. Throws
/// Error(usage) for recorded activations.
std::vector<linex::ScoreColumn> two_set_columns(const linex::EvaluationInput& input,
                                                const std::string& folder,
                                                const linex::PluginContext& context);

}  // namespace linex_metrics
