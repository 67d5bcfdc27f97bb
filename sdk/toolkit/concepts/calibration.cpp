#include "toolkit/concepts/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"

namespace linex::concepts {
namespace {

/// log(1 + e^z) without overflow.
double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::fabs(z))); }
double logistic(double z) {
  const double e = std::exp(-std::fabs(z));
  return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

/// Loss, gradient and curvature in (a, d) for z = a·c + d.
struct Sums {
  double loss = 0, ga = 0, gd = 0, haa = 0, had = 0, hdd = 0;

  void add(double c, double y, double weight, double a, double d) {
    const double z = a * c + d, p = logistic(z);
    loss += weight * (softplus(z) - y * z);
    const double slope = weight * (p - y), bend = weight * p * (1 - p);
    ga += slope * c;
    gd += slope;
    haa += bend * c * c;
    had += bend * c;
    hdd += bend;
  }
  void add(const Sums& other) {
    loss += other.loss;
    ga += other.ga;
    gd += other.gd;
    haa += other.haa;
    had += other.had;
    hdd += other.hdd;
  }
};

/// Counts and sums of cosines of absent and present pairs by bin.
struct Histogram {
  std::array<std::vector<double>, 2> count, sum;

  explicit Histogram(std::size_t bins) {
    for (auto* list : {&count, &sum})
      for (auto& values : *list) values.assign(bins, 0.0);
  }
  template <class Use>  // use(mean cosine, truth, count)
  void each(const Use& use) const {
    for (std::size_t y = 0; y < 2; ++y)
      for (std::size_t k = 0; k < count[y].size(); ++k)
        if (count[y][k] > 0) use(sum[y][k] / count[y][k], static_cast<double>(y), count[y][k]);
  }
};

class Tiles {
 public:
  Tiles(const Presence& cosines, const Presence& truth, const Rows& rows,
        const CalibrationOptions& options)
      : cosines_(cosines), truth_(truth), rows_(rows), options_(options) {}

  /// Calls use(cosines, truths, n, part) for each tile in parallel, and then fold(part) in order.
  template <class Part, class Use, class Fold>
  void pass(const Part& empty, const Use& use, const Fold& fold) const {
    const auto n = static_cast<std::int64_t>(rows_.size());
    const std::int64_t tiles = (n + options_.tile_rows - 1) / options_.tile_rows;
    // A group of tiles at a time bounds what is held, whatever the number of rows.
    constexpr std::int64_t kGroup = 64;
    for (std::int64_t first = 0; first < tiles; first += kGroup) {
      const std::int64_t count = std::min(kGroup, tiles - first);
      std::vector<Part> parts(static_cast<std::size_t>(count), empty);
      parallel_for(count, options_.threads, [&](std::int64_t t) {
        const std::int64_t begin = (first + t) * options_.tile_rows;
        read(begin, std::min(options_.tile_rows, n - begin), use,
             parts[static_cast<std::size_t>(t)]);
      });
      for (const Part& part : parts) fold(part);
    }
  }

 private:
  template <class Part, class Use>
  void read(std::int64_t begin, std::int64_t n, const Use& use, Part& part) const {
    const std::int64_t cols = cosines_.cols();
    std::vector<float> cosine(static_cast<std::size_t>(n * cols));
    std::vector<float> present(static_cast<std::size_t>(n * cols));
    cosines_.read(Ids(rows_.data() + begin, n), Columns::all(), cosine.data());
    truth_.read(Ids(rows_.data() + begin, n), Columns::all(), present.data());
    use(cosine.data(), present.data(), n * cols, part);
  }

  const Presence& cosines_;
  const Presence& truth_;
  const Rows& rows_;
  const CalibrationOptions& options_;
};

Histogram make_histogram(const Tiles& tiles, std::int64_t bins) {
  const Histogram empty(static_cast<std::size_t>(bins));
  Histogram all = empty;
  tiles.pass(
      empty,
      [bins](const float* cosine, const float* present, std::int64_t n, Histogram& part) {
        for (std::int64_t i = 0; i < n; ++i) {
          const double c = static_cast<double>(cosine[i]);
          const double place = (c + 1) / 2 * static_cast<double>(bins);
          if (!(place > -1e6 && place < 1e6)) throw input_error("a cosine is not finite");
          const auto k = static_cast<std::size_t>(
              std::clamp<std::int64_t>(static_cast<std::int64_t>(place), 0, bins - 1));
          const std::size_t y = present[i] > 0.5F ? 1 : 0;
          part.count[y][k] += 1;
          part.sum[y][k] += c;
        }
      },
      [&](const Histogram& part) {
        for (std::size_t y = 0; y < 2; ++y)
          for (std::size_t k = 0; k < part.count[y].size(); ++k) {
            all.count[y][k] += part.count[y][k];
            all.sum[y][k] += part.sum[y][k];
          }
      });
  return all;
}

Sums sums_of(const Histogram& histogram, double a, double d) {
  Sums sums;
  histogram.each([&](double c, double y, double count) { sums.add(c, y, count, a, d); });
  return sums;
}

Sums sums_of(const Tiles& tiles, double a, double d) {
  Sums all;
  tiles.pass(
      Sums{},
      [a, d](const float* cosine, const float* present, std::int64_t n, Sums& part) {
        for (std::int64_t i = 0; i < n; ++i)
          part.add(static_cast<double>(cosine[i]), present[i] > 0.5F ? 1 : 0, 1, a, d);
      },
      [&](const Sums& part) { all.add(part); });
  return all;
}

struct Point {
  double a, d;
  std::int64_t iterations = 0;
  bool converged = false;
  double loss = 0;
};

/// Damped Newton from `start`; evaluate(a, d) gives the sums.
template <class Evaluate>
Point minimise(Point start, const CalibrationOptions& options, const Evaluate& evaluate) {
  Point at = start;
  at.converged = false;
  Sums sums = evaluate(at.a, at.d);
  for (at.iterations = 1; at.iterations < options.max_iterations;) {
    const double determinant = sums.haa * sums.hdd - sums.had * sums.had;
    if (!(determinant > 1e-12 * sums.haa * sums.hdd)) break;
    const double da = -(sums.hdd * sums.ga - sums.had * sums.gd) / determinant;
    const double dd = -(sums.haa * sums.gd - sums.had * sums.ga) / determinant;
    const double decrease = -(sums.ga * da + sums.gd * dd) / 2;
    if (decrease <= options.tolerance * sums.loss) {
      at.converged = true;
      break;
    }
    double step = 1;
    Sums next;
    do {
      next = evaluate(at.a + step * da, at.d + step * dd);
      ++at.iterations;
      step /= 2;
    } while (!(next.loss < sums.loss) && step > 1e-6 && at.iterations < options.max_iterations);
    if (!(next.loss < sums.loss)) {
      at.converged = decrease <= 1e-6 * sums.loss;  // rounding: no step helps any more
      break;
    }
    at.a += 2 * step * da;
    at.d += 2 * step * dd;
    sums = next;
  }
  at.loss = sums.loss;
  return at;
}

void search_grid(const Histogram& histogram, double pairs, Calibration& into) {
  std::vector<double> grid = {0.1, 0.25, 0.5, 0.75, 1};
  for (int a = 2; a <= 150; a += 2) grid.push_back(a);
  into.grid_loss = INFINITY;
  for (const double a : grid)
    for (int hundredth = -100; hundredth <= 100; ++hundredth) {
      const double b = hundredth / 100.0;
      double loss = 0;
      histogram.each([&](double c, double y, double count) {
        const double z = a * (c + b);
        loss += count * (softplus(z) - y * z);
      });
      loss /= pairs;
      if (loss < into.grid_loss) {
        into.grid_loss = loss;
        into.grid_sigmoid = {a, b};
      }
    }
}

}  // namespace

