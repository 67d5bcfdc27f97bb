#include "toolkit/math/search.hpp"

#include <chrono>
#include <functional>
#include <limits>
#include <stdexcept>

#include "toolkit/base/parallel.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/math/best_subset.hpp"
#include "toolkit/math/kernels.hpp"
#include "toolkit/math/least_squares.hpp"
#include "toolkit/math/model_scan.hpp"

namespace linex {

SearchKind search_from_string(const std::string& word) {
  static const std::pair<const char*, SearchKind> kWords[] = {{"none", SearchKind::none},
                                                              {"greedy", SearchKind::greedy},
                                                              {"forward", SearchKind::forward},
                                                              {"swap", SearchKind::swap},
                                                              {"exact", SearchKind::exact}};
  for (const auto& [name, kind] : kWords)
    if (word == name) return kind;
  throw std::logic_error("search '" + word + "' is not declared");
}

namespace {

using Terms = std::vector<std::int64_t>;

TermFit fit_terms(const Regression& regression, std::int64_t unit, const Terms& terms,
                  bool non_negative) {
  const double* const q = regression.moments_of(unit).q;
  return non_negative ? non_negative_least_squares(*regression.gram, q, terms)
                      : least_squares(*regression.gram, q, terms);
}

/// Terms with a weight, raw. Empty where the terms are dependent.
LinearModel model_of(const Regression& regression, std::int64_t unit, const Terms& terms,
                     const TermFit& fit) {
  LinearModel model;
  model.unit = unit;
  for (std::size_t i = 0; i < fit.weight.size(); ++i) {
    if (fit.weight[i] == 0) continue;
    model.terms.push_back(terms[i]);
    model.weight.push_back(regression.raw_weight(unit, terms[i], fit.weight[i]));
  }
  return model;
}

Selection selection_of(const LinearModel& model, double correlation) {
  if (!(correlation > 0)) return {};
  return {model.terms, model.weight, correlation, {}};
}

// ---- none ---------------------------------------------------------------------------------------

std::vector<Selection> top_ranked(Regression& regression, const HeldOut& validation,
                                  const std::vector<std::int64_t>& units,
                                  const std::vector<SparseFit>& fits, const SearchOptions& options,
                                  int threads) {
  std::vector<Terms> chosen;
  Terms wanted;
  for (const SparseFit& fit : fits) {
    Terms terms;
    for (const std::int64_t j : ranking(fit, regression.concept_count(), options.max_length))
      if (std::binary_search(fit.index.begin(), fit.index.end(), j)) terms.push_back(j);
    wanted.insert(wanted.end(), terms.begin(), terms.end());
    chosen.push_back(std::move(terms));
  }
  regression.gram->require(wanted);
  std::vector<LinearModel> models(units.size());
  parallel_for(static_cast<std::int64_t>(units.size()), threads, [&](std::int64_t i) {
    Terms& terms = chosen[static_cast<std::size_t>(i)];
    TermFit fit;
    // Duplicates may both be ranked: the later one goes.
    for (std::size_t length = 1; length <= terms.size();) {
      const Terms head(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(length));
      fit = fit_terms(regression, units[i], head, options.non_negative);
      if (!fit.weight.empty())
        ++length;
      else
        terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(length) - 1);
    }
    fit = fit_terms(regression, units[i], terms, options.non_negative);
    models[static_cast<std::size_t>(i)] = model_of(regression, units[i], terms, fit);
  });
  const std::vector<double> correlations = validation.correlation(models);
  std::vector<Selection> selections;
  for (std::size_t i = 0; i < models.size(); ++i)
    selections.push_back(selection_of(models[i], correlations[i]));
  return selections;
}

// ---- greedy -------------------------------------------------------------------------------------

/// The published search of one unit, one step at a time.
struct GreedyUnit {
  Terms ranked, terms, candidates;
  std::vector<char> used;  // by rank: taken or discarded
  Selection best;
  bool done = false;

  /// Rank positions to try next.
  void propose(std::int64_t width) {
    candidates.clear();
    for (std::size_t r = 0; r < ranked.size(); ++r)
      if (!used[r] && static_cast<std::int64_t>(candidates.size()) < width)
        candidates.push_back(static_cast<std::int64_t>(r));
    done = candidates.empty();
  }

