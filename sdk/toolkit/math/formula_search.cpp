#include "toolkit/math/formula_search.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>

#include "toolkit/base/parallel.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {

namespace {

using Joint = FormulaStep::Joint;

/// Of F joined with a concept L: tallies of F, L, F ∩ L and of all places.
SetTally joined(const FormulaStep& step, const SetTally& f, const SetTally& l, const SetTally& both,
                const SetTally& all) {
  const auto combine = [&](double f_part, double l_part, double both_part, double all_part) {
    if (step.negated) {
      l_part = all_part - l_part;
      both_part = f_part - both_part;
    }
    switch (step.joint) {
      case Joint::conjunction:
        return both_part;
      case Joint::disjunction:
        return f_part + l_part - both_part;
      default:
        return l_part;
    }
  };
  return {combine(f.count, l.count, both.count, all.count),
          combine(f.weight, l.weight, both.weight, all.weight)};
}

/// Tallies of every concept and of all places.
struct Known {
  std::vector<SetTally> concepts;
  SetTally all;

  explicit Known(const FormulaProblem& problem) {
    for (const PlaceSet& set : problem.concepts) concepts.push_back(problem.tally(set));
    all.count = static_cast<double>(problem.places);
    if (problem.unit) all.weight = static_cast<double>(problem.unit->count());
    if (problem.weights)
      for (const double weight : *problem.weights) all.weight += weight;
  }
};

struct Candidate {
  FormulaChain chain;
  double score;
  SetTally tally;
};

/// The first `beam` by score, equals in their order.
void trim(std::vector<Candidate>& candidates, std::int64_t beam) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  if (static_cast<std::int64_t>(candidates.size()) > beam)
    candidates.resize(static_cast<std::size_t>(beam));
}

}  // namespace

Formula formula_of(const FormulaChain& chain, const std::vector<std::string>& names) {
  Formula whole;
  for (const FormulaStep& step : chain) {
    Formula part{Formula::Kind::name, names[static_cast<std::size_t>(step.concept_)], {}};
    if (step.negated) part = {Formula::Kind::negation, "", {std::move(part)}};
    if (step.joint == Joint::start) {
      whole = std::move(part);
      continue;
    }
    const auto kind =
        step.joint == Joint::conjunction ? Formula::Kind::conjunction : Formula::Kind::disjunction;
    whole = {kind, "", {std::move(whole), std::move(part)}};
  }
  return whole;
}

std::vector<std::size_t> name_order(const std::vector<std::string>& names) {
  std::vector<std::size_t> order(names.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return names[a] < names[b]; });
  return order;
}

std::vector<PlaceSet> concept_sets(const Presence& presence, const Rows& rows, double threshold,
                                   int threads) {
  constexpr std::int64_t kTileRows = 512, kPerTask = 16;
  const RowSource source = presence_rows(presence, all_columns(presence.cols()));
  std::vector<PlaceSet> sets(static_cast<std::size_t>(source.cols));
  const auto n = static_cast<std::int64_t>(rows.size());
  std::vector<float> tile;
  for (std::int64_t begin = 0; begin < n; begin += kTileRows) {
    const std::int64_t here = std::min(kTileRows, n - begin);
    tile.resize(static_cast<std::size_t>(here * source.cols));
    read_tile(source, rows, begin, here, threads, tile.data());
    parallel_for((source.cols + kPerTask - 1) / kPerTask, threads, [&](std::int64_t task) {
      for (std::int64_t j = task * kPerTask; j < std::min(source.cols, (task + 1) * kPerTask); ++j)
        for (std::int64_t i = 0; i < here; ++i)
          if (static_cast<double>(tile[static_cast<std::size_t>(i * source.cols + j)]) >= threshold)
            sets[static_cast<std::size_t>(j)].add(begin + i);
    });
  }
  return sets;
}

SetTally FormulaProblem::tally(const PlaceSet& set) const { return common(set, set); }

SetTally FormulaProblem::common(const PlaceSet& a, const PlaceSet& b) const {
  SetTally tally;
  tally.count = static_cast<double>(PlaceSet::common_count(a, b));
  if (unit) tally.weight = static_cast<double>(PlaceSet::common_count(a, b, *unit));
  if (weights) tally.weight = PlaceSet::common_sum(a, b, *weights);
  return tally;
}

