// Presence from anybody's embeddings of images and concepts: two recorded matrices.
#include <algorithm>

#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/concepts/embedding_ability.hpp"
#include "toolkit/concepts/embedding_presence.hpp"

namespace {

using linex::input_error;
using linex::option::choice;
using linex::option::path;
using linex::option::real;
using linex::option::required;

/// The rows of a recorded matrix, each of length one.
torch::Tensor unit_rows(const std::string& file) {
  const torch::Tensor matrix = linex::finite_float32(linex::read_matrix(file), file);
  return linex::normalized_rows(
      matrix, [&](std::int64_t row) { return "row " + std::to_string(row) + " of " + file; });
}

class Embeddings final : public linex::ConceptLabeler, public linex::ImageTextEmbeddings {
 public:
  static constexpr std::array kOptions{
      required(path("images", "",
                    "embeddings of N images (N, E), of any length: .npy, .npz, .pt, .safetensors, "
                    "or FILE:NAME")),
      required(path("texts", "", "embeddings of C concepts (C, E), likewise")),
      required(path("names", "", "list of the C concept names, one a line")),
      real("a", 60, 1e-6, 1e6, "presence = sigmoid(a (cos + b)); the default is SigLIP L/16-384's"),
      real("b", -0.09, -1e3, 1e3, "see a"),
      choice("presence", "sigmoid", "sigmoid|cosine",
             "cosine: as CLIP-Dissect compares (solver clip_dissect)"),
  };

  explicit Embeddings(const linex::PluginContext& context) {
    const linex::OptionValues& options = context.options();
    images_file_ = options.path("images").string();
    texts_file_ = options.path("texts").string();
    names_file_ = options.path("names").string();
    names_ = linex::read_concept_list(names_file_, context.log()).names;
    const torch::Tensor images = unit_rows(images_file_), texts = unit_rows(texts_file_);
    const auto count = static_cast<std::size_t>(texts.size(0));
    if (images.size(1) != texts.size(1))
      throw input_error("labeler embeddings: " + images_file_ + " has embeddings of " +
                        std::to_string(images.size(1)) + " numbers, " + texts_file_ + " of " +
                        std::to_string(texts.size(1)) + "; record both with one model");
    if (names_.size() != count)
      throw input_error("labeler embeddings: " + names_file_ + " has " +
                        std::to_string(names_.size()) + " names, " + texts_file_ + " has " +
                        std::to_string(count) + " rows");
    std::optional<linex::Sigmoid> sigmoid;
    if (options.text("presence") == "sigmoid")
      sigmoid = linex::Sigmoid{options.real("a"), options.real("b")};
    presence_ = std::make_shared<linex::EmbeddingPresence>(images, texts, sigmoid);
    images_ = images;
    texts_ = texts;
  }

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    if (data && data->size() != presence_->rows())
      throw input_error("labeler embeddings: " + images_file_ + " has " +
                        std::to_string(presence_->rows()) + " rows, the data set " +
                        std::to_string(data->size()));
  }
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const linex::Presence> presence() override { return presence_; }
  std::string fingerprint() const override {
    return linex::sha256_of_paths({images_file_, texts_file_, names_file_});
  }
  const void* ability(const char* name) const override {
    return linex::offer<linex::ImageTextEmbeddings>(name, this);
  }
  torch::Tensor image_embeddings() const override { return images_; }
  torch::Tensor text_embeddings(const std::vector<std::string>& texts) const override {
    std::vector<torch::Tensor> rows;
    for (const auto& text : texts) {
      const auto found = std::find(names_.begin(), names_.end(), text);
      if (found == names_.end())
        throw linex::usage_error("labeler embeddings: there is no embedding of '" + text +
                                 "', only of the concepts in " + names_file_);
      rows.push_back(texts_[found - names_.begin()]);
    }
    return rows.empty() ? texts_.narrow(0, 0, 0) : torch::stack(rows);
  }

 private:
  std::string images_file_, texts_file_, names_file_;
  std::vector<std::string> names_;
  std::shared_ptr<const linex::EmbeddingPresence> presence_;
  torch::Tensor images_, texts_;  // rows of unit length
};

}  // namespace

LINEX_LABELER_PLUGIN(Embeddings, "embeddings", "0.1.0",
                     "presence of concepts from recorded embeddings of images and concepts")