Calibration calibrate(const Presence& cosines, const Presence& truth, const Rows& rows,
                      const CalibrationOptions& options,
                      const std::function<void(std::int64_t)>& tick) {
  if (rows.empty() || cosines.cols() == 0)
    throw input_error("calibration needs images and concepts");
  if (cosines.cols() != truth.cols() || cosines.rows() != truth.rows())
    throw input_error("calibration: " + std::to_string(cosines.rows()) + "x" +
                      std::to_string(cosines.cols()) + " cosines and " +
                      std::to_string(truth.rows()) + "x" + std::to_string(truth.cols()) +
                      " labels do not belong together");
  const Tiles tiles(cosines, truth, rows, options);
  std::int64_t passes = 0;
  const auto done = [&] {
    if (tick) tick(++passes);
  };
  const Histogram histogram = make_histogram(tiles, options.bins);
  done();

  Calibration result;
  double positives = 0;
  histogram.each([&](double, double y, double count) {
    result.pairs += static_cast<std::int64_t>(count);
    positives += y * count;
  });
  result.positives = static_cast<std::int64_t>(positives);
  if (result.positives == 0 || result.positives == result.pairs)
    throw input_error("calibration needs images with and without the concepts; all " +
                      std::to_string(result.pairs) + " pairs have the same label");
  const double pairs = static_cast<double>(result.pairs);
  search_grid(histogram, pairs, result);

  // The histogram brings the start to within a bin's width, so that few passes remain.
  const Sigmoid& grid = result.grid_sigmoid;
  const Point start = minimise({grid.a, grid.a * grid.b}, options,
                               [&](double a, double d) { return sums_of(histogram, a, d); });
  const Point best = minimise(start, options, [&](double a, double d) {
    const Sums sums = sums_of(tiles, a, d);
    done();
    return sums;
  });
  result.sigmoid = {best.a, best.d / best.a};
  result.loss = best.loss / pairs;
  result.iterations = best.iterations;
  result.converged = best.converged && best.a > 0;
  return result;
}

}  // namespace linex::concepts
