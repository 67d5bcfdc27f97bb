// Concepts from any language's labeler: docs/external.md.
#include <algorithm>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/data/row_store.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/session.hpp"

namespace {

using Json = nlohmann::json;
using linex::input_error;

class External final : public linex::ConceptLabeler {
 public:
  static constexpr auto kOptions = linex::external_options(std::array{
      linex::option::integer("batch", 32, 1, 4096, "images the command gets at a time"),
      linex::option::flag("pixels", true,
                          "hand over the images' pixels; false for a command that needs only their "
                          "names")});

  explicit External(const linex::PluginContext& context)
      : context_(context), session_(context, "labeler", context.run().threads) {}

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    data_ = std::move(data);
    Json content;
    content["data"] =
        data_ ? Json{{"rows", data_->size()}, {"classes", data_->class_names()}} : Json();
    session_.call("concepts", std::move(content));
    const Json answer = session_.answer("concepts");
    try {
      names_ = linex::read_names(answer, "names", 1);
    } catch (const std::invalid_argument& error) {
      session_.fail(error.what());
    }
    texts_ = answer.value("texts", Json(false)) == true;
    const auto rows = answer.find("rows");
    rows_ = data_ ? data_->size() : 0;
    if (rows != answer.end() && rows->is_number_integer()) {
      const auto given = rows->get<std::int64_t>();
      if (given < 1 || (data_ && given != rows_))
        session_.fail("labels " + rows->dump() + " rows, the data set has " +
                      std::to_string(rows_));
      rows_ = given;
    }
    if (rows_ < 1)
      throw linex::usage_error(
          "labeler/external: name the images by data.root; the command does not say how many rows "
          "it knows without them");
  }

  std::vector<std::string> concepts() const override { return names_; }

  std::shared_ptr<const linex::Presence> presence() override {
    if (!presence_) presence_ = label(names_, false);
    return presence_;
  }

  bool knows(const std::string& text) const override {
    return texts_ || std::find(names_.begin(), names_.end(), text) != names_.end();
  }

  std::shared_ptr<const linex::Presence> presence_of(
      const std::vector<std::string>& texts) override {
    const auto named = [&](const std::string& text) {
      return std::find(names_.begin(), names_.end(), text) != names_.end();
    };
    if (!texts_ || std::all_of(texts.begin(), texts.end(), named))
      return ConceptLabeler::presence_of(texts);
    return label(texts, true);
  }

  std::string fingerprint() const override {
    return linex::Sha256().add(linex::describe_command(context_.options())).hex();
  }

 private:
  std::shared_ptr<const linex::Presence> label(const std::vector<std::string>& texts, bool free) {
    linex::RowStoreOptions store;
    store.cache = context_.run().cache;
    store.kind = "external";
    std::string all;
    for (const auto& text : texts) all += std::to_string(text.size()) + ":" + text;
    store.key = "presence " + linex::describe_command(context_.options()) + " seed " +
                std::to_string(context_.run().seed) + " data " +
                (data_ ? data_->fingerprint() : std::to_string(rows_)) + " of " +
                (free ? "texts " : "concepts ") + linex::Sha256().add(all).hex();
    store.rows = rows_;
    store.shard_rows = context_.options().integer("batch");  // what came is kept
    const auto matrix = linex::stored_rows(store, context_, "labeling", "images",
                                           [&](std::int64_t begin, std::int64_t end) {
                                             linex::check_cancelled(context_);
                                             return label_batch(begin, end - begin, texts, free);
                                           });
    return std::make_shared<linex::MatrixPresence>(matrix, "labeler/external");
  }

  torch::Tensor label_batch(std::int64_t begin, std::int64_t n,
                            const std::vector<std::string>& texts, bool free) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(n));
    std::iota(rows.begin(), rows.end(), begin);
    Json content{{"rows", rows}};
    content["texts"] = free ? Json(texts) : Json();
    if (data_) {
      for (const auto row : rows) content["names"].push_back(data_->name(row));
      if (context_.options().flag("pixels")) content["images"] = give_images(rows);
    }
    session_.call("presence", std::move(content));
    const Json answer = session_.answer("batch");
    try {
      const auto file = answer.find("presence");
      if (file == answer.end() || !file->is_string())
        throw std::invalid_argument("\"presence\" names no file");
      return session_.exchange().take(file->get<std::string>(),
                                      {n, static_cast<std::int64_t>(texts.size())});
    } catch (const std::invalid_argument& error) {
      session_.fail(error.what());
    }
  }

  /// uint8 (H, W, 3) each, in files of their own: images differ in size.
  Json give_images(const std::vector<std::int64_t>& rows) {
    if (!images_) images_.emplace(context_.run(), std::uint64_t{1} << 30);
    std::vector<Json> given(rows.size());
    linex::parallel_for(
        static_cast<std::int64_t>(rows.size()), context_.run().threads, [&](std::int64_t i) {
          const auto slot = static_cast<std::size_t>(i);
          given[slot] = images_->give("image" + std::to_string(i), data_->pixels(rows[slot]));
        });
    return given;
  }

  const linex::PluginContext& context_;
  linex::Session session_;
  std::shared_ptr<const linex::DataSet> data_;
  std::optional<linex::Exchange> images_;
  std::vector<std::string> names_;
  bool texts_ = false;  ///< the command labels any text
  std::int64_t rows_ = 0;
  std::shared_ptr<const linex::Presence> presence_;
};

}  // namespace

LINEX_LABELER_PLUGIN(External, "external", "0.1.0", "Concepts from any language: runs a command")
