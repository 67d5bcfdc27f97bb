#include "toolkit/math/product_search.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "toolkit/base/parallel.hpp"
#include "toolkit/math/dense_search.hpp"
#include "toolkit/text/formula.hpp"

namespace linex {

namespace {

using Terms = std::vector<std::int64_t>;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr std::size_t kMostSingles = 16, kMostProducts = 20;
constexpr int kToFollow = 6, kByCorrelation = 10;
constexpr std::int64_t kTileRows = 1024;
constexpr double kLeastStd = 1e-5;  // docs/methods.md §1.4

/// A term as a number near 0 of about unit size: (term − centre)·scale.
struct Feature {
  ProductTerm term;
  double centre, scale;

  Feature(const Regression& regression, const ProductTerm& of) : term(of) {
    const auto mean = [&](std::int64_t j) {
      return regression.concept_mean[static_cast<std::size_t>(j)];
    };
    const auto std = [&](std::int64_t j) {
      return regression.concept_std[static_cast<std::size_t>(j)];
    };
    if (of.second < 0) {
      centre = mean(of.first);
      scale = 1 / std(of.first);
      return;
    }
    centre = mean(of.first) * mean(of.second);
    scale = 1 / (std(of.first) * std(of.second) + std::fabs(mean(of.first)) * std(of.second) +
                 std::fabs(mean(of.second)) * std(of.first));
  }
};

/// Values of features on the rows of a tile, one column each, and last those of the unit in its
/// standard deviations (from 0 where `from_zero`, else from its mean).
class TileValues {
 public:
  TileValues(const Regression& regression, const Regression::Tile& tile, std::int64_t rows,
             const Terms& used)
      : regression_(regression), tile_(tile), rows_(rows), used_(used) {}

  MatrixXd of(const std::vector<Feature>& features, std::int64_t unit_at, std::int64_t unit,
              bool from_zero) const {
    MatrixXd values(rows_, static_cast<Index>(features.size()) + 1);
    for (std::size_t f = 0; f < features.size(); ++f) {
      const Feature& feature = features[f];
      const Index column = static_cast<Index>(f);
      const VectorXd first = raw(feature.term.first);
      values.col(column) =
          feature.term.second < 0 ? first : VectorXd(first.cwiseProduct(raw(feature.term.second)));
      values.col(column) = (values.col(column).array() - feature.centre) * feature.scale;
    }
    const float* const activation = tile_.activations.data() + unit_at * rows_;
    const std::size_t k = static_cast<std::size_t>(unit);
    const double shift = from_zero ? regression_.unit_mean[k] / regression_.unit_std[k] : 0;
    for (Index i = 0; i < rows_; ++i)
      values(i, static_cast<Index>(features.size())) = static_cast<double>(activation[i]) + shift;
    return values;
  }

 private:
  VectorXd raw(std::int64_t j) const {
    const auto place = std::lower_bound(used_.begin(), used_.end(), j) - used_.begin();
    const float* const column = tile_.presence.data() + place * rows_;
    const double mean = regression_.concept_mean[static_cast<std::size_t>(j)],
                 std = regression_.concept_std[static_cast<std::size_t>(j)];
    VectorXd values(rows_);
    for (Index i = 0; i < rows_; ++i) values[i] = static_cast<double>(column[i]) * std + mean;
    return values;
  }

