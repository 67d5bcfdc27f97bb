// CLIP-Dissect: each unit gets the one concept most similar to it (docs/methods.md §2.1).
#include "similarity.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "linex/plugin.hpp"

namespace {

using linex::option::choice;
using linex::option::integer;

class ClipDissect final : public linex::SparseSolver {
 public:
  static constexpr std::array kOptions{
      choice("similarity", "soft_wpmi",
             "soft_wpmi|wpmi|rank_reorder|cos_similarity|cos_similarity_cubed",
             "how units and concepts are compared; made for cosines of images and texts"),
      integer("top_k", 0, 0, 110,
              "images a unit is described by; 0 = published: 100 (soft_wpmi), 28 (wpmi)"),
      choice("rows", "all", "all|train",
             "images to compare on; the published method takes all of them"),
  };

  explicit ClipDissect(const linex::PluginContext& context) : context_(context) {
    options_.function = linex::similarity_from_string(context.options().text("similarity"));
    options_.top_k = context.options().integer("top_k");
    options_.seed = context.run().seed;
    options_.threads = context.run().threads;
    options_.memory_bytes = context.run().memory_bytes;
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    linex::SolveReport report;
    if (problem.finished >= problem.units.size()) return report;
    linex::Rows rows = problem.split.train;
    if (context_.options().text("rows") == "all") {
      rows.resize(static_cast<std::size_t>(problem.activations.size(0)));
      std::iota(rows.begin(), rows.end(), std::int64_t{0});
    }
    const linex::SimilarityInput input{*problem.presence, problem.activations, std::move(rows)};
    const auto best = best_concepts(input, problem.concepts);

    std::vector<linex::Explanation> block;
    double sum = 0;
    std::int64_t named = 0;
    for (std::size_t i = 0; i < problem.units.size(); ++i) {
      const Best& found = best[static_cast<std::size_t>(problem.units[i])];
      if (found.concept_index >= 0) {
        sum += static_cast<double>(found.similarity);
        ++named;
      }
      if (i < problem.finished) continue;
      linex::Explanation explanation;
      explanation.unit = problem.units[i];
      if (found.concept_index < 0) {
        explanation.status = linex::Status::dead;
      } else {
        const auto index = static_cast<std::size_t>(found.concept_index);
        explanation.terms = {{problem.concepts[index], 1.0}};
        explanation.objective = static_cast<double>(found.similarity);
      }
      block.push_back(std::move(explanation));
    }
    emit(block);
    report.figures["mean_similarity"] = named ? sum / static_cast<double>(named) : linex::kNone;
    report.figures["named_units"] = static_cast<double>(named);
    return report;
  }

 private:
  struct Best {
    std::int64_t concept_index = -1;
    float similarity = -INFINITY;
  };

  /// The most similar concept of every unit of the layer. Similarities that differ by rounding only
  /// are equal, and the first name in the alphabet wins: the order of concepts means nothing.
  std::vector<Best> best_concepts(const linex::SimilarityInput& input,
                                  const std::vector<std::string>& names) const {
    constexpr std::int64_t kSteps = 1000;
    constexpr float kRounding = 1e-5F;
    const auto progress = context_.progress("similarity", kSteps, "steps");
    std::int64_t reported = 0;
    std::vector<Best> best(static_cast<std::size_t>(input.activations.size(1)));
    const auto offer = [&names](Best& unit, const Best& candidate) {
      const float margin = kRounding * std::max(1.0F, std::fabs(unit.similarity));
      if (unit.concept_index < 0 || candidate.similarity > unit.similarity + margin) {
        unit = candidate;
      } else if (candidate.similarity >= unit.similarity - margin &&
                 names[static_cast<std::size_t>(candidate.concept_index)] <
                     names[static_cast<std::size_t>(unit.concept_index)]) {
        unit = {candidate.concept_index, std::max(unit.similarity, candidate.similarity)};
      }
    };
    linex::concept_similarity(
        input, options_,
        [&](std::int64_t first, const torch::Tensor& scores) {
          const float* value = scores.data_ptr<float>();
          for (Best& unit : best)
            for (std::int64_t j = 0; j < scores.size(1); ++j, ++value)
              if (!std::isnan(*value)) offer(unit, {first + j, *value});
        },
        [&](double done) {
          linex::check_cancelled(context_);
          const auto steps = static_cast<std::int64_t>(done * kSteps);
          progress->advance(steps - reported);
          reported = steps;
        });
    return best;
  }

  const linex::PluginContext& context_;
  linex::SimilarityOptions options_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(ClipDissect, "clip_dissect", "0.1.0",
                    "CLIP-Dissect: the concept most similar to each unit")
