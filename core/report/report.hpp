// report/index.html: a run as a page people look at.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/pool.hpp"

namespace linex {

/// One method's explanations of one layer.
struct ReportMethod {
  std::vector<Explanation> explanations;
  std::vector<ScoreColumn> scores;      ///< over explanations
  ConceptLabeler* simulator = nullptr;  ///< attached; null = no predicted activations
  /// Share of resamples in which a term came back, by unit and term; empty where nobody looked.
  std::map<std::pair<std::int64_t, std::string>, double> frequency = {};
};

struct ReportLayer {
  std::string name;
  Pool pool = Pool::avg;
  torch::Tensor activations;          ///< float32 (N, K), or undefined: texts and scores only
  std::vector<ReportMethod> methods;  ///< one for each of Report::methods
};

/// Everything a page shows. Objects are lent for the duration of write_report().
struct Report {
  std::string title;
  std::vector<std::string> facts;    ///< short phrases below the title
  std::vector<std::string> methods;  ///< their names
  std::vector<ReportLayer> layers;
  Split split;
  std::shared_ptr<const DataSet> data;  ///< null: no images
  TargetModel* model = nullptr;         ///< null: no maps
  std::vector<std::string> warnings;
  std::map<std::string, std::map<std::string, std::string>> options;
  /// ScoreColumn::sanity by layer and score.
  std::map<std::string, std::map<std::string, std::map<std::string, double>>> sanity;
};

struct ReportOptions {
  std::int64_t images = 3000;  ///< at most this many thumbnails, the highest ranks first; 0 = none
  std::int64_t thumbnail = 112;  ///< longer side in pixels; smaller images keep their size
  std::int64_t map_side = 14;    ///< maps are averaged down to this
  std::int64_t sample = 240;     ///< points of a predicted-and-actual plot
};

/// Writes `folder`/index.html: one file that opens from disk without a network. What only a unit's
/// card shows (images, maps, plots) comes last in it, as text that is parsed when a card is shown.
/// Same input, same bytes. Throws Error(input) where the folder cannot be written or an image not
/// be read.
void write_report(const std::filesystem::path& folder, const Report& report,
                  const ReportOptions& options, const PluginContext& context);

}  // namespace linex