PlaceSet FormulaProblem::set_of(const FormulaChain& chain) const {
  PlaceSet set;
  for (const FormulaStep& step : chain) {
    const PlaceSet& other = concepts[static_cast<std::size_t>(step.concept_)];
    if (step.joint == Joint::conjunction)
      set = step.negated ? set.without(other) : set.common(other);
    else if (step.joint == Joint::disjunction)
      set = set.united(step.negated ? other.complement(places) : other);
    else
      set = step.negated ? other.complement(places) : other;
  }
  return set;
}

std::vector<FoundFormula> beam_formulas(const FormulaProblem& problem, const FormulaScore& score,
                                        const FormulaBeam& options) {
  const Known known(problem);
  std::vector<Candidate> beam;
  for (const FormulaStep& step : options.starts) {
    const SetTally tally =
        joined(step, {}, known.concepts[static_cast<std::size_t>(step.concept_)], {}, known.all);
    const double value = score(tally, 1);
    if (!std::isnan(value)) beam.push_back({{step}, value, tally});
  }
  trim(beam, options.beam);
  for (std::int64_t length = 2; length <= options.length; ++length) {
    std::vector<Candidate> next = beam;
    for (const Candidate& formula : beam) {
      const PlaceSet set = problem.set_of(formula.chain);
      std::vector<SetTally> both(problem.concepts.size());
      std::vector<char> counted(both.size(), 0);
      for (const FormulaStep& step : options.joins) {
        const auto l = static_cast<std::size_t>(step.concept_);
        if (!counted[l]) both[l] = problem.common(set, problem.concepts[l]);
        counted[l] = 1;
        const SetTally tally = joined(step, formula.tally, known.concepts[l], both[l], known.all);
        if (options.skip_unchanged && (tally.count == 0 || tally.count == known.all.count ||
                                       tally.count == formula.tally.count))
          continue;
        const auto long_as = static_cast<std::int64_t>(formula.chain.size()) + 1;
        const double value = score(tally, long_as);
        if (std::isnan(value)) continue;
        Candidate made{formula.chain, value, tally};
        made.chain.push_back(step);
        next.push_back(std::move(made));
      }
    }
    trim(next, options.beam);
    beam = std::move(next);
  }
  std::vector<FoundFormula> found;
  for (Candidate& candidate : beam)
    found.push_back({std::move(candidate.chain), candidate.score, candidate.tally});
  return found;
}

double overlap(const SetTally& tally, double unit_places) {
  const double either = tally.count + unit_places - tally.weight;
  return either > 0 ? tally.weight / either : 0;
}

namespace {

/// A chain with concepts to come.
struct Node {
  FormulaChain chain;
  SetTally tally;
  double bound;
  bool tight;  // bound is from its own overlaps with every concept
  std::int64_t order;

  bool operator<(const Node& other) const {  // of a queue: the largest bound first
    return bound != other.bound ? bound < other.bound : order > other.order;
  }
};

class BestFirst {
 public:
  BestFirst(const FormulaProblem& problem, const OptimalOptions& options)
      : problem_(problem),
        options_(options),
        known_(problem),
        unit_(static_cast<double>(problem.unit->count())) {
    for (const SetTally& tally : known_.concepts) largest_hits_.push_back(tally.weight);
    std::sort(largest_hits_.rbegin(), largest_hits_.rend());
  }

  OptimalFormula run(const FoundFormula& from) {
    OptimalFormula result;
    best_ = from;
    for (std::size_t l = 0; l < known_.concepts.size(); ++l)
      meet({{Joint::start, static_cast<std::int64_t>(l), false}}, known_.concepts[l], 1);
    while (!open_.empty() && open_.top().bound > best_.score) {
      if (result.expansions >= options_.expansions) break;
      Node node = open_.top();
      open_.pop();
      ++result.expansions;
      expand(node);
    }
    result.best = best_;
    result.proven = open_.empty() || open_.top().bound <= best_.score;
    result.bound = result.proven ? best_.score : open_.top().bound;
    return result;
  }

