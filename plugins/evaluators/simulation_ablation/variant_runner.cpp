#include "variant_runner.hpp"

#include <algorithm>

#include "core/data/loader.hpp"
#include "core/math/ablation.hpp"
#include "linex/error.hpp"
#include "linex/model.hpp"

namespace ablation {

namespace {

/// Images in one stacked pass: enough to keep two cores busy, few enough for their caches.
constexpr std::int64_t kStackedImages = 256;

}  // namespace

void check_labels(const torch::Tensor& labels, std::int64_t classes) {
  if (labels.numel() == 0 || labels.max().item<std::int64_t>() < classes) return;
  throw linex::input_error("evaluator/simulation_ablation: the data has label " +
                           std::to_string(labels.max().item<std::int64_t>()) +
                           " but the network has " + std::to_string(classes) +
                           " classes; the loss needs the classes it was trained on");
}

VariantRunner::VariantRunner(const linex::EvaluationInput& input, Fill fill,
                             const linex::PluginContext& context)
    : input_(input),
      fill_(fill),
      context_(context),
      batch_(context.run().batch > 0 ? context.run().batch : input.model->preferred_batch()) {}

Losses VariantRunner::losses(const std::string& title, const linex::Rows& rows,
                             const torch::Tensor& labels, const std::vector<Variant>& variants,
                             double temperature) {
  const auto n = static_cast<std::int64_t>(rows.size()),
             count = static_cast<std::int64_t>(variants.size());
  Losses result{torch::empty({n}), torch::empty({count, n})};
  const auto progress = context_.progress(title, n * count, "images");
  linex::BatchLoader loader(input_.data, rows, input_.model->preprocess(),
                            {batch_, context_.run().threads,
                             linex::batches_ahead(context_.run().device, context_.run().threads)});
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    const std::int64_t begin = batch.begin, size = batch.images.size(0);
    const auto tail = input_.model->split(batch.images, input_.layer);
    const auto output = tail->activation();
    const auto classes = labels.narrow(0, begin, size);
    const auto plain = tail->logits(output).to(torch::kCPU);
    check_labels(classes, plain.size(1));
    result.plain.narrow(0, begin, size)
        .copy_(linex::cross_entropy_rows(plain, classes, temperature));

    // A stacked pass holds a few copies of this layer's output; later layers are rarely larger.
    const std::int64_t bytes = output.numel() * 4 * 8;
    const std::int64_t stack = std::clamp<std::int64_t>(
        std::min(kStackedImages / size,
                 context_.run().memory_bytes / 4 / std::max<std::int64_t>(bytes, 1)),
        1, std::max<std::int64_t>(count, 1));
    std::int64_t unit = -1;  // whose pooled values `was` holds
    torch::Tensor was;
    for (std::int64_t first = 0; first < count; first += stack) {
      linex::check_cancelled(context_);
      const std::int64_t some = std::min(stack, count - first);
      auto shape = output.sizes().vec();
      shape.insert(shape.begin(), some);
      auto stacked = output.unsqueeze(0).expand(shape).clone(at::MemoryFormat::Contiguous);
      for (std::int64_t v = 0; v < some; ++v) {
        const Variant& variant = variants[static_cast<std::size_t>(first + v)];
        if (variant.unit != unit) {
          unit = variant.unit;
          was = pooled(output, unit, input_.pool);
        }
        replace_unit(stacked[v], variant.unit,
                     variant.values.narrow(0, begin, size).to(output.device()), was, input_.pool,
                     fill_);
      }
      shape.erase(shape.begin());
      shape[0] *= some;
      const auto logits = tail->logits(stacked.view(shape)).to(torch::kCPU);
      result.variants.narrow(0, first, some)
          .narrow(1, begin, size)
          .copy_(linex::cross_entropy_rows(logits, classes.repeat({some}), temperature)
                     .view({some, size}));
      progress->advance(some * size);
    }
  }
  return result;
}

torch::Tensor VariantRunner::plain_logits(const linex::Rows& rows) {
  std::vector<torch::Tensor> all;
  linex::BatchLoader loader(input_.data, rows, input_.model->preprocess(),
                            {batch_, context_.run().threads, 0});
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    linex::check_cancelled(context_);
    all.push_back(input_.model->forward(batch.images, {}, true).logits.to(torch::kCPU));
  }
  return torch::cat(all);
}

}  // namespace ablation
