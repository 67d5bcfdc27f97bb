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

/// The text of an option such that it names the same files from every folder; other texts as they
/// are. `host_section` is the section of one of the host's own keys, "" for a plugin's.
std::string absolute_text(const linex_option_spec& spec, const std::string& host_section,
                          const std::string& text);

}  // namespace linex
