// How alike the images are that activate a unit, and which other unit is most like it
// (docs/methods.md §5.4).
#include <filesystem>

#include "clarity_math.hpp"
#include "linex/plugin.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/concepts/embedding_ability.hpp"

namespace {

namespace option = linex::option;
using linex::kNone;
using linex::Status;

class Clarity final : public linex::Evaluator {
 public:
  static constexpr std::array kOptions{
      option::path("embeddings", "",
                   "embeddings of the images (N, E): .npy, .npz, .pt, .safetensors, FILE:NAME; "
                   "empty: those of the simulator"),
      option::flag("twins", true, "the most similar other unit, and twins.csv")};

  explicit Clarity(const linex::PluginContext& context) : context_(context) {}

  std::vector<linex::ScoreColumn> evaluate(const linex::EvaluationInput& input) override {
    const auto embeddings = embeddings_of(input);
    const std::size_t count = input.explanations.size();
    std::vector<std::int64_t> units;
    std::vector<Status> status(count, Status::ok);
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t unit = input.explanations[i].unit;
      const bool exists = unit >= 0 && unit < input.activations.size(1);
      if (!exists) status[i] = Status::unknown_unit;
      units.push_back(exists ? unit : 0);
    }
    const auto activations = linex::copy_rows(input.activations, input.split.test)
                                 .index_select(1, torch::tensor(units, torch::kInt64));
    // What the layer does not have is no twin of anything.
    for (std::size_t i = 0; i < count; ++i)
      if (status[i] != Status::ok) activations.select(1, static_cast<std::int64_t>(i)).zero_();
    const int threads = context_.run().threads;
    linex::check_cancelled(context_);
    const auto clear = linex_clarity::clarity(activations, embeddings, threads);
    const double base = linex_clarity::mean_cosine(embeddings);
    std::vector<linex::ScoreColumn> columns{{"clarity", true, {}, {}, {}, {}},
                                            {"clarity gain", true, {}, {}, {}, {}}};
    for (std::size_t i = 0; i < count; ++i) {
      add(columns[0], status[i], clear[i]);
      add(columns[1], status[i], base < 1 ? (clear[i] - base) / (1 - base) : kNone);
    }
    if (context_.options().flag("twins")) {
      linex::check_cancelled(context_);
      const auto found = linex_clarity::twins(activations, input.explanations,
                                              context_.run().memory_bytes, threads);
      linex::ScoreColumn redundancy{"redundancy", false, {}, {}, {}, {}};
      for (std::size_t i = 0; i < count; ++i)
        add(redundancy, status[i],
            found[i].correlation > 0 ? found[i].correlation * found[i].correlation
            : found[i].index >= 0    ? 0
                                     : kNone);
      columns.push_back(std::move(redundancy));
      write_twins(input, found);
    }
    return columns;
  }

 private:
  /// float32 (test rows, E), of unit length.
  torch::Tensor embeddings_of(const linex::EvaluationInput& input) const {
    const auto& file = context_.options().path("embeddings");
    torch::Tensor all;
    if (!file.empty()) {
      all = linex::finite_float32(linex::read_matrix(file.string()), file.string());
    } else {
      const auto* known = linex::ability<linex::ImageTextEmbeddings>(*input.simulator);
      if (!known)
        throw linex::usage_error(
            "evaluator/clarity: the simulator has no embeddings of images; give "
            "evaluator.embeddings"
            "=FILE, or simulator.plugin=siglip or clip");
      all = known->image_embeddings();
    }
    if (all.size(0) != input.activations.size(0))
      throw linex::input_error("evaluator/clarity: " + std::to_string(all.size(0)) +
                               " embeddings for " + std::to_string(input.activations.size(0)) +
                               " images; row i of both is image i");
    const auto rows = linex::copy_rows(all, input.split.test).to(torch::kFloat32);
    const auto length = rows.norm(2, 1, true);
    return rows / torch::where(length > 0, length, torch::ones_like(length));
  }

  static void add(linex::ScoreColumn& column, Status status, double value) {
    const bool defined = status == Status::ok && std::isfinite(value);
    column.value.push_back(defined ? value : kNone);
    column.status.push_back(status == Status::ok && !defined ? Status::constant : status);
  }

  void write_twins(const linex::EvaluationInput& input,
                   const std::vector<linex_clarity::Twin>& found) {
    if (context_.run().out.empty()) return;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto& twin = found[i];
      if (twin.index < 0) continue;
      table_ += linex::csv_record(
          {input.layer, std::to_string(input.explanations[i].unit),
           std::to_string(input.explanations[static_cast<std::size_t>(twin.index)].unit),
           linex::format_number(twin.correlation), linex::format_number(twin.cosine)});
    }
    // Layers come one after the other; each leaves the file with all so far.
    linex::write_file_atomic(context_.run().out / "twins.csv", table_);
  }

  const linex::PluginContext& context_;
  std::string table_ =
      linex::csv_record({"layer", "unit", "twin", "activation correlation", "explanation cosine"});
};

}  // namespace

LINEX_EVALUATOR_PLUGIN(Clarity, "clarity", "0.1.0",
                       "how alike the images are that activate a unit, and its most similar unit")
