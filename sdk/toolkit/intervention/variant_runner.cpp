#include "toolkit/intervention/variant_runner.hpp"

#include <algorithm>

#include "linex/ability.hpp"
#include "linex/cluster.hpp"
#include "linex/error.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/intervention/ablation.hpp"

namespace linex {

namespace {

/// Images in one stacked pass: enough to keep a few cores busy, few enough for their caches.
constexpr std::int64_t kStackedImages = 256;

/// Rows that a rank takes, in whole batches: what a picture comes to may depend on its neighbours.
class DealtRows {
 public:
  DealtRows(const VariantJob& job, const Rows& rows, const PluginContext& context)
      : cluster_(ability<Cluster>(context)),
        rows_(rows),
        batch_(batch_size(job.model, context.run())),
        mine_(share(cluster_ ? cluster_->rank() : 0)) {}

  Share mine() const { return mine_; }
  /// Batches of this rank's rows; their `begin` is counted from mine().begin.
  BatchLoader load(const VariantJob& job, const PluginContext& context) const {
    const int threads = context.run().threads;
    return {job.data,
            {rows_.begin() + mine_.begin, rows_.begin() + mine_.end},
            job.model.preprocess(),
            {batch_, threads, batches_ahead(context.run().device, threads)}};
  }
  /// The ranks' parts of dimension `dim` of `values` come together on all ranks.
  void gather(torch::Tensor& values, std::int64_t dim) const {
    if (ranks_of(cluster_) == 1) return;
    const torch::Tensor own = values.narrow(dim, mine_.begin, mine_.size()).contiguous();
    const auto all = cluster_->gather({static_cast<const char*>(own.data_ptr()), own.nbytes()});
    for (int rank = 0; rank < cluster_->size(); ++rank) {
      const Share part = share(rank);
      if (rank == cluster_->rank() || part.size() == 0) continue;
      auto shape = values.sizes().vec();
      shape[static_cast<std::size_t>(dim)] = part.size();
      const std::string& bytes = all[static_cast<std::size_t>(rank)];
      values.narrow(dim, part.begin, part.size())
          .copy_(torch::from_blob(const_cast<char*>(bytes.data()), shape, values.options()));
    }
  }

 private:
  Share share(int rank) const {
    return share_of(static_cast<std::int64_t>(rows_.size()), batch_, rank, ranks_of(cluster_));
  }

