#include "toolkit/concepts/vision_text_model.hpp"

#include "linex/error.hpp"
#include "linex/precision.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using Family = VisionTextConfig::Family;
namespace fs = std::filesystem;

const char* plugin_name(Family family) { return family == Family::siglip ? "siglip" : "clip"; }

VisionTextOverrides overrides_from(const OptionValues& options) {
  VisionTextOverrides overrides;
  overrides.state = options.text("state");
  overrides.config = options.path("config");
  overrides.image_size = options.integer("image_size");
  const std::string& activation = options.text("activation");
  if (activation == "gelu") overrides.activation = Activation::gelu;
  if (activation == "gelu_tanh") overrides.activation = Activation::gelu_tanh;
  if (activation == "quick_gelu") overrides.activation = Activation::quick_gelu;
  return overrides;
}

std::unique_ptr<Tokenizer> open_vocabulary(const VisionTextFamily& family,
                                           const OptionValues& options,
                                           const VisionTextConfig& config) {
  const std::int64_t tokens = config.vocabulary;
  const fs::path weights = options.path("weights");
  std::error_code ignored;
  const fs::path folder = fs::is_directory(weights, ignored) ? weights : weights.parent_path();
  fs::path file = options.path("vocabulary");
  for (const std::string& name : family.vocabularies)
    if (file.empty() && fs::exists(folder / name)) file = folder / name;
  if (file.empty())
    throw usage_error("labeler " + std::string(plugin_name(family.family)) +
                      ": no vocabulary beside the weights (" + join(family.vocabularies, ", ") +
                      "); name it with vocabulary=FILE");
  auto tokenizer = family.open_vocabulary(file, config);
  const bool more = tokenizer->size() > tokens;
  if (more || (family.whole_vocabulary && tokenizer->size() != tokens))
    throw input_error(file.string() + " has " + std::to_string(tokenizer->size()) + " tokens, " +
                      weights.string() + (more ? " knows " : " has ") + std::to_string(tokens) +
                      "; give the vocabulary of this checkpoint");
  return tokenizer;
}

}  // namespace

VisionTextModel::VisionTextModel(const PluginContext& context, const VisionTextFamily& family)
    : half_(context.options().text("precision") == "half" || wants_bf16(context)) {
  const OptionValues& options = context.options();
  const fs::path weights = options.path("weights");
  model_ = VisionText::load(weights, overrides_from(options));
  if (model_.config().family != family.family)
    throw input_error(weights.string() + " is " + model_.config().name() +
                      "; use plugin=" + plugin_name(model_.config().family));
  tokenizer_ = open_vocabulary(family, options, model_.config());
  const bool bf16 = wants_bf16(context) || context.run().device == "cpu";
  model_.prepare(context.run(), !half_ ? torch::kFloat : bf16 ? torch::kBFloat16 : torch::kHalf);
}

}  // namespace linex
