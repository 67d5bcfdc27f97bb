// Searches for the formula of concepts that says a unit best (docs/methods.md §2.4, §2.5).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/presence.hpp"
#include "toolkit/math/place_set.hpp"
#include "toolkit/text/formula.hpp"

namespace linex {

/// One concept, or its negation, joined to the formula before it.
struct FormulaStep {
  enum class Joint { start, conjunction, disjunction };
  Joint joint = Joint::start;
  std::int64_t concept_ = 0;
  bool negated = false;
};
using FormulaChain = std::vector<FormulaStep>;  ///< ((a AND b) OR NOT c) …, from the left

/// The formula of a chain; names of all concepts.
Formula formula_of(const FormulaChain& chain, const std::vector<std::string>& names);

/// Positions of names in their order, so that no result depends on that of a list.
std::vector<std::size_t> name_order(const std::vector<std::string>& names);

/// Concepts as sets of `rows`, in order: the rows where their presence is `threshold` or more.
std::vector<PlaceSet> concept_sets(const Presence& presence, const Rows& rows, double threshold,
                                   int threads);

/// How many places a set has, and their weight for the unit: both add up over disjoint sets.
struct SetTally {
  double count = 0, weight = 0;
};

/// Concepts as sets of places, and what a unit makes of a place. Lent.
struct FormulaProblem {
  const std::vector<PlaceSet>& concepts;
  std::int64_t places = 0;
  const PlaceSet* unit = nullptr;                ///< weight 1 where the unit has it, or
  const std::vector<double>* weights = nullptr;  ///< the weight of each place

  SetTally tally(const PlaceSet& set) const;
  SetTally common(const PlaceSet& a, const PlaceSet& b) const;
  PlaceSet set_of(const FormulaChain& chain) const;
};

struct FoundFormula {
  FormulaChain chain;  ///< empty: none has a score
  double score = 0;
  SetTally tally;
};

/// The score of a formula, from its set and its length; NaN: not allowed.
using FormulaScore = std::function<double(const SetTally& tally, std::int64_t length)>;

struct FormulaBeam {
  std::int64_t beam = 5, length = 3;
  std::vector<FormulaStep> starts, joins;  ///< in the order in which equals are preferred
  bool skip_unchanged = false;  ///< leave out what is empty, everything, or the formula before
};

/// Keeps the `beam` best formulas and joins each with every step, until they have `length`
/// concepts. Best first; of equals the one that was met first, shorter ones before longer.
std::vector<FoundFormula> beam_formulas(const FormulaProblem& problem, const FormulaScore& score,
                                        const FormulaBeam& options);

/// |F ∩ M| / |F ∪ M| of a formula's places F and the unit's M; 0 where both are empty.
double overlap(const SetTally& tally, double unit_places);

struct OptimalOptions {
  std::int64_t length = 3;
  std::int64_t expansions = 100000;  ///< formulas whose joins are all counted, before it ends
};
struct OptimalFormula {
  FoundFormula best;
  double bound = 0;  ///< no chain of OR, AND and AND NOT of up to `length` concepts overlaps more
  bool proven = false;
  std::int64_t expansions = 0;
};
/// The chain that overlaps a unit most, best first: of a chain F with r concepts to come, hits are
/// at most those of F and the r largest that a concept would add, false places at least those of F
/// without the r largest that a concept would take away. Starts from `known`, a chain or none.
OptimalFormula optimal_overlap(const FormulaProblem& problem, const FoundFormula& known,
                               const OptimalOptions& options);

}  // namespace linex