 private:
  /// A chain that nobody has seen: scores it, and keeps it where longer ones may be better.
  void meet(FormulaChain chain, const SetTally& tally, double bound) {
    const double score = overlap(tally, unit_);
    if (score > best_.score) best_ = {chain, score, tally};
    const std::int64_t left = options_.length - static_cast<std::int64_t>(chain.size());
    if (left <= 0) return;
    double hits = tally.weight;
    for (std::int64_t i = 0; i < left && i < static_cast<std::int64_t>(largest_hits_.size()); ++i)
      hits += largest_hits_[static_cast<std::size_t>(i)];
    bound = std::min(bound, unit_ > 0 ? std::min(hits, unit_) / unit_ : 0);
    if (bound > best_.score) open_.push({std::move(chain), tally, bound, false, order_++});
  }

  void expand(Node& node) {
    const PlaceSet set = problem_.set_of(node.chain);
    std::vector<SetTally> both;
    for (const PlaceSet& other : problem_.concepts) both.push_back(problem_.common(set, other));
    if (!node.tight) {
      node.bound = std::min(node.bound, bound_of(node, both));
      node.tight = true;
      if (node.bound <= best_.score) return;
      // Something else may promise more now. Overlaps are counted again then.
      if (!open_.empty() && open_.top().bound > node.bound) {
        open_.push(node);
        return;
      }
    }
    for (std::size_t l = 0; l < both.size(); ++l)
      for (const auto& [joint, negated] : kJoins) {
        const FormulaStep step{joint, static_cast<std::int64_t>(l), negated};
        if (repeats(node.chain, step)) continue;
        FormulaChain chain = node.chain;
        chain.push_back(step);
        meet(std::move(chain), joined(step, node.tally, known_.concepts[l], both[l], known_.all),
             node.bound);
      }
  }

  double bound_of(const Node& node, const std::vector<SetTally>& both) const {
    const double hits = node.tally.weight, wrong = node.tally.count - hits;
    std::vector<double> gain, removal;
    for (std::size_t l = 0; l < both.size(); ++l) {
      gain.push_back(known_.concepts[l].weight - both[l].weight);
      const double wrong_in = both[l].count - both[l].weight;
      removal.push_back(std::max(wrong_in, wrong - wrong_in));
    }
    const std::size_t left = static_cast<std::size_t>(options_.length) - node.chain.size();
    const auto top = static_cast<std::ptrdiff_t>(std::min(both.size(), left));
    std::partial_sort(gain.begin(), gain.begin() + top, gain.end(), std::greater<>());
    std::partial_sort(removal.begin(), removal.begin() + top, removal.end(), std::greater<>());
    double bound = 0, reached = hits;
    for (std::size_t added = 0; added <= left; ++added) {
      double stays = wrong;
      // One concept can take away twice: what it has, and what it has not.
      for (std::size_t i = 0; i + added < left; ++i)
        stays -= removal[std::min(i, removal.size() - 1)];
      bound = std::max(bound, std::min(reached, unit_) / (unit_ + std::max(stays, 0.0)));
      if (added < gain.size()) reached += gain[added];
    }
    return bound;
  }

  /// Whether another order of the same concepts is looked at instead.
  static bool repeats(const FormulaChain& chain, const FormulaStep& step) {
    const FormulaStep& last = chain.back();
    if (last.joint == Joint::start) return !step.negated && step.concept_ <= last.concept_;
    return last.joint == step.joint && last.negated == step.negated &&
           step.concept_ <= last.concept_;
  }

  static constexpr std::pair<Joint, bool> kJoins[] = {
      {Joint::disjunction, false}, {Joint::conjunction, false}, {Joint::conjunction, true}};

  const FormulaProblem& problem_;
  const OptimalOptions& options_;
  const Known known_;
  const double unit_;
  std::vector<double> largest_hits_;
  std::priority_queue<Node> open_;
  FoundFormula best_;
  std::int64_t order_ = 0;
};

}  // namespace

OptimalFormula optimal_overlap(const FormulaProblem& problem, const FoundFormula& known,
                               const OptimalOptions& options) {
  return BestFirst(problem, options).run(known);
}

}  // namespace linex
