// A family of image-text models that nobody published: colours of patches against bags of words.
#include <linex/plugin.hpp>

#include <sstream>
#include <unordered_map>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/concepts/embedding_labeler.hpp"

namespace {

using torch::Tensor;

class WordColour final : public linex::ImageTextModel {
 public:
  explicit WordColour(const linex::PluginContext& context) : threads_(context.run().threads) {
    const auto file = context.options().path("weights");
    words_file_ = file.parent_path() / "words.txt";
    const auto words = linex::read_list(words_file_);
    for (std::size_t i = 0; i < words.size(); ++i)
      rows_.emplace(words[i], static_cast<std::int64_t>(i));
    linex::WeightReader reader(linex::load_weights(file));
    const Tensor shape = reader.weights().get("text.words.weight");
    if (!shape.defined() || shape.dim() != 2)
      throw linex::input_error(file.string() + " is no word_colour (no text.words.weight)");
    table_ = reader.parameter("text.words.weight",
                              {static_cast<std::int64_t>(words.size()), shape.size(1)});
    kernel_ = reader.parameter("image.patches.weight", {shape.size(1), 3, kPatch, kPatch});
    reader.finish("word_colour", "give its checkpoint, with words.txt beside it");
    fingerprint_ = reader.fingerprint();
  }

  std::string name() const override { return "word_colour"; }
  std::int64_t width() const override { return table_.size(1); }
  linex::Preprocess preprocess() const override {
    linex::Preprocess preprocess;
    preprocess.resize = linex::Preprocess::Resize::squash;
    preprocess.size = 16;
    preprocess.mean = preprocess.std = {0.5f, 0.5f, 0.5f};
    return preprocess;
  }
  Tensor embed_images(const Tensor& images) const override {
    std::vector<Tensor> parts(static_cast<std::size_t>(images.size(0)));
    linex::parallel_for(images.size(0), threads_, [&](std::int64_t i) {
      const at::NoGradGuard no_grad;
      parts[static_cast<std::size_t>(i)] =
          at::conv2d(images.narrow(0, i, 1), kernel_, {}, kPatch).mean({2, 3}).tanh();
    });
    return at::cat(parts);
  }
  Tensor embed_texts(const std::vector<std::string>& texts) const override {
    std::vector<Tensor> parts;
    for (const std::string& text : texts) {
      const auto rows = rows_of(text);
      parts.push_back(table_.index_select(0, torch::tensor(rows)).mean(0));
    }
    return at::stack(parts);
  }
  std::string fingerprint() const override { return fingerprint_; }
  std::string vocabulary_fingerprint() const override {
    return linex::sha256_of_paths({words_file_});
  }
  std::int64_t context() const override { return kContext; }
  bool is_cut(const std::string& text) const override {
    std::istringstream words(text);
    std::string word;
    std::int64_t count = 0;
    while (words >> word) ++count;
    return count > kContext;
  }
  linex::KnownSigmoid sigmoid() const override { return {{8, 0}, name(), true}; }

 private:
  static constexpr std::int64_t kPatch = 8, kContext = 4;

  /// Rows of the table for the first kContext words; row 0 is any unknown word.
  std::vector<std::int64_t> rows_of(const std::string& text) const {
    std::vector<std::int64_t> rows;
    std::istringstream words(text);
    for (std::string word; static_cast<std::int64_t>(rows.size()) < kContext && words >> word;) {
      const auto found = rows_.find(word);
      rows.push_back(found == rows_.end() ? 0 : found->second);
    }
    if (rows.empty()) rows.push_back(0);
    return rows;
  }

  int threads_;
  std::filesystem::path words_file_;
  std::unordered_map<std::string, std::int64_t> rows_;
  Tensor table_, kernel_;
  std::string fingerprint_;
};

class Labeler final : public linex::EmbeddingLabeler {
 public:
  static constexpr auto kOptions = linex::with_embedding_options(std::array{linex::option::required(
      linex::option::path("weights", "", "checkpoint of a word_colour, words.txt beside it"))});
  explicit Labeler(const linex::PluginContext& context)
      : EmbeddingLabeler(context, "word_colour", std::make_unique<WordColour>(context)) {}
};

}  // namespace

LINEX_LABELER_PLUGIN(Labeler, "word_colour", "0.1.0", "Presence of words, by the colour they mean")
