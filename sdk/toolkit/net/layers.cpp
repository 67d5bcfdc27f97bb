#include "toolkit/net/layers.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

std::string normalise_layer(const std::string& name) {
  std::string normal;
  for (const char c : name) {
    if (c == '[')
      normal += '.';
    else if (c != ']')
      normal += c;
  }
  return normal;
}

std::vector<std::string> parse_layers(const std::string& text, const TargetModel& model) {
  std::vector<std::string> layers;
  if (model.recorded().defined()) return {text.empty() ? "recorded" : text};
  const auto known = model.layers();
  for (const auto& part : split(text, ',')) {
    const std::string layer = normalise_layer(trim(part));
    if (layer.empty())
      throw usage_error("model.layer: name a layer; --model.layer=? lists those of this network");
    if (std::find(known.begin(), known.end(), layer) == known.end()) {
      if (layer == "?")
        throw usage_error("model.layer: this network has the layers " + join(known, " "));
      throw usage_error("model.layer: the network has no layer '" + layer + "'" +
                        did_you_mean(layer, known) + " (it has " + std::to_string(known.size()) +
                        ", from '" + known.front() + "' to '" + known.back() +
                        "'; --model.layer=? lists them)");
    }
    if (std::find(layers.begin(), layers.end(), layer) == layers.end()) layers.push_back(layer);
  }
  return layers;
}

}  // namespace linex
