// How well does a concept describe a unit? The metrics of docs/methods.md §5.1, of one unit's
// activations a and one concept's presences c on the same rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "toolkit/explanations/spoiled.hpp"

namespace linex {

/// Two columns of n floats, lent.
struct UnitConcept {
  const float* activation;
  const float* presence;  ///< in [0, 1]
  std::int64_t n;
};

struct MetricOptions {
  double alpha = 0.05;  ///< a unit is on in the ⌈alpha·n⌉ rows where it is highest, and ties
  double threshold = 0.5;    ///< a concept is present from here on
  double lambda = 1.0;       ///< of WPMI: how much frequent concepts are discounted
  double top_share = 0.002;  ///< top-and-random: rows count as top
  std::int64_t sample = 25;  ///< top-and-random: rows drawn from the top, and from all
  std::uint64_t seed = 0;    ///< of that draw
};

/// One metric: its name in tables and its theoretical range (max − min), 0 = unbounded.
struct MetricInfo {
  const char* name;
  double range;
  const char* formula;
};

/// In the order of concept_metrics().
inline constexpr std::array kMetrics{
    MetricInfo{"recall", 1, "TP / |A|"},
    MetricInfo{"precision", 1, "TP / |C|"},
    MetricInfo{"f1", 1, "2 TP / (|A| + |C|)"},
    MetricInfo{"iou", 1, "TP / |A or C|"},
    MetricInfo{"accuracy", 1, "(TP + TN) / n"},
    MetricInfo{"balanced accuracy", 1, "(TP / |A| + TN / |not A|) / 2"},
    MetricInfo{"inverse balanced accuracy", 1, "(TP / |C| + TN / |not C|) / 2"},
    MetricInfo{"auc", 1, "P(c on A > c off A)"},
    MetricInfo{"inverse auc", 1, "P(a on C > a off C)"},
    MetricInfo{"correlation", 2, "Pearson"},
    MetricInfo{"correlation top and random", 2, "Pearson on top and random rows"},
    MetricInfo{"spearman", 2, "Pearson of ranks"},
    MetricInfo{"spearman top and random", 2, "Pearson of ranks on top and random rows"},
    MetricInfo{"cosine", 2, "a.c / |a||c|"},
    MetricInfo{"wpmi", 0, "mean of log c on A - lambda log mean c"},
    MetricInfo{"mad", 0, "mean of a on C - off C"},
    MetricInfo{"auprc", 1, "average precision of c for A"},
    MetricInfo{"inverse auprc", 1, "average precision of a for C"},
    MetricInfo{"combined auc", 1, "harmonic mean of auc and inverse auc"},
    MetricInfo{"combined balanced accuracy", 1, "harmonic mean of both"},
    MetricInfo{"recall and inverse auc", 1, "harmonic mean of both"},
};
using MetricValues = std::array<double, kMetrics.size()>;

/// All metrics; NaN where one is not defined (a constant column, C empty, A everything). Ties get
/// mid-ranks. [any thread]
///
/// Against docs/methods.md §5.1: A = the ⌈alpha·n⌉ highest rows and ties, C = presence ≥ threshold,
/// recall divides by |A| and precision by max(|C|, 1) as published, so that scikit-learn's
/// recall_score(A, C) and precision_score(A, C) are these numbers; correlation is Pearson's,
/// without the published factor (n−1)/n.
MetricValues concept_metrics(const UnitConcept& pair, const MetricOptions& options);

/// Mid-ranks (1-based, ties share their mean) of n values.
std::vector<double> mid_ranks(const float* values, std::int64_t n);

/// P(score of a positive > score of a negative), ties count half; NaN without one of the two.
double area_under_roc(const float* score, const std::uint8_t* positive, std::int64_t n);
/// Σ (R_k − R_{k−1}) P_k over distinct thresholds; NaN without positives.
double average_precision(const float* score, const std::uint8_t* positive, std::int64_t n);

// -- sanity tests --------------------------------------------------------------------------------

/// A metric before and after spoiling the concept, one entry a unit.
struct SanityTrial {
  MetricValues original, missing, extra;
};

/// Which metrics notice spoiled concepts.
struct SanityResult {
  std::array<double, kMetrics.size()> missing_pass, extra_pass;  ///< share of units, [0, 1]
  /// Passes both in at least kSanityShare of the units: the metric can be trusted on this data.
  std::array<bool, kMetrics.size()> reliable;
  std::int64_t units = 0;
};

/// A trial passes where (spoiled − original) / range < −kSanityDrop; the range of unbounded metrics
/// is the one observed over all trials. A metric that is not defined does not pass.
SanityResult judge_sanity(const std::vector<SanityTrial>& trials);

// -- two sets of images (CoSy) -------------------------------------------------------------------

/// Activations of one unit on images of a concept against a control set (docs/methods.md §5.2).
struct TwoSetScores {
  double auc = 0;      ///< U / (n_c n_0)
  double p_value = 1;  ///< of U, two-sided, normal approximation with tie correction
  double mad = 0;      ///< (mean_c − mean_0) / std_0, unbiased; 0 where std_0 = 0
};
/// NaN for empty sets.
TwoSetScores two_set_scores(const float* on_concept, std::int64_t n_concept, const float* control,
                            std::int64_t n_control);

}  // namespace linex