  /// What the validation rows say about terms + each candidate.
  void choose(const std::vector<LinearModel>& models, const double* correlation,
              const SearchOptions& options) {
    const double before = terms.empty() ? 0 : best.val_correlation;
    double highest = before;
    std::int64_t pick = -1;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      const bool dependent = models[c].terms.empty();
      if (!terms.empty() && (dependent || correlation[c] - before < options.tolerance)) {
        used[static_cast<std::size_t>(candidates[c])] = 1;
      } else if (correlation[c] > highest) {
        highest = correlation[c];
        pick = static_cast<std::int64_t>(c);
      }
    }
    if (pick < 0) {
      done = true;
      return;
    }
    const std::int64_t rank = candidates[static_cast<std::size_t>(pick)];
    used[static_cast<std::size_t>(rank)] = 1;
    terms.push_back(ranked[static_cast<std::size_t>(rank)]);
    best = selection_of(models[static_cast<std::size_t>(pick)], highest);
    done = static_cast<std::int64_t>(terms.size()) >= options.max_length;
  }
};

std::vector<Selection> greedy(Regression& regression, const HeldOut& validation,
                              const std::vector<std::int64_t>& units,
                              const std::vector<SparseFit>& fits, const SearchOptions& options,
                              int threads) {
  std::vector<GreedyUnit> searches(units.size());
  for (std::size_t i = 0; i < units.size(); ++i) {
    // No step discards more than `width` ranks, so no search gets further than this.
    searches[i].ranked =
        ranking(fits[i], regression.concept_count(), options.width * (options.max_length + 1));
    searches[i].used.resize(searches[i].ranked.size(), 0);
  }
  for (;;) {
    Terms wanted;
    std::vector<std::size_t> first;  // of each unit's models in this step
    std::size_t count = 0;
    for (GreedyUnit& unit : searches) {
      if (!unit.done) unit.propose(options.width);
      first.push_back(count);
      if (unit.done) continue;
      count += unit.candidates.size();
      for (const std::int64_t rank : unit.candidates)
        wanted.push_back(unit.ranked[static_cast<std::size_t>(rank)]);
    }
    if (count == 0) break;
    regression.gram->require(std::move(wanted));
    std::vector<LinearModel> models(count);
    parallel_for(static_cast<std::int64_t>(units.size()), threads, [&](std::int64_t i) {
      const GreedyUnit& unit = searches[static_cast<std::size_t>(i)];
      if (unit.done) return;
      Terms terms = unit.terms;
      terms.push_back(0);
      for (std::size_t c = 0; c < unit.candidates.size(); ++c) {
        terms.back() = unit.ranked[static_cast<std::size_t>(unit.candidates[c])];
        models[first[static_cast<std::size_t>(i)] + c] =
            model_of(regression, units[i], terms,
                     fit_terms(regression, units[i], terms, options.non_negative));
      }
    });
    const std::vector<double> correlations = validation.correlation(models);
    for (std::size_t i = 0; i < searches.size(); ++i) {
      GreedyUnit& unit = searches[i];
      if (unit.done) continue;
      const auto begin = models.begin() + static_cast<std::ptrdiff_t>(first[i]);
      unit.choose({begin, begin + static_cast<std::ptrdiff_t>(unit.candidates.size())},
                  correlations.data() + first[i], options);
    }
  }
  std::vector<Selection> selections;
  for (GreedyUnit& unit : searches) selections.push_back(std::move(unit.best));
  return selections;
}

// ---- forward and swap ---------------------------------------------------------------------------

/// Best term sets of growing length by the training rows, one unit.
class PathUnit {
 public:
  PathUnit(const Regression& regression, std::int64_t unit, const SearchOptions& options)
      : regression_(regression), options_(options), unit_(unit) {}

  /// Runs to the end (true), or until a row of the Gram matrix is missing (false).
  bool run() {
    if (done_) return true;
    const UnitMoments moments = regression_.moments_of(unit_);
    q_.assign(moments.q, moments.q + regression_.concept_count());
    for (;;) {
      if (missing_ >= 0 && !regression_.gram->row(missing_)) return false;
      missing_ = -1;
      const Move move = next_move();
      if (move.added < 0) {
        if (!close_length(moments.mean_square)) return done_ = true;
        continue;
      }
      if (!regression_.gram->row(move.added)) {
        missing_ = move.added;
        return false;
      }
      apply(move);
    }
  }

  std::int64_t missing() const { return missing_; }
  /// The best terms found of length 1, 2, …
  struct Step {
    LinearModel model;
    LengthFound found;  // without the validation rows
  };
  const std::vector<Step>& lengths() const { return lengths_; }

