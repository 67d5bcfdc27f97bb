#include "toolkit/concepts/embedding_labeler.hpp"

#include <algorithm>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/concepts/embedding_presence.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/row_store.hpp"

namespace linex {
namespace {

using torch::Tensor;
using Family = VisionTextConfig::Family;
namespace fs = std::filesystem;

const char* plugin_name(Family family) { return family == Family::siglip ? "siglip" : "clip"; }

VisionTextOverrides overrides_from(const OptionValues& options) {
  VisionTextOverrides overrides;
  overrides.config = options.path("config");
  overrides.image_size = options.integer("image_size");
  const std::string& activation = options.text("activation");
  if (activation == "gelu") overrides.activation = Activation::gelu;
  if (activation == "gelu_tanh") overrides.activation = Activation::gelu_tanh;
  if (activation == "quick_gelu") overrides.activation = Activation::quick_gelu;
  return overrides;
}

/// A number, or none for "auto".
std::optional<double> number_or_auto(const OptionValues& options, const std::string& name,
                                     const std::string& plugin) {
  const std::string& text = options.text(name);
  if (text == "auto") return std::nullopt;
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size() || !std::isfinite(value))
    throw usage_error("labeler " + plugin + ": " + name + " is '" + text +
                      "'; give a number or auto");
  return value;
}

}  // namespace

EmbeddingLabeler::EmbeddingLabeler(const PluginContext& context, Family family)
    : context_(context) {
  const OptionValues& options = context.options();
  const std::string plugin = std::string("labeler ") + plugin_name(family);
  if (options.text("template").find("{}") == std::string::npos)
    throw usage_error(plugin + ": template '" + options.text("template") +
                      "' has no {} for the concept");
  half_ = options.text("precision") == "half";
  const fs::path list_file = options.path("concepts");
  if (!list_file.empty()) {
    ConceptList list = read_concept_list(list_file);
    report(list, list_file, context.log());
    concepts_ = std::move(list.concepts);
  }

  const fs::path weights = options.path("weights");
  model_ = VisionText::load(weights, overrides_from(options));
  if (model_.config().family != family)
    throw input_error(weights.string() + " is " + model_.config().name() +
                      "; use plugin=" + plugin_name(model_.config().family));
  choose_sigmoid();
  open_vocabulary();
  model_.prepare(context.run(), half_);

  std::int64_t cut = 0;
  std::string first_cut;
  for (const std::string& concept_name : concepts_)
    if (tokenizer_->is_cut(prompt(concept_name), model_.config().context) && cut++ == 0)
      first_cut = concept_name;
  if (cut > 0)
    context.log().warning(
        list_file.string() + ": " + std::to_string(cut) + " concept(s) are longer than the " +
        std::to_string(model_.config().context) +
        " tokens the model reads and are cut off, the first is '" + first_cut.substr(0, 60) + "'");
}

void EmbeddingLabeler::choose_sigmoid() {
  const OptionValues& options = context_.options();
  const std::string plugin = plugin_name(model_.config().family);
  const auto a = number_or_auto(options, "a", plugin), b = number_or_auto(options, "b", plugin);
  if (a && !(*a > 0)) throw usage_error("labeler " + plugin + ": a must be positive");
  if (options.text("presence") == "cosine") return;
  const KnownSigmoid known = published_sigmoid(model_.config());
  if (!known.exact && !(a && b))
    context_.log().warning("no sigmoid is published for " + model_.config().name() +
                           "; using that of " + known.model +
                           " (a=" + format_number(known.sigmoid.a) +
                           ", b=" + format_number(known.sigmoid.b) + "); linex calibrate fits one");
  sigmoid_ = Sigmoid{a.value_or(known.sigmoid.a), b.value_or(known.sigmoid.b)};
}

void EmbeddingLabeler::open_vocabulary() {
  const bool siglip = model_.config().family == Family::siglip;
  fs::path file = context_.options().path("vocabulary");
  const fs::path folder = context_.options().path("weights").parent_path();
  const std::vector<std::string> names =
      siglip ? std::vector<std::string>{"spiece.model", "sentencepiece.model", "tokenizer.model"}
             : std::vector<std::string>{"bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt",
                                        "vocab.json"};
  for (const std::string& name : names)
    if (file.empty() && fs::exists(folder / name)) file = folder / name;
  if (file.empty())
    throw usage_error("labeler " + std::string(plugin_name(model_.config().family)) +
                      ": no vocabulary beside the weights (" + join(names, ", ") +
                      "); name it with vocabulary=FILE");
  tokenizer_ = siglip ? open_sentencepiece_model(file) : open_clip_vocabulary(file);
  if (tokenizer_->size() > model_.config().vocabulary)
    throw input_error(file.string() + " has " + std::to_string(tokenizer_->size()) + " tokens, " +
                      context_.options().path("weights").string() + " knows " +
                      std::to_string(model_.config().vocabulary) +
                      "; give the vocabulary of this checkpoint");
  // CLIP finds the end of a text by its largest id.
  if (!siglip && tokenizer_->size() != model_.config().vocabulary)
    throw input_error(file.string() + " has " + std::to_string(tokenizer_->size()) + " tokens, " +
                      context_.options().path("weights").string() + " has " +
                      std::to_string(model_.config().vocabulary) +
                      "; give the vocabulary of this checkpoint");
}