  const Regression& regression_;
  const Regression::Tile& tile_;
  const std::int64_t rows_;
  const Terms& used_;
};

Terms distinct(std::vector<Terms> lists) {
  Terms all;
  for (const Terms& list : lists) all.insert(all.end(), list.begin(), list.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

/// Calls visit(i, values) with the features of units[i], tile by tile of `rows` in their order;
/// units in parallel.
template <class Visit>
void read_features(const Regression& regression, const Rows& rows,
                   const std::vector<std::int64_t>& units,
                   const std::vector<std::vector<Feature>>& features, bool from_zero, int threads,
                   const Visit& visit) {
  std::vector<Terms> lists;
  for (const auto& some : features)
    for (const Feature& feature : some) {
      lists.push_back({feature.term.first});
      if (feature.term.second >= 0) lists.push_back({feature.term.second});
    }
  const Terms used = distinct(std::move(lists));
  const auto total = static_cast<std::int64_t>(rows.size());
  for (std::int64_t begin = 0; begin < total; begin += kTileRows) {
    const std::int64_t n = std::min(kTileRows, total - begin);
    const Regression::Tile tile =
        regression.standardised_tile(rows, begin, n, used, units, threads);
    const TileValues values(regression, tile, n, used);
    parallel_for(static_cast<std::int64_t>(units.size()), threads, [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      visit(at, values.of(features[at], i, units[at], from_zero));
    });
  }
}

std::vector<SecondMoments> moments_of(const Regression& regression, const Rows& rows,
                                      const std::vector<std::int64_t>& units,
                                      const std::vector<std::vector<Feature>>& features,
                                      int threads) {
  std::vector<SecondMoments> moments(units.size());
  read_features(regression, rows, units, features, false, threads,
                [&](std::size_t i, const MatrixXd& values) { moments[i].add(values); });
  return moments;
}

// ---- screening ----------------------------------------------------------------------------------

/// What products say beside the terms of a unit, from one pass.
struct Screen {
  std::vector<Feature> products, terms;
  VectorXd sum, square;  // of the products
  MatrixXd with;         // products with terms and, last, the unit
  SecondMoments own;     // of terms and unit

  void add(const MatrixXd& values) {
    const Index p = static_cast<Index>(products.size()), t = static_cast<Index>(terms.size()) + 1;
    if (sum.size() == 0) {
      sum = VectorXd::Zero(p);
      square = VectorXd::Zero(p);
      with = MatrixXd::Zero(p, t);
    }
    const auto product = values.leftCols(p);
    const auto rest = values.rightCols(t);
    sum += product.colwise().sum().transpose();
    square += product.cwiseAbs2().colwise().sum().transpose();
    with.noalias() += product.transpose() * rest;
    own.add(rest);
  }

  /// The products that explain most beside the terms.
  std::vector<ProductTerm> best(std::size_t most) const {
    const CentredMoments centred(own);
    const Index t = static_cast<Index>(terms.size());
    const Eigen::LDLT<MatrixXd> factor(centred.gram);
    const VectorXd weight = factor.solve(centred.q), mean = own.sum / own.n;
    std::vector<double> gain;
    for (Index p = 0; p < static_cast<Index>(products.size()); ++p) {
      const double centre = sum[p] / own.n;
      const VectorXd with_terms = with.row(p).head(t).transpose() / own.n - centre * mean.head(t);
      const double spread = square[p] / own.n - centre * centre,
                   slope = with(p, t) / own.n - centre * mean[t] - with_terms.dot(weight),
                   left = spread - with_terms.dot(factor.solve(with_terms));
      // As for concepts: what hardly varies (two labels that exclude each other) explains nothing.
      const bool varies = std::sqrt(std::max(0.0, spread)) >
                          kLeastStd * products[static_cast<std::size_t>(p)].scale;
      gain.push_back(varies && left > 1e-5 * spread ? slope * slope / left : 0);
    }
    Terms chosen;
    add_largest(gain, static_cast<int>(most), most, chosen);
    std::vector<ProductTerm> found;
    for (const std::int64_t p : chosen) found.push_back(products[static_cast<std::size_t>(p)].term);
    return found;
  }
};

std::vector<std::vector<Feature>> candidates_of(Regression& regression,
                                                const std::vector<std::int64_t>& units,
                                                const std::vector<const Selection*>& selections,
                                                const ProductOptions& options) {
  Terms wanted;
  for (const Selection* selection : selections)
    wanted.insert(wanted.end(), selection->terms.begin(), selection->terms.end());
  regression.gram->require(wanted);
  std::vector<Terms> singles(units.size());
  parallel_for(static_cast<std::int64_t>(units.size()), options.threads, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    Terms& found = singles[at] = selections[at]->terms;
    add_largest(gains(regression, units[at], selections[at]->terms), kToFollow, kMostSingles,
                found);
    add_largest(gains(regression, units[at], {}), kByCorrelation, kMostSingles, found);
  });
  std::vector<std::vector<Feature>> features(units.size());
  const auto feature = [&](std::int64_t a, std::int64_t b) {
    return Feature(regression, {std::min(a, b), std::max(a, b)});
  };
  for (std::size_t i = 0; i < units.size(); ++i)
    for (const std::int64_t j : singles[i]) features[i].push_back(Feature(regression, {j, -1}));
  if (!options.products) return features;

  std::vector<Screen> screens(units.size());
  std::vector<std::vector<Feature>> read(units.size());
  for (std::size_t i = 0; i < units.size(); ++i) {
    for (std::size_t a = 0; a < singles[i].size(); ++a)
      for (std::size_t b = a + 1; b < singles[i].size(); ++b)
        screens[i].products.push_back(feature(singles[i][a], singles[i][b]));
    for (const std::int64_t j : selections[i]->terms)
      screens[i].terms.push_back(Feature(regression, {j, -1}));
    read[i] = screens[i].products;
    read[i].insert(read[i].end(), screens[i].terms.begin(), screens[i].terms.end());
  }
  read_features(regression, regression.split().train, units, read, false, options.threads,
                [&](std::size_t i, const MatrixXd& values) { screens[i].add(values); });
  for (std::size_t i = 0; i < units.size(); ++i)
    for (const ProductTerm& term : screens[i].best(kMostProducts))
      features[i].push_back(Feature(regression, term));
  return features;
}

// ---- search -------------------------------------------------------------------------------------

/// The best sets found of 1, 2, … concepts; the first `own` candidates are a set that is known.
std::vector<DenseTerms> sets_by_length(const CentredMoments& train, Index singles, Index own,
                                       const SearchOptions& options) {
  std::vector<DenseTerms> best{DenseTerms(train)};
  const double least = std::min(options.tolerance, options.term_price());
  const auto share = [&](const DenseTerms& set) {
    return std::sqrt(std::max(0.0, set.explained() / train.mean_square));
  };
  int without_gain = 0;
  for (std::int64_t length = 1; length <= options.max_length; ++length) {
    DenseTerms most(train);
    const auto offer = [&](std::vector<Index> terms) {
      DenseTerms set(train);
      if (set.set(std::move(terms)) && set.explained() > most.explained()) most = set;
    };
    const auto grow = [&](const DenseTerms& from, Index begin, Index end) {
      const auto [added, gain] = from.best_addition(options.non_negative, begin, end);
      if (added < 0) return;
      std::vector<Index> terms = from.terms();
      terms.push_back(added);
      offer(std::move(terms));
    };
    const auto at = static_cast<std::size_t>(length);
    grow(best[at - 1], 0, singles);
    if (length == own) {
      std::vector<Index> known(static_cast<std::size_t>(own));
      std::iota(known.begin(), known.end(), Index{0});
      offer(std::move(known));
    }
    if (length > 1) {
      grow(best[at - 2], singles, train.q.size());
      // A concept of the set before makes way for a product.
      for (const Index term : best[at - 1].terms()) {
        if (term >= singles) continue;
        std::vector<Index> rest = best[at - 1].terms();
        rest.erase(std::find(rest.begin(), rest.end(), term));
        DenseTerms without(train);
        if (without.set(std::move(rest))) grow(without, singles, train.q.size());
      }
    }
    if (most.terms().empty()) break;
    if (options.kind != SearchKind::forward)
      for (int swaps = 0;
           swaps < 100 && improve_by_swap(train, most, options.non_negative, singles);)
        ++swaps;
    // A product costs two, so one length may pass without a gain.
    without_gain = length > 1 && share(most) - share(best.back()) < least ? without_gain + 1 : 0;
    best.push_back(most);
    if (without_gain == 2) break;
  }
  best.erase(best.begin());
  return best;
}

ProductModel model_of(const Regression& regression, std::int64_t unit,
                      const std::vector<Feature>& features, const std::vector<Index>& terms,
                      const VectorXd& weight, double bias) {
  ProductModel model;
  const std::size_t k = static_cast<std::size_t>(unit);
  model.bias = bias * regression.unit_std[k];
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const Feature& feature = features[static_cast<std::size_t>(terms[t])];
    const double raw = weight[static_cast<Index>(t)] * regression.unit_std[k] * feature.scale;
    model.terms.push_back(feature.term);
    model.weight.push_back(raw);
    model.bias -= raw * feature.centre;
  }
  return model;
}

// ---- link ---------------------------------------------------------------------------------------

double pearson(const VectorXd& x, const VectorXd& y) {
  const VectorXd a = x.array() - x.mean(), b = y.array() - y.mean();
  const double scale = std::sqrt(a.squaredNorm() * b.squaredNorm());
  return scale > 0 ? a.dot(b) / scale : kNone;
}

/// Features with a column of ones, and the unit.
struct LinkRows {
  MatrixXd x;
  VectorXd y;
};

/// Weights, the last that of the ones, and the scale of a link; from those without it.
struct LinkFit {
  Link link;
  VectorXd weight;

