// linex activations, linex concepts: one stage alone, as .npy files.
#include <numeric>
#include <optional>

#include "core/run/run_stages.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/math/row_source.hpp"
#include "toolkit/math/top_rows.hpp"

namespace linex {

namespace {

void write_labels(const Workplace& place, const std::shared_ptr<const DataSet>& data) {
  if (place.leads() && data && !data->labels().empty())
    write_npy(place.out() / "labels.npy", torch::tensor(data->labels(), torch::kInt64));
}

/// layer,unit,rank,row,image,activation: the images on which each unit is most active.
void write_top_images(const Workplace& place, const Source& source, const RecordedLayers& recorded,
                      const std::shared_ptr<const DataSet>& data) {
  constexpr std::int64_t kImages = 10;
  std::string table = csv_record({"layer", "unit", "rank", "row", "image", "activation"});
  for (std::size_t l = 0; l < recorded.layers.size(); ++l) {
    const auto& values = recorded.layers[l];
    Rows rows(static_cast<std::size_t>(values.size(0)));
    std::iota(rows.begin(), rows.end(), 0);
    TopRows top(values.size(1), kImages);
    top.add(values, rows.data(), place.settings().threads);
    for (std::int64_t unit = 0; unit < top.columns(); ++unit) {
      int rank = 0;
      for (const auto& item : top.of(unit))
        table += csv_record({source.layers[l], std::to_string(unit), std::to_string(++rank),
                             std::to_string(item.row), data ? data->name(item.row) : "",
                             format_number(item.value)});
    }
  }
  write_file_atomic(place.out() / "top_images.csv", table);
}

}  // namespace

int run_activations(PluginRegistry& registry, const Sections& raw) {
  StageClock clock;
  Workplace place(registry, raw);
  const auto data = place.open_data();
  const Source source = open_source(place, data);
  place.prepare_out();
  const auto recorded = record_activations(place, source, clock, true);
  for (std::size_t l = 0; l < source.layers.size(); ++l) {
    const auto& values = recorded.layers[l];
    const std::string name =
        source.layers.size() == 1 ? "activations.npy" : "activations." + source.layers[l] + ".npy";
    if (place.leads()) write_npy(place.out() / name, values);
    std::printf("%s: %lld rows, %lld units of %s\n", (place.out() / name).c_str(),
                static_cast<long long>(values.size(0)), static_cast<long long>(values.size(1)),
                source.layers[l].c_str());
  }
  if (place.leads() && recorded.logits.defined())
    write_npy(place.out() / "logits.npy", recorded.logits);
  if (place.leads()) write_top_images(place, source, recorded, data);
  write_labels(place, data);
  RunSummary summary;
  finish_run(place, summary, clock);
  return 0;
}

int run_concepts(PluginRegistry& registry, const Sections& raw) {
  StageClock clock;
  Workplace place(registry, raw);
  const auto data = place.open_data();
  const auto labeler = place.open_labeler(data);
  place.prepare_out();
  const auto names = labeler.object->concepts();
  clock.time("concepts", [&] {
    {
      const auto presence = labeler.object->presence();
      std::optional<NpyWriter> writer;
      if (place.leads())
        writer.emplace(place.out() / "concepts.npy",
                       std::vector<std::int64_t>{presence->rows(), presence->cols()});
      const auto bar = place.context().progress("concepts", presence->rows(), "rows");
      const RowSource source = presence_rows(*presence, all_columns(presence->cols()));
      constexpr std::int64_t kTile = 1024;
      const RunCluster& cluster = place.cluster();
      // Ranks compute one tile each, rank 0 writes them in order.
      for (std::int64_t begin = 0; begin < presence->rows(); begin += kTile * cluster.size()) {
        check_cancelled(place.context());
        Rows rows;
        for (std::int64_t row = begin + cluster.rank() * kTile;
             row < std::min(begin + (cluster.rank() + 1) * kTile, presence->rows()); ++row)
          rows.push_back(row);
        const auto count = static_cast<std::int64_t>(rows.size());
        std::string values(static_cast<std::size_t>(count * presence->cols()) * sizeof(float), 0);
        read_tile(source, rows, 0, count, place.settings().threads,
                  reinterpret_cast<float*>(values.data()));
        for (std::string& tile : cluster.gather(values)) {
          const std::int64_t of_tile = static_cast<std::int64_t>(tile.size() / sizeof(float)) /
                                       std::max<std::int64_t>(presence->cols(), 1);
          if (writer && of_tile > 0)
            writer->append(
                torch::from_blob(tile.data(), {of_tile, presence->cols()}, torch::kFloat32));
          bar->advance(of_tile);
        }
      }
      if (writer) writer->finish();
    }
  });
  std::string list;
  for (const auto& name : names) {
    if (name.find_first_of("\r\n") != std::string::npos)
      throw input_error(labeler.name + ": a concept's name holds a line end: '" + name + "'");
    list += name + "\n";
  }
  if (place.leads()) write_file_atomic(place.out() / "concept_names.txt", list);
  write_labels(place, data);
  RunSummary summary;
  finish_run(place, summary, clock);
  std::printf("%s: %zu concepts\n", (place.out() / "concepts.npy").c_str(), names.size());
  return 0;
}

}  // namespace linex