void EmbeddingLabeler::attach(std::shared_ptr<const DataSet> data) {
  if (!data)
    throw usage_error("labeler " + std::string(plugin_name(model_.config().family)) +
                      " looks at images; set data.root");
  data_ = std::move(data);
}

std::vector<std::string> EmbeddingLabeler::concepts() const {
  if (concepts_.empty())
    throw usage_error("labeler " + std::string(plugin_name(model_.config().family)) +
                      ": no concepts; give a list with concepts=FILE");
  return concepts_;
}

std::shared_ptr<const Presence> EmbeddingLabeler::presence() { return presence_of(concepts_); }

bool EmbeddingLabeler::knows(const std::string& text) const { return !trim(text).empty(); }

std::shared_ptr<const Presence> EmbeddingLabeler::presence_of(
    const std::vector<std::string>& texts) {
  return std::make_shared<EmbeddingPresence>(images(), embed_texts(texts), sigmoid_);
}

std::string EmbeddingLabeler::fingerprint() const {
  Sha256 digest;
  digest.add(model_.fingerprint()).add(model_.preprocess().describe());
  digest.add(tokenizer_->fingerprint());
  for (const std::string& concept_name : concepts_) digest.add(concept_name);
  return digest.hex();
}

std::string EmbeddingLabeler::prompt(const std::string& text) const {
  std::string filled = context_.options().text("template");
  for (std::size_t at = 0; (at = filled.find("{}", at)) != std::string::npos; at += text.size())
    filled.replace(at, 2, text);
  return filled;
}

Tensor EmbeddingLabeler::embed_texts(const std::vector<std::string>& texts) {
  std::vector<std::string> fresh;
  for (const std::string& text : texts)
    if (texts_.emplace(text, Tensor()).second) fresh.push_back(text);
  if (!fresh.empty()) {
    const Tensor embedded = compute_texts(fresh);
    for (std::size_t i = 0; i < fresh.size(); ++i)
      texts_[fresh[i]] = embedded[static_cast<std::int64_t>(i)];
  }
  std::vector<Tensor> rows;
  for (const std::string& text : texts) rows.push_back(texts_.at(text));
  return rows.empty() ? torch::empty({0, model_.config().embed}) : at::stack(rows);
}

Tensor EmbeddingLabeler::compute_texts(const std::vector<std::string>& texts) {
  std::vector<std::string> prompts;
  Sha256 digest;
  for (const std::string& text : texts) {
    prompts.push_back(prompt(text));
    digest.add(prompts.back());
  }
  RowStoreOptions store;
  store.cache = context_.run().cache;
  store.kind = "embeddings";
  store.rows = static_cast<std::int64_t>(texts.size());
  store.shard_rows = 1024;
  store.half = half_;
  store.key = "text model=" + model_.fingerprint() + " vocabulary=" + tokenizer_->fingerprint() +
              " texts=" + digest.hex() + " half=" + (half_ ? "1" : "0") +
              " device=" + context_.run().device.substr(0, 3);
  constexpr std::int64_t kBatch = 64;
  const Tensor embedded =
      stored_rows(store, context_, "concepts", "texts", [&](std::int64_t begin, std::int64_t end) {
        std::vector<Tensor> parts;
        for (std::int64_t first = begin; first < end; first += kBatch) {
          check_cancelled(context_);
          const auto from = prompts.begin() + first;
          const std::vector<std::string> batch(from, from + std::min(kBatch, end - first));
          parts.push_back(
              model_.embed_texts(tokenizer_->encode_batch(batch, model_.config().context)));
        }
        return at::cat(parts);
      });
  return normalized_rows(embedded, [&](std::int64_t i) {
    return "'" + texts[static_cast<std::size_t>(i)].substr(0, 60) + "'";
  });
}

const Tensor& EmbeddingLabeler::images() {
  if (images_.defined()) return images_;
  if (!data_) throw std::logic_error("presence before attach()");
  const RunSettings& run = context_.run();
  const Preprocess preprocess = model_.preprocess();
  const Margin margin = model_.crops_down() ? Margin::down : Margin::half_to_even;
  RowStoreOptions store;
  store.cache = run.cache;
  store.kind = "embeddings";
  store.rows = data_->size();
  store.half = half_;
  store.key = "image model=" + model_.fingerprint() + " preprocess=" + preprocess.describe() +
              " margin=" + (margin == Margin::down ? "down" : "even") +
              " data=" + data_->fingerprint() + " half=" + (half_ ? "1" : "0") +
              " device=" + run.device.substr(0, 3);
  constexpr std::int64_t kBatch = 16;
  const LoadOptions load{run.batch > 0 ? run.batch : kBatch, run.threads,
                         batches_ahead(run.device, run.threads), margin};
  const Tensor embedded = stored_rows(
      store, context_, "embeddings", "images", [&](std::int64_t begin, std::int64_t end) {
        Rows rows(static_cast<std::size_t>(end - begin));
        std::iota(rows.begin(), rows.end(), begin);
        BatchLoader loader(data_, rows, preprocess, load);
        std::vector<Tensor> parts;
        for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
          check_cancelled(context_);
          parts.push_back(model_.embed_images(batch.images));
        }
        return at::cat(parts);
      });
  images_ = normalized_rows(embedded, [&](std::int64_t i) { return data_->name(i); });
  return images_;
}

}  // namespace linex
