#include "vgg_network.hpp"

#include <cmath>

#include "linex/error.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/families.hpp"

namespace linex {
namespace {

using Node = Network::Node;

std::vector<VggSpec> known_specs() {
  const auto stages = [](std::vector<int> convolutions) {
    std::vector<std::vector<std::int64_t>> result;
    std::int64_t width = 64;
    for (const int count : convolutions) {
      result.emplace_back(count, width);
      width = std::min<std::int64_t>(2 * width, 512);
    }
    return result;
  };
  std::vector<VggSpec> specs;
  const std::pair<const char*, std::vector<int>> kDepths[] = {{"vgg11", {1, 1, 2, 2, 2}},
                                                              {"vgg13", {2, 2, 2, 2, 2}},
                                                              {"vgg16", {2, 2, 3, 3, 3}},
                                                              {"vgg19", {2, 2, 4, 4, 4}}};
  for (const auto& [name, counts] : kDepths)
    for (const bool batch_norm : {false, true}) {
      VggSpec spec;
      spec.arch = std::string(name) + (batch_norm ? "_bn" : "");
      spec.stages = stages(counts);
      spec.batch_norm = batch_norm;
      specs.push_back(spec);
    }
  return specs;
}

std::int64_t rows(const StateDict& weights, const std::string& name, std::int64_t otherwise) {
  const torch::Tensor weight = weights.get(name);
  return weight.defined() && weight.dim() == 2 ? weight.size(0) : otherwise;
}

/// Widths of the classifier, and the map it takes: they vary within one architecture.
void read_classifier(const StateDict& weights, VggSpec& spec) {
  spec.hidden = rows(weights, "classifier.0.weight", spec.hidden);
  spec.hidden2 = rows(weights, "classifier.3.weight", spec.hidden2);
  spec.classes = rows(weights, "classifier.6.weight", spec.classes);
  spec.linears = 0;
  for (const char* name : {"classifier.0.weight", "classifier.3.weight", "classifier.6.weight"}) {
    if (rows(weights, name, 0) == 0) break;
    ++spec.linears;
  }
  const torch::Tensor first = weights.get("classifier.0.weight");
  const std::int64_t channels = spec.stages.back().back();
  if (!first.defined() || first.dim() != 2 || channels < 1) return;
  const auto side = std::llround(std::sqrt(static_cast<double>(first.size(1)) / channels));
  spec.pool = side <= 1 ? 0 : side;
}

}  // namespace

VggSpec infer_vgg(const StateDict& given) {
  const StateDict weights = find_network(given, family_anchors("vgg"));
  const auto is_conv = [&](std::int64_t index) {
    const torch::Tensor weight = weights.get("features." + std::to_string(index) + ".weight");
    return weight.defined() && weight.dim() == 4;
  };
  if (!is_conv(0))
    throw input_error(weights.source +
                      ": not the weights of a VGG (no features.0.weight); it "
                      "begins with " +
                      first_name(weights) + "; choose another model.plugin, or model.state");
  VggSpec spec;
  spec.batch_norm = weights.has("features.1.running_mean");
  // Convolution [, normalisation], ReLU; where no convolution follows, a pooling comes first.
  const std::int64_t step = spec.batch_norm ? 3 : 2;
  spec.stages.emplace_back();
  for (std::int64_t index = 0; is_conv(index);) {
    const std::string name = "features." + std::to_string(index) + ".weight";
    spec.stages.back().push_back(weights.get(name).size(0));
    index += step;
    if (is_conv(index) || !is_conv(index + 1)) continue;
    spec.stages.emplace_back();
    ++index;
  }
  spec.arch = "vgg";
  for (const auto& stage : spec.stages)
    for (const std::int64_t channels : stage) spec.arch += "-" + std::to_string(channels);
  for (const VggSpec& known : known_specs())
    if (known.stages == spec.stages && known.batch_norm == spec.batch_norm) spec.arch = known.arch;
  read_classifier(weights, spec);
  return spec;
}

VggSpec vgg_spec(const std::string& arch, const StateDict& given) {
  if (arch == "auto") return infer_vgg(given);
  const StateDict weights = find_network(given, family_anchors("vgg"));
  for (VggSpec spec : known_specs()) {
    if (spec.arch != arch) continue;
    read_classifier(weights, spec);
    return spec;
  }
  throw usage_error("model.arch=" + arch + ": no VGG of that name");
}

BuiltNetwork build_vgg(const VggSpec& spec, StateDict weights) {
  NetworkBuilder net(find_network(std::move(weights), family_anchors("vgg")));
  int index = 0;
  const auto next = [&] { return "features." + std::to_string(index++); };
  Node x = net.input();
  std::int64_t channels = 3;
  for (const auto& stage : spec.stages) {
    for (const std::int64_t width : stage) {
      x = net.conv(next(), x, channels, width, 3, {1, 1, 1}, true);
      if (spec.batch_norm) x = net.batch_norm(next(), x, width);
      x = net.activation(next(), x, Activation::relu);
      channels = width;
    }
    x = net.add(next(), make_max_pool(2, 2, 0), {x});
  }
  net.alias("features", x);
  if (spec.pool > 0) x = net.add("avgpool", make_adaptive_avg_pool(spec.pool), {x});
  const std::int64_t side = std::max<std::int64_t>(spec.pool, 1);
  const auto hidden = [&](int first, std::int64_t in, std::int64_t out) {
    x = net.linear("classifier." + std::to_string(first), x, in, out);
    x = net.activation("classifier." + std::to_string(first + 1), x, Activation::relu);
    x = net.add("classifier." + std::to_string(first + 2), make_identity(), {x});
  };
  if (spec.linears > 0) {
    x = net.add("", make_flatten(), {x});
    hidden(0, channels * side * side, spec.hidden);
  }
  if (spec.linears > 1) hidden(3, spec.hidden, spec.hidden2);
  BuiltNetwork built;
  if (spec.linears > 2) {
    x = net.linear("classifier.6", x, spec.hidden2, spec.classes);
    net.alias("classifier", x);
  } else {
    const std::string missing = "classifier." + std::to_string(3 * spec.linears);
    const auto unused = net.skip_if([&](const std::string& name) {
      const bool used = name.compare(0, 9, "features.") == 0 ||
                        (spec.linears > 0 && name.compare(0, 13, "classifier.0.") == 0) ||
                        (spec.linears > 1 && name.compare(0, 13, "classifier.3.") == 0);
      return !used;
    });
    built.has_logits = false;
    built.warnings.push_back(no_logits_note(net.weights(), missing, unused));
  }

  built.network = net.finish(spec.arch, x);
  built.arch = spec.arch;
  built.fingerprint = net.fingerprint();
  built.notes = net.notes();
  built.classes = spec.classes;
  Preprocess& preprocess = built.preprocess;
  preprocess.resize = Preprocess::Resize::short_side;
  if (spec.pool > 0) {
    preprocess.size = 256;
    preprocess.crop = 224;
    preprocess.mean = kImageNetMean;
    preprocess.std = kImageNetStd;
  } else {
    preprocess.size = 32;
    preprocess.mean = spec.classes == 10 ? kCifar10Mean : kCifar100Mean;
    preprocess.std = spec.classes == 10 ? kCifar10Std : kCifar100Std;
    if (spec.classes != 10 && spec.classes != 100)
      built.guess = "VGGs of small images are trained in many ways";
  }
  return built;
}

}  // namespace linex
