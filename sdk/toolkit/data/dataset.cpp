#include "toolkit/data/dataset.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"

namespace linex {
namespace {

/// Fewer images than classes.
void warn_of_lost_classes(const DataSet& data, const DataOptions& options) {
  if (options.limit <= 0 || !options.log || data.labels().empty()) return;
  std::vector<bool> seen(data.class_names().size(), false);
  for (const auto label : data.labels()) seen[static_cast<std::size_t>(label)] = true;
  const auto present = std::count(seen.begin(), seen.end(), true);
  if (present == static_cast<std::ptrdiff_t>(seen.size())) return;
  options.log->warning("data.limit=" + std::to_string(options.limit) + " leaves images of " +
                       std::to_string(present) + " of " + std::to_string(seen.size()) + " classes");
}

}  // namespace

ListedDataSet::~ListedDataSet() = default;

const Listing* listing_of(const DataSet* data) {
  const auto* listed = dynamic_cast<const ListedDataSet*>(data);
  return listed ? &listed->listing() : nullptr;
}

Rows sample_rows(const std::vector<std::int64_t>& labels, std::int64_t n, std::int64_t limit,
                 std::uint64_t seed) {
  Rows rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  if (limit <= 0 || limit >= n) return rows;
  Random random(seed);
  random.shuffle(rows);
  std::map<std::int64_t, Rows> by_label;
  for (const std::int64_t row : rows)
    by_label[labels.empty() ? 0 : labels[static_cast<std::size_t>(row)]].push_back(row);
  std::vector<Rows> classes;
  for (auto& [label, members] : by_label) classes.push_back(std::move(members));
  random.shuffle(classes);  // whose turn it is when the limit is reached
  Rows chosen;
  for (std::size_t turn = 0; static_cast<std::int64_t>(chosen.size()) < limit; ++turn)
    for (const Rows& members : classes)
      if (turn < members.size() && static_cast<std::int64_t>(chosen.size()) < limit)
        chosen.push_back(members[turn]);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

const std::vector<std::string>& data_kinds() {
  static const std::vector<std::string> kinds{"image_folder", "cifar10", "cifar100",
                                              "places365",    "csv",     "webdataset"};
  return kinds;
}

std::shared_ptr<DataSet> open_data_set(const DataOptions& options) {
  if (options.root.empty())
    throw usage_error("data.root is not set; name the folder with the images");
  std::shared_ptr<DataSet> data;
  if (options.kind == "image_folder")
    data = open_image_folder(options);
  else if (options.kind == "cifar10" || options.kind == "cifar100")
    data = open_cifar(options, options.kind == "cifar10" ? 10 : 100);
  else if (options.kind == "places365")
    data = open_places365(options);
  else if (options.kind == "csv")
    data = open_path_csv(options);
  else if (options.kind == "webdataset")
    data = open_shards(options);
  else
    throw usage_error("unknown data.kind '" + options.kind + "'" +
                      did_you_mean(options.kind, data_kinds()) +
                      " (known: " + join(data_kinds(), ", ") + ")");
  warn_of_lost_classes(*data, options);
  return data;
}

}  // namespace linex
