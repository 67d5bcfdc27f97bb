// Presence of words and sentences in images that have captions: a simulator for free text that
// needs no network.
#include <algorithm>
#include <memory>
#include <unordered_map>

#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/text/vocabulary.hpp"

namespace {

using linex::input_error;
using linex::option::path;
using linex::option::required;

/// Which captions hold a word, a bit an image.
class WordIndex {
 public:
  explicit WordIndex(const std::vector<std::string>& captions)
      : rows_(static_cast<std::int64_t>(captions.size())) {
    for (std::size_t row = 0; row < captions.size(); ++row)
      for (const auto& word : linex::tokenize(captions[row])) {
        auto& present = present_[word];
        present.resize(captions.size(), false);
        present[row] = true;
      }
  }

  std::int64_t rows() const { return rows_; }
  /// Words of `text` that tell images apart: those of some captions but not of all.
  std::vector<const std::vector<bool>*> telling_words(const std::string& text) const {
    std::vector<const std::vector<bool>*> words;
    for (const auto& word : linex::tokenize(text)) {
      const auto found = present_.find(word);
      if (found == present_.end()) continue;
      const auto& present = found->second;
      if (std::find(present.begin(), present.end(), false) != present.end())
        words.push_back(&present);
    }
    return words;
  }

 private:
  std::int64_t rows_;
  std::unordered_map<std::string, std::vector<bool>> present_;
};

/// Column j: the share of text j's telling words that are in an image's caption.
class CaptionPresence final : public linex::Presence {
 public:
  CaptionPresence(std::shared_ptr<const WordIndex> index, const std::vector<std::string>& texts)
      : index_(std::move(index)) {
    for (const auto& text : texts) words_.push_back(index_->telling_words(text));
  }
  std::int64_t rows() const override { return index_->rows(); }
  std::int64_t cols() const override { return static_cast<std::int64_t>(words_.size()); }

 private:
  void do_read(linex::Ids rows, const linex::Columns& cols, float* out) const override {
    const std::int64_t width = cols.count(this->cols());
    for (const std::int64_t row : rows)
      for (std::int64_t j = 0; j < width; ++j) {
        const auto& words = words_[static_cast<std::size_t>(cols[j])];
        float present = 0;
        for (const auto* word : words)
          present += (*word)[static_cast<std::size_t>(row)] ? 1.0F : 0.0F;
        *out++ = words.empty() ? 0.0F : present / static_cast<float>(words.size());
      }
  }

  std::shared_ptr<const WordIndex> index_;
  std::vector<std::vector<const std::vector<bool>*>> words_;
};

class Captions final : public linex::ConceptLabeler {
 public:
  static constexpr std::array kOptions{
      required(path("captions", "", "list of captions, one line an image")),
      required(path("names", "", "list of the concepts, words or phrases, one a line")),
  };

  explicit Captions(const linex::PluginContext& context)
      : file_(context.options().path("captions").string()),
        names_file_(context.options().path("names").string()),
        names_(linex::read_concept_list(names_file_, context.log())) {
    const auto captions = linex::read_list(file_);
    if (captions.empty()) throw input_error("labeler captions: " + file_ + " has no line");
    index_ = std::make_shared<WordIndex>(captions);
  }

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    if (data && data->size() != index_->rows())
      throw input_error("labeler captions: " + file_ + " has " + std::to_string(index_->rows()) +
                        " lines, the data set " + std::to_string(data->size()) + " images");
  }
  std::vector<std::string> concepts() const override { return names_.names; }
  std::shared_ptr<const linex::Presence> presence() override { return presence_of(names_.names); }
  bool knows(const std::string& text) const override {
    return !index_->telling_words(names_.text_of(text)).empty();
  }
  std::string fingerprint() const override { return linex::sha256_of_paths({file_, names_file_}); }
  std::shared_ptr<const linex::Presence> presence_of(
      const std::vector<std::string>& texts) override {
    std::vector<std::string> written;
    for (const auto& text : texts) written.push_back(names_.text_of(text));
    return std::make_shared<CaptionPresence>(index_, written);
  }

 private:
  std::string file_, names_file_;
  linex::ConceptList names_;
  std::shared_ptr<const WordIndex> index_;
};

}  // namespace

LINEX_LABELER_PLUGIN(Captions, "captions", "0.1.0",
                     "words and sentences against the images' own captions")
