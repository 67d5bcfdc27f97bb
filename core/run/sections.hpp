// The host's own keys of every section; a plugin's options follow its section's `plugin`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "linex/plugin_abi.h"

namespace linex {

/// Raw option texts by section and key, e.g. sections["solver"]["lambda"] = "0.1".
using Sections = std::map<std::string, std::map<std::string, std::string>>;

struct Section {
  std::string name;         ///< "model"
  std::string plugin_kind;  ///< "model", "labeler", ...; "" for sections without plugins
  std::vector<linex_option_spec> keys;
};

/// run, data, model, labeler, solver, evaluator, simulator; in this order everywhere.
const std::vector<Section>& sections();
const Section& section(const std::string& name);

}  // namespace linex
