// Concepts from anybody's matrix and a list of names.
#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/concepts/matrix_presence.hpp"

namespace {

using linex::input_error;

class Recorded final : public linex::ConceptLabeler {
 public:
  static constexpr std::array kOptions{
      linex::option::required(
          linex::option::path("concepts", "",
                              "presence of C concepts on N rows: .npy, .npz, .pt, .safetensors, "
                              "or FILE:NAME")),
      linex::option::path(
          "names", "",
          "list of the C concept names, one a line; default: concept 0, concept 1, ..."),
  };

  explicit Recorded(const linex::PluginContext& context)
      : file_(context.options().path("concepts").string()),
        names_file_(context.options().path("names").string()) {
    auto matrix = linex::read_matrix(file_);
    const auto count = static_cast<std::size_t>(matrix.size(1));
    if (names_file_.empty()) {
      for (std::size_t j = 0; j < count; ++j) names_.push_back("concept " + std::to_string(j));
    } else {
      names_ = linex::read_concept_list(names_file_, context.log()).names;
      if (names_.size() != count)
        throw input_error("labeler recorded: " + names_file_ + " has " +
                          std::to_string(names_.size()) + " names, " + file_ + " has " +
                          std::to_string(count) + " columns");
    }
    presence_ = std::make_shared<linex::MatrixPresence>(std::move(matrix), file_);
  }

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    if (data && data->size() != presence_->rows())
      throw input_error("labeler recorded: " + file_ + " has " + std::to_string(presence_->rows()) +
                        " rows, the data set " + std::to_string(data->size()));
  }
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const linex::Presence> presence() override { return presence_; }
  std::string fingerprint() const override { return linex::sha256_of_paths({file_, names_file_}); }

 private:
  std::string file_, names_file_;
  std::vector<std::string> names_;
  std::shared_ptr<const linex::MatrixPresence> presence_;
};

}  // namespace

LINEX_LABELER_PLUGIN(Recorded, "recorded", "0.1.0", "presence of concepts from a recorded matrix")
