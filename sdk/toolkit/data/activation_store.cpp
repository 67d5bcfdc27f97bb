#include "toolkit/data/activation_store.hpp"

#include <algorithm>

#include "linex/ability.hpp"
#include "linex/error.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/row_store.hpp"
#include "toolkit/data/wide_layers.hpp"

namespace linex {
namespace {

constexpr std::int64_t kShardRows = 256;

/// One matrix in the making: a layer, or the logits.
struct Column {
  std::string layer;  // empty: the logits
  std::unique_ptr<RowStore> store;
  std::vector<torch::Tensor> shards;

  bool has(std::int64_t shard) const { return shards[static_cast<std::size_t>(shard)].defined(); }
};

std::string key_of(const TargetModel& model, const DataSet& data, const Column& column,
                   const ActivationRequest& request, const PluginContext& context) {
  const std::string what = column.layer.empty()
                               ? "logits"
                               : "layer=" + column.layer + " pool=" + to_string(request.pool);
  return "model=" + model.fingerprint() + " " + what + " " + model.preprocess().describe() +
         " data=" + data.fingerprint() + " rows=" + std::to_string(data.size()) +
         (request.half ? " float16" : " float32") +
         (context.run().device == "cpu" ? " cpu" : " cuda");
}

void check_finite(const torch::Tensor& values, const std::string& what, const DataSet& data,
                  std::int64_t first_row) {
  if (torch::isfinite(values).all().item<bool>()) return;
  const torch::Tensor bad = torch::nonzero(torch::isfinite(values).logical_not())[0];
  throw input_error(what + " is not finite for unit " +
                    std::to_string(bad[1].item<std::int64_t>()) + " of image " +
                    data.name(first_row + bad[0].item<std::int64_t>()) +
                    "; check the weights and the preprocessing");
}

void read_stored(std::vector<Column>& columns, const Cluster* cluster) {
  for (auto& column : columns) {
    if (cluster) {
      exchange_shards(*cluster, *column.store, column.shards);
      continue;
    }
    for (std::int64_t shard = 0; shard < column.store->shards(); ++shard)
      if (!column.has(shard))
        column.shards[static_cast<std::size_t>(shard)] = column.store->read(shard);
  }
}

/// Shards that some column lacks.
std::vector<std::int64_t> missing_shards(const std::vector<Column>& columns) {
  std::vector<std::int64_t> missing;
  for (std::int64_t shard = 0; shard < columns.front().store->shards(); ++shard)
    if (std::any_of(columns.begin(), columns.end(),
                    [&](const Column& column) { return !column.has(shard); }))
      missing.push_back(shard);
  return missing;
}

/// Pooled outputs of one batch for the columns that lack `shard`, appended to `parts`.
void run_batch(TargetModel& model, const DataSet& data, const ActivationRequest& request,
               const std::vector<Column>& columns, std::int64_t shard, std::int64_t first_row,
               const torch::Tensor& images, std::vector<std::vector<torch::Tensor>>& parts) {
  std::vector<std::string> layers;
  bool logits = false;
  for (const auto& column : columns) {
    if (column.has(shard)) continue;
    if (column.layer.empty())
      logits = true;
    else
      layers.push_back(column.layer);
  }
  const auto* wide = ability<WideLayers>(model);
  const ForwardResult result = wide ? wide->forward_pooled(images, layers, logits, request.pool)
                                    : model.forward(images, layers, logits);
  std::size_t next = 0;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].has(shard)) continue;
    const bool is_logits = columns[i].layer.empty();
    if (is_logits && !result.logits.defined()) continue;  // a checkpoint may lack its head
    torch::Tensor values;
    if (is_logits)
      values = result.logits.to(torch::kFloat32).contiguous();
    else if (wide)
      values = result.layers.at(next++);
    else
      values = pool_output(result.layers.at(next++), request.pool, columns[i].layer);
    check_finite(values, is_logits ? "a logit" : "the activation of layer " + columns[i].layer,
                 data, first_row);
    parts[i].push_back(std::move(values));
  }
}

/// Asked of one image.
bool has_logits(TargetModel& model, const DataSet& data) {
  const auto image = load_batch(data, {0}, model.preprocess(), 1);
  return model.forward(image, {}, true).logits.defined();
}

