// A network in any framework as a target model: docs/external.md.
#include <algorithm>
#include <stdexcept>

#include "linex/plugin.hpp"
#include "linex/precision.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/session.hpp"

namespace {

using Json = nlohmann::json;
using linex::input_error;

class External;

/// One batch whose layer's output can be replaced.
class Tail final : public linex::ModelTail {
 public:
  Tail(External& model, torch::Tensor images, std::string layer);
  torch::Tensor activation() const override { return activation_; }
  torch::Tensor logits(const torch::Tensor& replaced) const override;

 private:
  External& model_;
  torch::Tensor images_;
  std::string layer_;
  torch::Tensor activation_;
};

class External final : public linex::TargetModel {
 public:
  static constexpr auto kOptions = linex::kExternalOptions;

  explicit External(const linex::PluginContext& context)
      : context_(context),
        session_(context, "model", context.run().threads),
        arrays_(context.run(), std::uint64_t{1} << 30) {
    if (linex::wants_bf16(context))
      context.log().warning("external: run.precision=bf16 is not passed on to the command");
    session_.call("describe");
    const Json answer = session_.answer("model");
    try {
      layers_ = linex::read_names(answer, "layers", 1);
      preprocess_ = linex::read_preprocess(answer.value("preprocess", Json()));
      const auto flag = [&](const char* key) {
        const auto value = answer.find(key);
        if (value == answer.end()) return false;
        if (!value->is_boolean()) throw std::invalid_argument(std::string(key) + " is no flag");
        return value->get<bool>();
      };
      logits_ = flag("logits");
      replaces_ = flag("replace");
      const auto batch = answer.find("batch");
      if (batch != answer.end()) {
        if (!batch->is_number_integer() || *batch < 1 || *batch > 65536)
          throw std::invalid_argument("\"batch\" is " + linex::printable(batch->dump()));
        batch_ = batch->get<std::int64_t>();
      }
      const auto print = answer.find("fingerprint");
      if (print == answer.end() || !print->is_string() || print->get<std::string>().empty())
        throw std::invalid_argument(
            "there is no \"fingerprint\", a text that changes with the weights");
      fingerprint_ = linex::Sha256()
                         .add(linex::describe_command(context.options()))
                         .add(print->get<std::string>())
                         .hex();
    } catch (const std::invalid_argument& error) {
      session_.fail(error.what());
    }
  }

  std::vector<std::string> layers() const override { return layers_; }
  linex::Preprocess preprocess() const override { return preprocess_; }
  std::int64_t preferred_batch() const override { return batch_; }
  std::string fingerprint() const override { return fingerprint_; }

  linex::ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                               bool logits) override {
    for (const auto& layer : layers)
      if (std::find(layers_.begin(), layers_.end(), layer) == layers_.end())
        throw input_error("model/external: there is no layer '" + linex::printable(layer) + "'" +
                          linex::did_you_mean(layer, layers_));
    return run("forward",
               {{"images", arrays_.give("images", images)},
                {"layers", layers},
                {"logits", logits && logits_}},
               images.size(0), layers, logits && logits_);
  }

  std::unique_ptr<linex::ModelTail> split(const torch::Tensor& images,
                                          const std::string& layer) override {
    if (!replaces_)
      throw input_error(
          "model/external: this command cannot replace a layer's output; what needs it "
          "(simulation_ablation, analyse) is for models that can");
    return std::make_unique<Tail>(*this, images, layer);
  }

  torch::Tensor replaced_logits(const torch::Tensor& images, const std::string& layer,
                                const torch::Tensor& replaced) {
    return run("replace",
               {{"images", arrays_.give("images", images)},
                {"layer", layer},
                {"replaced", arrays_.give("replaced", replaced)}},
               replaced.size(0), {}, true)
        .logits;
  }

 private:
  linex::ForwardResult run(const char* call, Json content, std::int64_t rows,
                           const std::vector<std::string>& layers, bool logits) {
    session_.call(call, std::move(content));
    const Json answer = session_.answer("batch");
    linex::ForwardResult result;
    try {
      const auto files = answer.find("layers");
      for (const auto& layer : layers) {
        if (files == answer.end() || !files->is_object() || !files->contains(layer) ||
            !(*files)[layer].is_string())
          throw std::invalid_argument("\"layers\" names no file for '" + linex::printable(layer) +
                                      "'");
        result.layers.push_back(take_layer((*files)[layer].get<std::string>(), rows, layer));
      }
      if (logits) {
        const auto file = answer.find("logits");
        if (file == answer.end() || !file->is_string())
          throw std::invalid_argument("\"logits\" names no file");
        result.logits = session_.exchange().take(file->get<std::string>(), {rows, -1});
      }
    } catch (const std::invalid_argument& error) {
      session_.fail(error.what());
    }
    return result;
  }

  /// (n, D), (n, T, D) or (n, C, H, W).
  torch::Tensor take_layer(const std::string& file, std::int64_t rows, const std::string& layer) {
    std::string why;
    for (const auto& shape :
         {std::vector<std::int64_t>{rows, -1, -1, -1}, {rows, -1, -1}, {rows, -1}}) {
      try {
        return session_.exchange().take(file, shape);
      } catch (const std::invalid_argument& error) {
        why = error.what();
        if (why.find(", not float32 (") == std::string::npos) break;
      }
    }
    throw std::invalid_argument("layer '" + linex::printable(layer) + "': " + why);
  }

  const linex::PluginContext& context_;
  linex::Session session_;
  linex::Exchange arrays_;
  std::vector<std::string> layers_;
  linex::Preprocess preprocess_;
  bool logits_ = false, replaces_ = false;
  std::int64_t batch_ = 16;
  std::string fingerprint_;
};

Tail::Tail(External& model, torch::Tensor images, std::string layer)
    : model_(model), images_(std::move(images)), layer_(std::move(layer)) {
  activation_ = model_.forward(images_, {layer_}, false).layers.at(0);
}

torch::Tensor Tail::logits(const torch::Tensor& replaced) const {
  return model_.replaced_logits(images_, layer_, replaced);
}

}  // namespace

LINEX_MODEL_PLUGIN(External, "external", "0.1.0", "A network in any framework: runs a command")
