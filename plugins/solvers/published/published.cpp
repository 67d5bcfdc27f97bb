// Explanations somebody already has: any published file, so that the same evaluators score it.
#include <unordered_map>

#include "linex/plugin.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/net/layers.hpp"

namespace {

using linex::option::choice;
using linex::option::flag;
using linex::option::path;
using linex::option::required;

class Published final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      required(path("file", "",
                    "explanations: LE's CSV, unit,description, or a Network Dissection tally")),
      choice("first_unit", "auto", "auto|0|1",
             "number of the file's first unit; auto: 1 for a tally, else 0"),
      flag("repair_text", true, "undo mojibake in concept names"),
  };

  explicit Published(const linex::PluginContext& context)
      : context_(context), path_(context.options().path("file")) {
    table_ = linex::read_explanation_table(path_, {context.options().flag("repair_text")});
    const std::string& first = context.options().text("first_unit");
    const bool tally = table_.layout == linex::ExplanationLayout::tally;
    if (first == "auto" || (first == "1") == tally) return;
    for (auto& explanation : table_.content.explanations) {
      explanation.unit += tally ? 1 : -1;
      if (explanation.unit < 0)
        throw linex::usage_error("solver.first_unit: " + path_ + " has a unit 0");
    }
  }

  linex::SolverNeeds needs() const override { return {false, false, false}; }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    const auto row_of = rows_of_layer(problem.layer);
    std::vector<linex::Explanation> block;
    std::int64_t missing = 0;
    for (std::size_t i = 0; i < problem.units.size(); ++i) {
      const auto found = row_of.find(problem.units[i]);
      linex::Explanation explanation;
      if (found == row_of.end()) {
        explanation.unit = problem.units[i];
        explanation.status = linex::Status::empty;
        ++missing;
      } else {
        explanation = table_.content.explanations[found->second];
      }
      if (i >= problem.finished) block.push_back(std::move(explanation));
    }
    if (missing > 0)
      context_.log().warning(
          "solver published: " + path_ + " explains " +
          std::to_string(problem.units.size() - static_cast<std::size_t>(missing)) + " of " +
          std::to_string(problem.units.size()) + " units");
    if (!block.empty()) emit(block);
    linex::SolveReport report;
    report.figures["units_in_file"] = static_cast<double>(row_of.size());
    return report;
  }

 private:
  /// Rows that explain `layer`, by unit. A file that names no layer is about the layer asked for.
  std::unordered_map<std::int64_t, std::size_t> rows_of_layer(const std::string& layer) const {
    const std::string wanted = linex::normalise_layer(layer);
    const auto& file = table_.content;
    std::unordered_map<std::int64_t, std::size_t> row_of;
    for (std::size_t row = 0; row < file.explanations.size(); ++row) {
      if (!file.layers[row].empty() && linex::normalise_layer(file.layers[row]) != wanted) continue;
      if (!row_of.emplace(file.explanations[row].unit, row).second)
        throw linex::input_error(path_ + ": record " + std::to_string(row + 2) + ": unit " +
                                 std::to_string(file.explanations[row].unit) +
                                 " is explained twice; keep one of the rows");
    }
    if (row_of.empty() && !file.layers.empty())
      throw linex::input_error(path_ + " explains layer '" + file.layers.front() + "', not '" +
                               layer + "'; set model.layer or use another file");
    return row_of;
  }

  const linex::PluginContext& context_;
  std::string path_;
  linex::ExplanationTable table_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(Published, "published", "0.1.0",
                    "explanations from a file in one of the published layouts")