/// Computes and stores the missing shards, in a cluster each rank a share of them; returns the
/// number of images run.
std::int64_t compute_missing(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                             const ActivationRequest& request, const PluginContext& context,
                             std::int64_t batch, std::vector<Column>& columns) {
  auto missing = missing_shards(columns);
  if (missing.empty()) return 0;
  const auto* const cluster = ability<Cluster>(context);
  const RowStore& shape = *columns.front().store;
  std::int64_t total = 0;
  for (const auto shard : missing) total += shape.end(shard) - shape.begin(shard);
  const Share share = share_of(static_cast<std::int64_t>(missing.size()), 1, cluster);
  missing = {missing.begin() + share.begin, missing.begin() + share.end};
  Rows rows;
  for (const auto shard : missing)
    for (std::int64_t row = shape.begin(shard); row < shape.end(shard); ++row) rows.push_back(row);

  const RunSettings& run = context.run();
  BatchLoader loader(data, rows, model.preprocess(),
                     {batch, run.threads, batches_ahead(run.device, run.threads)});
  const auto progress = context.progress("activations", total, "images");
  for (const auto shard : missing) {
    std::vector<std::vector<torch::Tensor>> parts(columns.size());
    // Shards are whole batches, so that none straddles two of them.
    for (std::int64_t row = shape.begin(shard); row < shape.end(shard);) {
      check_cancelled(context);
      const auto loaded = loader.next();
      run_batch(model, *data, request, columns, shard, row, loaded.images, parts);
      row += loaded.images.size(0);
      progress->advance(loaded.images.size(0) * ranks_of(cluster));
    }
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (parts[i].empty()) continue;
      torch::Tensor values = columns[i].store->rounded(torch::cat(parts[i]));
      columns[i].store->write(shard, values);
      columns[i].shards[static_cast<std::size_t>(shard)] = std::move(values);
    }
  }
  if (cluster) read_stored(columns, cluster);
  return total;
}

}  // namespace

Activations extract_activations(TargetModel& model, const std::shared_ptr<const DataSet>& data,
                                const ActivationRequest& request, const PluginContext& context) {
  if (data->size() == 0) throw input_error("the data set has no images");
  const torch::NoGradGuard no_gradients;
  const std::int64_t batch = batch_size(model, context.run());

  std::vector<std::string> names = request.layers;
  if (request.logits) names.emplace_back();
  std::vector<Column> columns;
  for (const auto& name : names) {
    Column column;
    column.layer = name;
    RowStoreOptions options;
    options.cache = context.run().cache;
    options.kind = "activations";
    options.rows = data->size();
    options.shard_rows = (kShardRows + batch - 1) / batch * batch;
    options.half = request.half;
    options.key = key_of(model, *data, column, request, context);
    column.store = std::make_unique<RowStore>(options, context.log());
    column.shards.resize(static_cast<std::size_t>(column.store->shards()));
    columns.push_back(std::move(column));
  }
  if (columns.empty()) return {};

  const auto* const cluster = ability<Cluster>(context);
  read_stored(columns, cluster);
  const auto incomplete = [](const Column& column) {
    return std::any_of(column.shards.begin(), column.shards.end(),
                       [](const torch::Tensor& shard) { return !shard.defined(); });
  };
  if (request.logits && incomplete(columns.back()) && !has_logits(model, *data)) {
    context.log().warning("the network has no logits: its output is not (images, classes)");
    columns.pop_back();
    if (columns.empty()) return {};
  }
  if (!missing_shards(columns).empty()) {
    // One order for all runs, so that two with common layers cannot wait for each other in a ring.
    std::vector<RowStore*> stores;
    for (auto& column : columns) stores.push_back(column.store.get());
    std::sort(stores.begin(), stores.end(),
              [](const RowStore* a, const RowStore* b) { return a->id() < b->id(); });
    const auto same = [](const RowStore* a, const RowStore* b) { return a->id() == b->id(); };
    stores.erase(std::unique(stores.begin(), stores.end(), same), stores.end());
    // One rank keeps other runs out for all.
    if (!cluster || cluster->rank() == 0)
      for (auto* store : stores) store->lock(context);
    read_stored(columns, cluster);
  }
  Activations result;
  result.computed = compute_missing(model, data, request, context, batch, columns);
  for (auto& column : columns) {
    if (column.layer.empty() && !column.has(0)) continue;
    torch::Tensor matrix = torch::cat(column.shards);
    column.shards.clear();
    if (column.layer.empty())
      result.logits = std::move(matrix);
    else
      result.layers.push_back(std::move(matrix));
  }
  return result;
}

}  // namespace linex