  /// Replaces the terms of every length by the best there are; every row of the Gram matrix is
  /// there.
  void prove(const std::function<bool()>& stop) {
    if (lengths_.empty()) return;
    const UnitMoments moments = regression_.moments_of(unit_);
    BestSubset subsets(*regression_.gram, moments.q, moments.mean_square, regression_.diagonal());
    const auto share = [&](double explained) {
      return std::sqrt(std::clamp(explained / moments.mean_square, 0.0, 1.0));
    };
    for (std::size_t l = 0; l < lengths_.size(); ++l) {
      LengthFound& found = lengths_[l].found;
      const SubsetFound best = subsets.find(found.terms, chosen_[l], options_.exact_scans, stop);
      found.by_swap = found.train;
      found.certified = best.certified;
      const TermFit fit = least_squares(*regression_.gram, moments.q, best.terms);
      if (share(fit.explained) > found.train) {
        found.train = share(fit.explained);
        lengths_[l].model = model_of(regression_, unit_, best.terms, fit);
      }
      found.bound = std::max(found.train, share(best.bound));
    }
  }

 private:
  Move next_move() {
    const bool grow = static_cast<std::int64_t>(terms_.size()) < target_length_;
    if (!grow && (options_.kind == SearchKind::forward || settled_ || terms_.size() < 2)) return {};
    const ModelScan scan(regression_, terms_, fit_, q_.data(), options_.non_negative);
    return grow ? best_addition(scan.input()) : best_swap(scan.input());
  }

  void apply(const Move& move) {
    Terms next = terms_;
    if (move.removed < 0)
      next.push_back(move.added);
    else
      next[static_cast<std::size_t>(move.removed)] = move.added;
    TermFit fit = least_squares(*regression_.gram, regression_.moments_of(unit_).q, next);
    // Scores are float32; only a gain that float64 confirms counts, so swaps cannot go round.
    const double least = move.removed < 0 ? 0 : 1e-6 * fit_.explained;
    if (fit.weight.empty() || !(fit.explained > fit_.explained + least)) {
      settled_ = true;
      if (move.removed < 0) exhausted_ = true;
      if (move.removed < 0) target_length_ = static_cast<std::int64_t>(terms_.size());
      return;
    }
    terms_ = std::move(next);
    fit_ = std::move(fit);
  }

  /// Records the current length and starts the next; false when there is none.
  bool close_length(double mean_square) {
    if (terms_.empty() || exhausted_) return false;
    LinearModel model =
        model_of(regression_, unit_, terms_,
                 options_.non_negative ? fit_terms(regression_, unit_, terms_, true) : fit_);
    const double correlation = std::sqrt(std::max(0.0, fit_.explained / mean_square));
    LengthFound found;
    found.terms = static_cast<std::int64_t>(lengths_.size()) + 1;
    found.train = correlation;
    lengths_.push_back({std::move(model), found});
    chosen_.push_back(terms_);
    // Where even the fitted rows gain less than a term costs, stop.
    const double least = std::min(options_.tolerance, options_.term_price());
    if (lengths_.size() > 1 && correlation - correlation_ < least) return false;
    if (static_cast<std::int64_t>(terms_.size()) >= options_.max_length) return false;
    correlation_ = correlation;
    target_length_ = static_cast<std::int64_t>(terms_.size()) + 1;
    settled_ = false;
    return true;
  }

  const Regression& regression_;
  const SearchOptions& options_;
  const std::int64_t unit_;
  std::vector<float> q_;
  Terms terms_;
  TermFit fit_;
  std::vector<Step> lengths_;
  std::vector<Terms> chosen_;  // of each length
  double correlation_ = 0;
  std::int64_t target_length_ = 1, missing_ = -1;
  bool settled_ = false, exhausted_ = false, done_ = false;
};

/// Runs all paths, fetching rows of the Gram matrix as they ask for them.
std::vector<std::unique_ptr<PathUnit>> run_paths(Regression& regression,
                                                 const std::vector<std::int64_t>& units,
                                                 const SearchOptions& options, int threads) {
  std::vector<std::unique_ptr<PathUnit>> paths;
  for (const std::int64_t unit : units)
    paths.push_back(std::make_unique<PathUnit>(regression, unit, options));
  for (;;) {
    std::vector<char> done(units.size(), 0);
    parallel_for(static_cast<std::int64_t>(units.size()), threads, [&](std::int64_t i) {
      done[static_cast<std::size_t>(i)] = paths[static_cast<std::size_t>(i)]->run();
    });
    Terms wanted;
    for (std::size_t i = 0; i < units.size(); ++i)
      if (!done[i]) wanted.push_back(paths[i]->missing());
    if (wanted.empty()) return paths;
    regression.gram->require(std::move(wanted));
  }
}