  const Cluster* cluster_;
  const Rows& rows_;
  std::int64_t batch_;
  Share mine_;
};

/// `count` copies of a layer's output (n, ...), each with its variant in place: (count·n, ...).
torch::Tensor stack_variants(const torch::Tensor& output, const std::vector<Variant>& variants,
                             std::int64_t first, std::int64_t count, std::int64_t row,
                             const VariantJob& job) {
  auto shape = output.sizes().vec();
  shape.insert(shape.begin(), count);
  auto stacked = output.unsqueeze(0).expand(shape).clone(at::MemoryFormat::Contiguous);
  std::int64_t unit = -1;  // whose pooled values `was` holds
  torch::Tensor was;
  for (std::int64_t v = 0; v < count; ++v) {
    const Variant& variant = variants[static_cast<std::size_t>(first + v)];
    if (variant.unit != unit) {
      unit = variant.unit;
      was = pooled_unit(output, unit, job.pool);
    }
    replace_unit(stacked[v], unit,
                 variant.values.narrow(0, row, output.size(0)).to(output.device()), was, job.pool,
                 job.fill);
  }
  shape.erase(shape.begin());
  shape[0] *= count;
  return stacked.view(shape);
}

torch::Tensor correct(const torch::Tensor& logits, const torch::Tensor& labels) {
  return logits.argmax(1).eq(labels).to(torch::kUInt8);
}

}  // namespace

torch::Tensor labels_of(const DataSet& data, const Rows& rows) {
  if (data.labels().empty())
    throw input_error(
        "the loss needs class labels, and the images have none; use an image folder "
        "with one sub-folder a class");
  std::vector<std::int64_t> labels;
  for (const auto row : rows) labels.push_back(data.labels()[static_cast<std::size_t>(row)]);
  return torch::tensor(labels, torch::kInt64);
}

void check_labels(const torch::Tensor& labels, std::int64_t classes) {
  if (labels.numel() == 0 || labels.max().item<std::int64_t>() < classes) return;
  throw input_error("the data has label " + std::to_string(labels.max().item<std::int64_t>()) +
                    " but the network has " + std::to_string(classes) +
                    " classes; the loss needs the classes it was trained on");
}

VariantOutcome run_variants(const std::string& title, const VariantJob& job, const Rows& rows,
                            const std::vector<Variant>& variants, double temperature,
                            const PluginContext& context) {
  const auto n = static_cast<std::int64_t>(rows.size()),
             count = static_cast<std::int64_t>(variants.size());
  const auto labels = labels_of(*job.data, rows);
  VariantOutcome result{torch::empty({n}, torch::kFloat64),
                        torch::empty({count, n}, torch::kFloat64), torch::empty({n}, torch::kUInt8),
                        torch::empty({count, n}, torch::kUInt8)};
  const auto progress = context.progress(title, n * count, "images");
  const DealtRows dealt(job, rows, context);
  const int ranks = ranks_of(ability<Cluster>(context));
  auto loader = dealt.load(job, context);
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    const std::int64_t begin = dealt.mine().begin + batch.begin, size = batch.images.size(0);
    const auto tail = job.model.split(batch.images, job.layer);
    const auto output = tail->activation();
    const auto classes = labels.narrow(0, begin, size);
    const auto plain = tail->logits(output).to(torch::kCPU);
    check_labels(classes, plain.size(1));
    result.plain.narrow(0, begin, size)
        .copy_(intervention::log_odds_rows(plain, classes, temperature));
    result.plain_correct.narrow(0, begin, size).copy_(correct(plain, classes));

    // A stacked pass holds a few copies of this layer's output; later layers are rarely larger.
    const std::int64_t bytes = std::max<std::int64_t>(output.numel() * 4 * 8, 1);
    const std::int64_t stack = std::clamp<std::int64_t>(
        std::min(kStackedImages / size, context.run().memory_bytes / 4 / bytes), 1,
        std::max<std::int64_t>(count, 1));
    for (std::int64_t first = 0; first < count; first += stack) {
      check_cancelled(context);
      const std::int64_t some = std::min(stack, count - first);
      const auto logits =
          tail->logits(stack_variants(output, variants, first, some, begin, job)).to(torch::kCPU);
      const auto wanted = classes.repeat({some});
      const auto place = [&](torch::Tensor& matrix) {
        return matrix.narrow(0, first, some).narrow(1, begin, size);
      };
      place(result.variants)
          .copy_(intervention::log_odds_rows(logits, wanted, temperature).view({some, size}));
      place(result.variants_correct).copy_(correct(logits, wanted).view({some, size}));
      progress->advance(some * size * ranks);
    }
  }
  dealt.gather(result.plain, 0);
  dealt.gather(result.variants, 1);
  dealt.gather(result.plain_correct, 0);
  dealt.gather(result.variants_correct, 1);
  return result;
}

torch::Tensor plain_logits(const VariantJob& job, const Rows& rows, const PluginContext& context) {
  std::vector<float> mine;
  const DealtRows dealt(job, rows, context);
  auto loader = dealt.load(job, context);
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    check_cancelled(context);
    const torch::Tensor logits = job.model.forward(batch.images, {}, true).logits;
    if (!logits.defined())
      throw input_error(
          "the network has no logits, which removing units is measured by; give the "
          "whole network with its head");
    const torch::Tensor here = logits.to(torch::kCPU, torch::kFloat32).contiguous();
    mine.insert(mine.end(), here.data_ptr<float>(), here.data_ptr<float>() + here.numel());
  }
  const auto all = gather_shares(ability<Cluster>(context), mine);
  return torch::tensor(all).view({static_cast<std::int64_t>(rows.size()), -1});
}

}  // namespace linex
