// Names of layers, as users write them.
#pragma once

#include <string>
#include <vector>

#include "linex/model.hpp"

namespace linex {

/// `classifier[4]` and `classifier.4` are the same layer; this is the latter form.
std::string normalise_layer(const std::string& name);

/// A table of the layers of `model`: name, shape for one image, units. Runs one blank image; a
/// layer that has no units says why. A recorded model says what it holds.
std::string describe_layers(TargetModel& model);

/// The layers of a comma list, normalised and known to `model`. A recorded model takes any one
/// name. Throws Error(usage) with near names for an unknown layer.
std::vector<std::string> parse_layers(const std::string& text, const TargetModel& model);

}  // namespace linex
