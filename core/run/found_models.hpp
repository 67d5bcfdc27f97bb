// model.plugin=auto: the plugin is found from the checkpoint.
#pragma once

#include "core/run/sections.hpp"

namespace linex {

/// `sections` in which [model] and benchmarks' [network NAME] name a plugin instead of `auto`: the
/// one that reads their weights (toolkit/net/families.hpp). Where no weights are named, throws
/// Error(usage), or leaves the plugin out if `complete` is false. Throws Error(input) for weights
/// of no known family.
Sections with_found_models(Sections sections, bool complete);

}  // namespace linex
