// Concepts from anybody's matrix: a memory-mapped .npy and a list of names.
#include <cmath>
#include <cstring>

#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"

namespace {

using linex::input_error;

/// Whether all of values[0, n) are finite. Tests the exponent bits, so that the loop vectorises.
bool all_finite(const float* values, std::int64_t n) {
  std::uint32_t worst = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    worst = std::max(worst, bits & 0x7f800000U);
  }
  return worst != 0x7f800000U;
}

/// Rows of a mapped (N, C) matrix of any real dtype.
class MatrixPresence final : public linex::Presence {
 public:
  MatrixPresence(torch::Tensor matrix, std::string file)
      : matrix_(std::move(matrix)), file_(std::move(file)) {}

  std::int64_t rows() const override { return matrix_.size(0); }
  std::int64_t cols() const override { return matrix_.size(1); }

 private:
  void do_read(linex::Ids rows, const linex::Columns& cols, float* out) const override {
    const std::int64_t n_rows = rows.size(), width = cols.count(this->cols());
    for (std::int64_t i = 0; i < n_rows; ++i) {
      float* to = out + i * width;
      if (matrix_.scalar_type() == torch::kFloat32) {
        const float* from = matrix_.data_ptr<float>() + rows[i] * this->cols();
        if (cols.is_all())
          std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
        else
          for (std::int64_t j = 0; j < width; ++j) to[j] = from[cols[j]];
      } else {
        const auto row = matrix_[rows[i]].to(torch::kFloat32);
        const float* from = row.data_ptr<float>();
        for (std::int64_t j = 0; j < width; ++j) to[j] = from[cols[j]];
      }
      if (!all_finite(to, width)) complain(rows[i], cols, width, to);
    }
    linex::release_rows(matrix_, rows[0], rows[n_rows - 1] + 1 - rows[0]);
  }

  [[noreturn]] void complain(std::int64_t row, const linex::Columns& cols, std::int64_t width,
                             const float* values) const {
    std::int64_t j = 0;
    while (j < width - 1 && std::isfinite(values[j])) ++j;
    throw input_error(file_ + ": row " + std::to_string(row) + ", column " +
                      std::to_string(cols[j]) + " is " +
                      (std::isnan(values[j]) ? "NaN" : "infinite") + "; presence must be finite");
  }

  torch::Tensor matrix_;
  std::string file_;
};

class Recorded final : public linex::ConceptLabeler {
 public:
  static constexpr std::array kOptions{
      linex::option::required(
          linex::option::path("concepts", "", ".npy with the presence of C concepts on N rows")),
      linex::option::path(
          "names", "",
          "list of the C concept names, one a line; default: concept 0, concept 1, ..."),
  };

  explicit Recorded(const linex::PluginContext& context)
      : file_(context.options().path("concepts").string()),
        names_file_(context.options().path("names").string()) {
    auto matrix = linex::map_npy(file_);
    if (matrix.dim() != 2 || matrix.numel() == 0)
      throw input_error("labeler recorded: " + file_ + " is not a matrix (N, C)");
    const auto count = static_cast<std::size_t>(matrix.size(1));
    if (names_file_.empty()) {
      for (std::size_t j = 0; j < count; ++j) names_.push_back("concept " + std::to_string(j));
    } else {
      names_ = linex::read_list(names_file_);
      while (names_.size() > count && names_.back().empty()) names_.pop_back();
      if (names_.size() != count)
        throw input_error("labeler recorded: " + names_file_ + " has " +
                          std::to_string(names_.size()) + " names, " + file_ + " has " +
                          std::to_string(count) + " columns");
    }
    presence_ = std::make_shared<MatrixPresence>(std::move(matrix), file_);
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
  std::shared_ptr<const MatrixPresence> presence_;
};

}  // namespace

LINEX_LABELER_PLUGIN(Recorded, "recorded", "0.1.0", "presence of concepts from a recorded matrix")
