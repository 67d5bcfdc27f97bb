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

namespace {

torch::Tensor blank_image(const Preprocess& preprocess) {
  constexpr std::int64_t kUsualSide = 224;
  std::int64_t side = preprocess.crop ? preprocess.crop : preprocess.size;
  if (side == 0) side = kUsualSide;
  return torch::zeros({1, 3, side, side});
}

/// "(n, 64, 56, 56) C,H,W  64 units".
std::string describe_output(const torch::Tensor& output) {
  std::string shape = "(n";
  for (const std::int64_t size : output.sizes().slice(1)) shape += ", " + std::to_string(size);
  const char* layout = output.dim() == 4 ? "n,C,H,W" : output.dim() == 3 ? "n,T,D" : "n,D";
  const std::int64_t units = output.size(output.dim() == 4 ? 1 : -1);
  return shape + ")  " + layout + "  " + std::to_string(units) + " units";
}

}  // namespace

std::string describe_layers(TargetModel& model) {
  if (const auto recorded = model.recorded(); recorded.defined())
    return "recorded activations: " + std::to_string(recorded.size(0)) + " rows, " +
           std::to_string(recorded.size(1)) + " units; any name will do for the layer\n";
  const auto names = model.layers();
  std::size_t width = 0;
  for (const auto& name : names) width = std::max(width, name.size());
  const torch::NoGradGuard no_gradients;
  const torch::Tensor image = blank_image(model.preprocess());
  std::vector<torch::Tensor> outputs;
  try {
    outputs = model.forward(image, names, false).layers;
  } catch (const Error&) {
    outputs.clear();  // one by one tells which
  }
  std::string table;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string text;
    try {
      text = describe_output(
          i < outputs.size() ? outputs[i] : model.forward(image, {names[i]}, false).layers[0]);
    } catch (const Error& error) {
      const std::string message = error.what();
      const std::size_t gives = message.find(" gives ");
      text = gives == std::string::npos ? message : "no units:" + message.substr(gives);
    }
    table += names[i] + std::string(width + 2 - names[i].size(), ' ') + text + "\n";
  }
  return table.empty() ? "this network has no layers\n" : table;
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
      if (known.empty()) throw input_error("model.layer: this network has no layers");
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
