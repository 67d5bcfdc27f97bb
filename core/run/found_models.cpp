#include "core/run/found_models.hpp"

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using Keys = std::map<std::string, std::string>;

const std::string kNetwork = "network ";

std::string text_of(const Keys& keys, const std::string& key) {
  const auto found = keys.find(key);
  return found == keys.end() ? "" : trim(found->second);
}

/// Replaces `auto` in `keys`, which lie over `shared`.
void find_in(Keys& keys, const Keys& shared, const std::string& section_name, bool complete) {
  const auto chosen = [&](const char* key) {
    const std::string own = text_of(keys, key);
    return own.empty() ? text_of(shared, key) : own;
  };
  if (chosen("plugin") != "auto") return;
  const std::string weights = chosen("weights");
  if (!weights.empty()) {
    keys["plugin"] = find_model_plugin(weights, chosen("state"));
    return;
  }
  if (complete)
    throw usage_error(section_name +
                      ".plugin=auto: name the checkpoint that it is found from, e.g. "
                      "--model.weights=FILE");
  keys.erase("plugin");
}

}  // namespace

Sections with_found_models(Sections sections, bool complete) {
  const auto model = sections.find("model");
  const Keys shared = model == sections.end() ? Keys() : model->second;
  bool networks = false;
  for (auto& [name, keys] : sections) {
    if (name.compare(0, kNetwork.size(), kNetwork) != 0) continue;
    networks = true;
    find_in(keys, shared, name, complete);
  }
  if (model == sections.end() || text_of(shared, "plugin") != "auto") return sections;
  // What networks share is theirs by now.
  if (networks)
    model->second.erase("plugin");
  else
    find_in(model->second, {}, "model", complete);
  return sections;
}

}  // namespace linex
