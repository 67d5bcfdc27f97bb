// linex calibrate: fits presence σ(a·(cos + b)) of a vision-text model to labelled images.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/run/run_stages.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/calibration.hpp"

namespace linex {

namespace {

/// Share of `rows` that show each concept.
std::vector<double> shares(const Presence& truth, const Rows& rows) {
  const std::int64_t cols = truth.cols();
  std::vector<double> share(static_cast<std::size_t>(cols), 0.0);
  std::vector<float> row(static_cast<std::size_t>(cols));
  for (const std::int64_t id : rows) {
    truth.read(Ids(&id, 1), Columns::all(), row.data());
    for (std::size_t j = 0; j < row.size(); ++j) share[j] += row[j] > 0.5F ? 1.0 : 0.0;
  }
  for (double& value : share) value /= static_cast<double>(rows.size());
  return share;
}

double parse_share(const std::string& text) {
  std::size_t used = 0;
  double share = 0;
  try {
    share = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  if (used == 0 || used != text.size() || !(share > 0 && share <= 1))
    throw usage_error("--max-share is '" + text + "'; give a number above 0, up to 1");
  return share;
}

}  // namespace

int run_calibrate(PluginRegistry& registry, const Sections& raw, const std::string& max_share) {
  const double most = max_share.empty() ? 0.3 : parse_share(max_share);
  StageClock clock;
  Sections sections = raw;
  if (sections["simulator"]["plugin"].empty())
    throw usage_error(
        "linex calibrate fits simulator.plugin (siglip or clip) to the labels of labeler.plugin "
        "(label or recorded); name both");
  sections["simulator"]["presence"] = "cosine";
  Workplace place(registry, sections);
  const auto data = place.open_data();
  if (!data) throw usage_error("data.root: calibration needs labelled images; name their folder");
  const auto labeler = place.open_labeler(data);
  const auto model = place.open_simulator(data, labeler);
  place.prepare_out();
  const Rows train = place.open_split(data->size(), data.get()).train;

  const auto truth = labeler.object->presence();
  const auto names = labeler.object->concepts();
  const auto share = shares(*truth, train);
  std::vector<std::int64_t> kept;
  std::vector<std::string> kept_names;
  for (std::size_t j = 0; j < names.size(); ++j)
    if (share[j] <= most) {
      kept.push_back(static_cast<std::int64_t>(j));
      kept_names.push_back(names[j]);
    }
  if (kept.empty())
    throw input_error("every concept is in more than " + format_number(most) +
                      " of the images; raise --max-share");
  if (kept.size() < names.size())
    place.log().info(std::to_string(names.size() - kept.size()) + " concepts in more than " +
                     format_number(most) + " of the images are left out (--max-share)");

  concepts::CalibrationOptions options;
  options.threads = place.settings().threads;
  const auto cosines =
      clock.time("concepts", [&] { return model.object->presence_of(kept_names); });
  const concepts::Calibration fit = clock.time("solve", [&] {
    return concepts::calibrate(*cosines, *select_columns(truth, kept), train, options,
                               [&](std::int64_t) { check_cancelled(place.context()); });
  });
  if (!fit.converged)
    place.log().warning(
        "the fit did not converge: the model may tell all these concepts apart without an error");

  const nlohmann::ordered_json json{
      {"a", fit.sigmoid.a},
      {"b", fit.sigmoid.b},
      {"loss", fit.loss},
      {"converged", fit.converged},
      {"passes", fit.iterations},
      {"images", train.size()},
      {"concepts", kept.size()},
      {"pairs", fit.pairs},
      {"positives", fit.positives},
      {"grid", {{"a", fit.grid_sigmoid.a}, {"b", fit.grid_sigmoid.b}, {"loss", fit.grid_loss}}}};
  write_file_atomic(place.out() / "calibration.json", json.dump(2) + "\n");
  RunSummary summary;
  finish_run(place, summary, clock);
  std::printf(
      "a=%.4g b=%.4g: mean binary cross-entropy %.6g over %zu train images and %zu concepts\n"
      "(best of the published grid: a=%g b=%g, %.6g). Use it with\n"
      "  --labeler.a=%.6g --labeler.b=%.6g\n",
      fit.sigmoid.a, fit.sigmoid.b, fit.loss, train.size(), kept.size(), fit.grid_sigmoid.a,
      fit.grid_sigmoid.b, fit.grid_loss, fit.sigmoid.a, fit.sigmoid.b);
  return 0;
}

}  // namespace linex