  VectorXd predict(const MatrixXd& x) const {
    return (x * weight).unaryExpr([&](double z) { return link(z); });
  }
};

LinkFit fit_link(Link::Kind kind, const LinkRows& rows) {
  LinkFit fit;
  fit.link = {kind, 0.5};
  const MatrixXd normal_x = rows.x.transpose() * rows.x;
  fit.weight = normal_x.ldlt().solve(rows.x.transpose() * rows.y);
  const bool scaled = kind == Link::Kind::softplus;
  const Index width = rows.x.cols(), size = width + (scaled ? 1 : 0);
  const auto loss_of = [&](const LinkFit& at) {
    return (rows.y - at.predict(rows.x)).squaredNorm();
  };
  double loss = loss_of(fit), damping = 1e-3;
  for (int step = 0; step < 80 && damping < 1e10; ++step) {
    const VectorXd z = rows.x * fit.weight;
    MatrixXd jacobian(rows.x.rows(), size);
    VectorXd residual(rows.x.rows());
    for (Index i = 0; i < z.size(); ++i) {
      const double slope = fit.link.slope(z[i]), value = fit.link(z[i]);
      jacobian.row(i).head(width) = slope * rows.x.row(i);
      if (scaled) jacobian(i, width) = value - z[i] * slope;  // by the logarithm of the scale
      residual[i] = rows.y[i] - value;
    }
    MatrixXd normal = jacobian.transpose() * jacobian;
    const VectorXd gradient = jacobian.transpose() * residual;
    const double before = loss;
    for (; damping < 1e10; damping *= 4) {
      MatrixXd damped = normal;
      damped.diagonal() *= 1 + damping;
      damped.diagonal().array() += 1e-12 * normal.diagonal().maxCoeff();
      const VectorXd move = damped.ldlt().solve(gradient);
      LinkFit next = fit;
      next.weight += move.head(width);
      if (scaled)
        next.link.scale =
            std::clamp(fit.link.scale * std::exp(std::clamp(move[width], -1.0, 1.0)), 1e-3, 1e2);
      const double then = loss_of(next);
      if (!(then < loss)) continue;
      fit = std::move(next);
      loss = then;
      damping = std::max(damping / 9, 1e-9);
      break;
    }
    if (before - loss <= 1e-8 * before) break;
  }
  return fit;
}

/// A model to bend: of which unit, and where it is kept.
struct LinkTask {
  std::int64_t unit;
  ProductModel* model;
};

void bend(const Regression& regression, const std::vector<LinkTask>& tasks,
          const ProductOptions& options) {
  const Split& split = regression.split();
  const auto rows = static_cast<std::int64_t>(split.train.size() + split.val.size());
  for (std::size_t begin = 0, end = 0; begin < tasks.size(); begin = end) {
    std::vector<std::int64_t> units;
    std::vector<std::vector<Feature>> features;
    std::int64_t bytes = 0;
    while (end < tasks.size()) {
      const auto width = static_cast<std::int64_t>(tasks[end].model->terms.size()) + 2;
      // With the working copies of the fit that runs in each thread.
      if (end > begin && (bytes += rows * width * 8) > options.memory_bytes / 8) break;
      units.push_back(tasks[end].unit);
      features.emplace_back();
      for (const ProductTerm& term : tasks[end].model->terms)
        features.back().push_back(Feature(regression, term));
      ++end;
    }
    std::vector<LinkRows> train(units.size()), val(units.size());
    const auto gather = [&](const Rows& of, std::vector<LinkRows>& into) {
      std::vector<Index> filled(units.size(), 0);
      read_features(regression, of, units, features, true, options.threads,
                    [&](std::size_t i, const MatrixXd& values) {
                      const Index width = values.cols() - 1;
                      LinkRows& here = into[i];
                      if (filled[i] == 0) {
                        here.x = MatrixXd::Ones(static_cast<Index>(of.size()), width + 1);
                        here.y = VectorXd::Zero(static_cast<Index>(of.size()));
                      }
                      here.x.block(filled[i], 0, values.rows(), width) = values.leftCols(width);
                      here.y.segment(filled[i], values.rows()) = values.col(width);
                      filled[i] += values.rows();
                    });
    };
    gather(split.train, train);
    gather(split.val, val);
    parallel_for(static_cast<std::int64_t>(units.size()), options.threads, [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      const LinkFit fit = fit_link(options.link, train[at]);
      ProductModel& model = *tasks[begin + at].model;
      const double on_train = pearson(fit.predict(train[at].x), train[at].y),
                   on_val = pearson(fit.predict(val[at].x), val[at].y);
      if (!(on_train + on_val > model.train + model.val)) return;
      std::vector<Index> all(model.terms.size());
      std::iota(all.begin(), all.end(), Index{0});
      const Index width = static_cast<Index>(all.size());
      model = model_of(regression, units[at], features[at], all, fit.weight.head(width),
                       fit.weight[width]);
      model.link = fit.link;
      model.link.scale *= regression.unit_std[static_cast<std::size_t>(units[at])];
      model.train = on_train;
      model.val = on_val;
    });
  }
}

}  // namespace

std::int64_t ProductModel::concepts() const {
  std::int64_t count = 0;
  for (const ProductTerm& term : terms) count += term.concepts();
  return count;
}

std::vector<ProductSelection> search_products(Regression& regression,
                                              const std::vector<std::int64_t>& units,
                                              const std::vector<Selection>& selections,
                                              const ProductOptions& options) {
  std::vector<ProductSelection> result(units.size());
  std::vector<std::int64_t> asked;
  std::vector<const Selection*> from;
  std::vector<std::size_t> place;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (selections[i].terms.empty()) continue;
    asked.push_back(units[i]);
    from.push_back(&selections[i]);
    place.push_back(i);
  }
  if (asked.empty()) return result;
  const auto features = candidates_of(regression, asked, from, options);
  const auto train =
      moments_of(regression, regression.split().train, asked, features, options.threads);
  const auto val = moments_of(regression, regression.split().val, asked, features, options.threads);
  std::vector<LinkTask> tasks;
  std::vector<std::int64_t> chosen(asked.size(), -1);
  parallel_for(static_cast<std::int64_t>(asked.size()), options.threads, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const auto singles = std::count_if(features[at].begin(), features[at].end(),
                                       [](const Feature& f) { return f.term.second < 0; });
    const CentredMoments fitted(train[at]), held(val[at]);
    if (!(fitted.mean_square > 0)) return;
    const double mean = train[at].sum[train[at].sum.size() - 1] / train[at].n;
    std::vector<LengthFound> lengths;
    const auto own = static_cast<std::int64_t>(from[at]->terms.size());
    for (const DenseTerms& set : sets_by_length(fitted, singles, own, options.search)) {
      double bias = mean;
      for (std::size_t t = 0; t < set.terms().size(); ++t)
        bias -= set.weight()[static_cast<Index>(t)] * train[at].sum[set.terms()[t]] / train[at].n;
      ProductModel model =
          model_of(regression, asked[at], features[at], set.terms(), set.weight(), bias);
      model.bias += regression.unit_mean[static_cast<std::size_t>(asked[at])];
      model.train = std::sqrt(std::max(0.0, set.explained() / fitted.mean_square));
      model.val = dense_correlation(held, set.terms(), set.weight());
      LengthFound found;
      found.terms = static_cast<std::int64_t>(lengths.size()) + 1;
      found.train = model.train;
      found.val = model.val;
      lengths.push_back(found);
      result[place[at]].lengths.push_back(std::move(model));
    }
    chosen[at] = options.products ? choose_length(lengths, options.search.term_price())
                                  : std::min(own, static_cast<std::int64_t>(lengths.size())) - 1;
  });
  for (std::size_t i = 0; i < asked.size(); ++i) {
    ProductSelection& selection = result[place[i]];
    if (chosen[i] >= 0) selection.chosen = selection.lengths[static_cast<std::size_t>(chosen[i])];
    if (options.link == Link::Kind::identity) continue;
    if (!selection.chosen.terms.empty()) tasks.push_back({asked[i], &selection.chosen});
    if (options.link_every_length)
      for (ProductModel& model : selection.lengths) tasks.push_back({asked[i], &model});
  }
  bend(regression, tasks, options);
  return result;
}

