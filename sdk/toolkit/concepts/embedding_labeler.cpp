#include "toolkit/concepts/embedding_labeler.hpp"

#include <algorithm>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/concepts/embedding_presence.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/row_store.hpp"

namespace linex {
namespace {

using torch::Tensor;
namespace fs = std::filesystem;

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

ImageTextModel::~ImageTextModel() = default;

EmbeddingLabeler::EmbeddingLabeler(const PluginContext& context, std::string plugin,
                                   std::unique_ptr<const ImageTextModel> model)
    : context_(context), plugin_(std::move(plugin)), model_(std::move(model)) {
  const OptionValues& options = context.options();
  if (options.text("template").find("{}") == std::string::npos)
    throw usage_error("labeler " + plugin_ + ": template '" + options.text("template") +
                      "' has no {} for the concept");
  const fs::path list_file = options.path("concepts");
  if (!list_file.empty()) concepts_ = read_concept_list(list_file, context.log());
  choose_sigmoid();

  std::int64_t cut = 0;
  std::string first_cut;
  for (const std::string& concept_name : concepts_.names)
    if (model_->is_cut(prompt(concept_name)) && cut++ == 0) first_cut = concept_name;
  if (cut > 0)
    context.log().warning(list_file.string() + ": " + std::to_string(cut) +
                          " concept(s) are longer than the " + std::to_string(model_->context()) +
                          " tokens the model reads and are cut off, the first is '" +
                          first_cut.substr(0, 60) + "'");
}

void EmbeddingLabeler::choose_sigmoid() {
  const OptionValues& options = context_.options();
  const auto a = number_or_auto(options, "a", plugin_), b = number_or_auto(options, "b", plugin_);
  if (a && !(*a > 0)) throw usage_error("labeler " + plugin_ + ": a must be positive");
  if (options.text("presence") == "cosine") return;
  const KnownSigmoid known = model_->sigmoid();
  if (!known.exact && !(a && b))
    context_.log().warning("no sigmoid is published for " + model_->name() + "; using that of " +
                           known.model + " (a=" + format_number(known.sigmoid.a) +
                           ", b=" + format_number(known.sigmoid.b) + "); linex calibrate fits one");
  sigmoid_ = Sigmoid{a.value_or(known.sigmoid.a), b.value_or(known.sigmoid.b)};
}

void EmbeddingLabeler::attach(std::shared_ptr<const DataSet> data) {
  if (!data) throw usage_error("labeler " + plugin_ + " looks at images; set data.root");
  data_ = std::move(data);
}

std::vector<std::string> EmbeddingLabeler::concepts() const {
  if (concepts_.names.empty())
    throw usage_error("labeler " + plugin_ + ": no concepts; give a list with concepts=FILE");
  return concepts_.names;
}

std::shared_ptr<const Presence> EmbeddingLabeler::presence() {
  return presence_of(concepts_.names);
}

bool EmbeddingLabeler::knows(const std::string& text) const { return !trim(text).empty(); }

std::shared_ptr<const Presence> EmbeddingLabeler::presence_of(
    const std::vector<std::string>& texts) {
  return std::make_shared<EmbeddingPresence>(images(), text_embeddings(texts), sigmoid_);
}

std::string EmbeddingLabeler::fingerprint() const {
  Sha256 digest;
  digest.add(model_->fingerprint()).add(model_->preprocess().describe());
  digest.add(model_->vocabulary_fingerprint());
  for (const std::string& concept_name : concepts_.names) digest.add(concept_name);
  return digest.hex();
}

Tensor EmbeddingLabeler::checked(const Tensor& embedded, std::size_t count) const {
  if (embedded.dim() != 2 || embedded.size(0) != static_cast<std::int64_t>(count) ||
      embedded.size(1) != model_->width() || embedded.scalar_type() != torch::kFloat ||
      !embedded.is_cpu())
    throw std::logic_error(model_->name() + " embeds " + std::to_string(count) + " inputs as " +
                           shape_text(embedded.sizes().vec()) + ", not float32 (" +
                           std::to_string(count) + ", " + std::to_string(model_->width()) +
                           ") on the CPU");
  return embedded;
}

std::string EmbeddingLabeler::prompt(const std::string& text) const {
  std::string filled = context_.options().text("template");
  for (std::size_t at = 0; (at = filled.find("{}", at)) != std::string::npos; at += text.size())
    filled.replace(at, 2, text);
  return filled;
}

const void* EmbeddingLabeler::ability(const char* name) const {
  return offer<ImageTextEmbeddings>(name, this);
}

Tensor EmbeddingLabeler::text_embeddings(const std::vector<std::string>& texts) const {
  // A name that had to be made distinct means the text it was made from.
  std::vector<std::string> written;
  for (const std::string& text : texts) written.push_back(concepts_.text_of(text));
  return embed_texts(written);
}

Tensor EmbeddingLabeler::embed_texts(const std::vector<std::string>& texts) const {
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
  return rows.empty() ? torch::empty({0, model_->width()}) : at::stack(rows);
}

Tensor EmbeddingLabeler::compute_texts(const std::vector<std::string>& texts) const {
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
  store.half = model_->is_half();
  store.key = "text model=" + model_->fingerprint() +
              " vocabulary=" + model_->vocabulary_fingerprint() + " texts=" + digest.hex() +
              " half=" + (store.half ? "1" : "0") + " device=" + context_.run().device.substr(0, 3);
  constexpr std::int64_t kBatch = 64;
  const Tensor embedded =
      stored_rows(store, context_, "concepts", "texts", [&](std::int64_t begin, std::int64_t end) {
        std::vector<Tensor> parts;
        for (std::int64_t first = begin; first < end; first += kBatch) {
          check_cancelled(context_);
          const auto from = prompts.begin() + first;
          const std::vector<std::string> batch(from, from + std::min(kBatch, end - first));
          parts.push_back(checked(model_->embed_texts(batch), batch.size()));
        }
        return at::cat(parts);
      });
  return normalized_rows(embedded, [&](std::int64_t i) {
    return "'" + texts[static_cast<std::size_t>(i)].substr(0, 60) + "'";
  });
}

const Tensor& EmbeddingLabeler::images() const {
  if (images_.defined()) return images_;
  if (!data_) throw std::logic_error("presence before attach()");
  const RunSettings& run = context_.run();
  const Preprocess preprocess = model_->preprocess();
  const Margin margin = model_->margin();
  RowStoreOptions store;
  store.cache = run.cache;
  store.kind = "embeddings";
  store.rows = data_->size();
  store.half = model_->is_half();
  store.key = "image model=" + model_->fingerprint() + " preprocess=" + preprocess.describe() +
              " margin=" + (margin == Margin::down ? "down" : "even") +
              " data=" + data_->fingerprint() + " half=" + (store.half ? "1" : "0") +
              " device=" + run.device.substr(0, 3);
  constexpr std::int64_t kBatch = 16;
  const LoadOptions load{batch_size(kBatch, run), run.threads,
                         batches_ahead(run.device, run.threads), margin};
  const Tensor embedded = stored_rows(
      store, context_, "embeddings", "images", [&](std::int64_t begin, std::int64_t end) {
        Rows rows(static_cast<std::size_t>(end - begin));
        std::iota(rows.begin(), rows.end(), begin);
        BatchLoader loader(data_, rows, preprocess, load);
        std::vector<Tensor> parts;
        for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
          check_cancelled(context_);
          parts.push_back(checked(model_->embed_images(batch.images),
                                  static_cast<std::size_t>(batch.images.size(0))));
        }
        return at::cat(parts);
      });
  images_ = normalized_rows(embedded, [&](std::int64_t i) { return data_->name(i); });
  return images_;
}

}  // namespace linex
