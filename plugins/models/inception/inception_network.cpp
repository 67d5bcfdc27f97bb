#include "inception_network.hpp"

#include <vector>

#include "toolkit/net/conv_blocks.hpp"
#include "toolkit/net/families.hpp"
#include "toolkit/net/token_ops.hpp"

namespace linex {
namespace {

using Node = Network::Node;

/// Convolutions one after another; the last ones, where there are two, take the same map side by
/// side.
struct Branch {
  std::vector<const char*> chain, ends;
};

struct Kind {
  std::vector<Branch> branches;
  bool halves;  ///< each branch ends in a stride of 2; one more is a pooling alone
};

const Kind kA{{{{"branch1x1"}, {}},
               {{"branch5x5_1", "branch5x5_2"}, {}},
               {{"branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"}, {}}},
              false};
const Kind kB{{{{"branch3x3"}, {}}, {{"branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"}, {}}},
              true};
const Kind kC{
    {{{"branch1x1"}, {}},
     {{"branch7x7_1", "branch7x7_2", "branch7x7_3"}, {}},
     {{"branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"},
      {}}},
    false};
const Kind kD{{{{"branch3x3_1", "branch3x3_2"}, {}},
               {{"branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"}, {}}},
              true};
const Kind kE{{{{"branch1x1"}, {}},
               {{"branch3x3_1"}, {"branch3x3_2a", "branch3x3_2b"}},
               {{"branch3x3dbl_1", "branch3x3dbl_2"}, {"branch3x3dbl_3a", "branch3x3dbl_3b"}}},
              false};

struct Block {
  const char* name;
  const Kind* kind;
};
constexpr Block kBlocks[] = {{"Mixed_5b", &kA}, {"Mixed_5c", &kA}, {"Mixed_5d", &kA},
                             {"Mixed_6a", &kB}, {"Mixed_6b", &kC}, {"Mixed_6c", &kC},
                             {"Mixed_6d", &kC}, {"Mixed_6e", &kC}, {"Mixed_7a", &kD},
                             {"Mixed_7b", &kE}, {"Mixed_7c", &kE}};

struct Map {
  Node node;
  std::int64_t channels;
};

class InceptionBuilder {
 public:
  InceptionBuilder(bool timm, StateDict weights)
      : timm_(timm), net_(std::move(weights)), classes_(head_classes(net_.weights(), "fc")) {}

  BuiltNetwork build() {
    Map x = stem();
    for (const Block& each : kBlocks) x = block(each.name, *each.kind, x);
    net_.skip_if([](const std::string& name) { return name.compare(0, 10, "AuxLogits.") == 0; });
    BuiltNetwork built =
        finish_network(net_, "inception_v3", head(x), "fc", classes_, {"Conv2d_", "Mixed_"});
    preprocess(built);
    return built;
  }

 private:
  Map conv(const std::string& name, const Map& x, std::int64_t stride = 1, bool padded = true) {
    ConvNorm spec = read_conv(net_.weights(), name + ".conv", x.channels);
    spec.options.stride = stride;
    spec.padded = padded;
    spec.eps = 1e-3;
    spec.activation = Activation::relu;
    return {conv_bn(net_, name, x.node, spec, timm_), spec.out};
  }
  Map max_pool(const std::string& name, const Map& x) {
    return {net_.add(name, make_max_pool(3, 2, 0), {x.node}), x.channels};
  }
  Map join(const std::string& name, const std::vector<Map>& parts) {
    std::vector<Node> nodes;
    std::int64_t channels = 0;
    for (const Map& part : parts) {
      nodes.push_back(part.node);
      channels += part.channels;
    }
    return {net_.add(name, make_concat(), std::move(nodes)), channels};
  }

  Map stem() {
    Map x = conv("Conv2d_1a_3x3", {net_.input(), 3}, 2, false);
    x = conv("Conv2d_2a_3x3", x, 1, false);
    x = conv("Conv2d_2b_3x3", x);
    x = max_pool(timm_ ? "Pool1" : "maxpool1", x);
    x = conv("Conv2d_3b_1x1", x);
    x = conv("Conv2d_4a_3x3", x, 1, false);
    return max_pool(timm_ ? "Pool2" : "maxpool2", x);
  }

  Map block(const std::string& name, const Kind& kind, const Map& x) {
    std::vector<Map> parts;
    for (const Branch& branch : kind.branches) {
      Map y = x;
      for (const char* module : branch.chain) {
        const bool last = kind.halves && module == branch.chain.back();
        y = conv(name + "." + module, y, last ? 2 : 1, !last);
      }
      if (!branch.ends.empty()) {
        std::vector<Map> ends;
        for (const char* module : branch.ends) ends.push_back(conv(name + "." + module, y));
        y = join("", ends);
      }
      parts.push_back(y);
    }
    if (kind.halves) {
      parts.push_back(max_pool("", x));
    } else {
      const Map pooled{net_.add("", make_avg_pool(3, 1, 1), {x.node}), x.channels};
      parts.push_back(conv(name + ".branch_pool", pooled));
    }
    return join(name, parts);
  }

  Node head(const Map& map) {
    Node x = net_.add(timm_ ? "" : "avgpool", make_adaptive_avg_pool(1), {map.node});
    if (timm_) {
      x = net_.add("global_pool", make_flatten(), {x});
      net_.alias("head_drop", x);
    } else {
      net_.alias("dropout", x);
    }
    if (classes_ == 0) return x;
    if (!timm_) x = net_.add("", make_flatten(), {x});
    return net_.linear("fc", x, map.channels, classes_);
  }

  /// Published weights take pixels in [-1, 1]: torchvision's by its option `transform_input`.
  void preprocess(BuiltNetwork& built) const {
    if (timm_) {
      TimmPixels usual;
      usual.crop = 299;
      usual.mean = usual.std = kHalf;
      timm_preprocess(built, net_.weights().source, usual);
      return;
    }
    imagenet_preprocess(built, 342, 299);
    built.preprocess.mean = built.preprocess.std = kHalf;
    built.notes.push_back(
        "layers have torchvision's names; timm's weights have the same (model.names=timm)");
    constexpr std::int64_t kImageNetClasses = 1000;
    if (classes_ != kImageNetClasses)
      built.guess =
          "an Inception v3 trained with torchvision's transform_input=False takes ImageNet's mean, "
          "published ones take [-1, 1],";
  }

  bool timm_;
  NetworkBuilder net_;
  std::int64_t classes_;
};

}  // namespace

BuiltNetwork build_inception(const std::string& names, StateDict given) {
  StateDict weights = find_network(std::move(given), family_anchors("inception"));
  if (!weights.has("Mixed_5b.branch1x1.conv.weight"))
    throw foreign_weights(weights, "an Inception v3", "Mixed_5b.branch1x1.conv.weight");
  const bool timm = called_as_timm(names, weights);
  return InceptionBuilder(timm, std::move(weights)).build();
}

}  // namespace linex