std::vector<Selection> best_subsets(Regression& regression, const HeldOut& validation,
                                    const std::vector<std::int64_t>& units,
                                    const std::vector<SparseFit>& fits,
                                    const SearchOptions& options, int threads) {
  const auto paths = run_paths(regression, units, options, threads);
  if (options.kind == SearchKind::exact) {
    regression.gram->require(all_columns(regression.concept_count()));
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(options.exact_seconds);
    const std::function<bool()> stop = [&] { return std::chrono::steady_clock::now() > end; };
    parallel_for(static_cast<std::int64_t>(paths.size()), threads, [&](std::int64_t i) {
      paths[static_cast<std::size_t>(i)]->prove(options.exact_seconds > 0 ? stop : nullptr);
    });
  }
  std::vector<LinearModel> models;
  for (const auto& path : paths)
    for (const auto& step : path->lengths()) models.push_back(step.model);
  const std::vector<double> correlations = validation.correlation(models);

  std::vector<Selection> selections;
  std::vector<std::int64_t> without;  // positions of units no length of which correlates
  std::size_t next = 0;
  for (const auto& path : paths) {
    std::vector<LengthFound> lengths;
    for (std::size_t i = 0; i < path->lengths().size(); ++i) {
      lengths.push_back(path->lengths()[i].found);
      lengths.back().val = correlations[next + i];
    }
    const std::int64_t chosen = choose_length(lengths, options.term_price());
    Selection best;
    if (chosen >= 0) {
      const std::size_t at = next + static_cast<std::size_t>(chosen);
      best = selection_of(models[at], correlations[at]);
    }
    best.lengths = std::move(lengths);
    next += path->lengths().size();
    if (best.terms.empty()) without.push_back(static_cast<std::int64_t>(selections.size()));
    selections.push_back(std::move(best));
  }
  if (without.empty()) return selections;

  std::vector<std::int64_t> again;
  std::vector<SparseFit> again_fits;
  for (const std::int64_t i : without) {
    again.push_back(units[static_cast<std::size_t>(i)]);
    again_fits.push_back(fits[static_cast<std::size_t>(i)]);
  }
  const auto found = greedy(regression, validation, again, again_fits, options, threads);
  for (std::size_t i = 0; i < without.size(); ++i)
    selections[static_cast<std::size_t>(without[i])] = found[i];  // without lengths
  return selections;
}

}  // namespace

std::int64_t choose_length(const std::vector<LengthFound>& lengths, double price) {
  std::int64_t chosen = -1;
  double highest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (!(lengths[i].val > 0)) continue;
    const double score = 0.5 * (lengths[i].train + lengths[i].val) - price * static_cast<double>(i);
    if (score <= highest) continue;
    highest = score;
    chosen = static_cast<std::int64_t>(i);
  }
  return chosen;
}

std::vector<FrontierPoint> frontier(const std::vector<Selection>& selections, double price) {
  std::vector<FrontierPoint> points;
  for (const double factor : {2.0 / 3, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0}) {
    std::vector<double> length, train, val;
    for (const Selection& selection : selections) {
      const std::int64_t chosen = choose_length(selection.lengths, factor * price);
      if (chosen < 0) continue;
      const LengthFound& found = selection.lengths[static_cast<std::size_t>(chosen)];
      length.push_back(static_cast<double>(found.terms));
      train.push_back(found.train);
      val.push_back(found.val);
    }
    if (length.empty()) return {};
    points.push_back(
        {factor * price, mean_sem(length).mean, mean_sem(train).mean, mean_sem(val).mean});
  }
  return points;
}

std::vector<Selection> search(Regression& regression, const HeldOut& validation,
                              const std::vector<std::int64_t>& units,
                              const std::vector<SparseFit>& ranking_fits,
                              const SearchOptions& options, int threads) {
  if (regression.concept_count() == 0) return std::vector<Selection>(units.size());
  switch (options.kind) {
    case SearchKind::none:
      return top_ranked(regression, validation, units, ranking_fits, options, threads);
    case SearchKind::greedy:
      return greedy(regression, validation, units, ranking_fits, options, threads);
    default:
      return best_subsets(regression, validation, units, ranking_fits, options, threads);
  }
}

}  // namespace linex