Explanation explanation_of(const Regression& regression,
                           const std::vector<std::string>& concept_names, std::int64_t k,
                           const ProductModel& model) {
  const auto name = [&](std::int64_t j) {
    return concept_names[static_cast<std::size_t>(
        regression.concepts[static_cast<std::size_t>(j)])];
  };
  Explanation explanation;
  explanation.unit = regression.units[static_cast<std::size_t>(k)];
  explanation.status = regression.status[static_cast<std::size_t>(k)];
  if (explanation.status != Status::ok) return explanation;
  if (model.terms.empty()) {
    explanation.status = Status::no_concept;
    return explanation;
  }
  for (std::size_t t = 0; t < model.terms.size(); ++t) {
    const ProductTerm& term = model.terms[t];
    std::string text = name(term.first);
    if (term.second >= 0) {
      Formula product{Formula::Kind::conjunction, "", {}};
      for (const std::int64_t j : {term.first, term.second})
        product.of.push_back({Formula::Kind::name, name(j), {}});
      text = to_text(product);
    }
    explanation.terms.push_back({std::move(text), model.weight[t]});
  }
  std::stable_sort(explanation.terms.begin(), explanation.terms.end(),
                   [](const Term& a, const Term& b) { return a.weight > b.weight; });
  explanation.bias = model.bias;
  explanation.text = to_text(model.link);
  explanation.val_correlation = model.val;
  return explanation;
}

}  // namespace linex
