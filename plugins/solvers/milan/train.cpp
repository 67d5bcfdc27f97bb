// Training of a small MILAN: teacher forcing, AdamW, early stopping on held-out captions.
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "linex/error.hpp"
#include "milan.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/net/adamw.hpp"

namespace linex {

namespace {

/// One thread for LibTorch while it lives: sums then have one order.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/// The parameters as leaves of a graph.
std::vector<torch::Tensor> leaves(Parameters& parameters) {
  std::vector<torch::Tensor> all;
  for (auto& [name, tensor] : parameters) {
    tensor = tensor.clone().requires_grad_(true);
    all.push_back(tensor);
  }
  return all;
}

Parameters snapshot(const Parameters& parameters) {
  Parameters copy;
  for (const auto& [name, tensor] : parameters) copy[name] = tensor.detach().clone();
  return copy;
}

/// Zeros a share of the values and scales the others, from our own generator.
torch::Tensor drop(const torch::Tensor& values, double share, Random& random) {
  if (share <= 0) return values;
  torch::Tensor keep = torch::empty(values.sizes().vec());
  float* const to = keep.data_ptr<float>();
  const auto kept = static_cast<float>(1 / (1 - share));
  for (std::int64_t i = 0; i < keep.numel(); ++i) to[i] = random.uniform() < share ? 0.0F : kept;
  return values * keep;
}

/// A caption of a unit; `unit` is -1 where only the words matter.
struct Example {
  std::int64_t unit;
  std::vector<std::int64_t> words;  // length + 1 ids, stop and pads included
};

struct Batch {
  torch::Tensor units, words;  // int64 (n) and (n, length + 1)
};

Batch gather(const std::vector<Example>& examples, const std::vector<std::size_t>& order,
             std::size_t begin, std::size_t end) {
  const auto n = static_cast<std::int64_t>(end - begin);
  const auto length = static_cast<std::int64_t>(examples.front().words.size());
  Batch batch{torch::empty({n}, torch::kInt64), torch::empty({n, length}, torch::kInt64)};
  for (std::int64_t i = 0; i < n; ++i) {
    const Example& example = examples[order[begin + static_cast<std::size_t>(i)]];
    batch.units.data_ptr<std::int64_t>()[i] = example.unit;
    std::copy(example.words.begin(), example.words.end(),
              batch.words.data_ptr<std::int64_t>() + i * length);
  }
  return batch;
}

/// Loss of a batch: the mean over its words, and what training adds to it.
struct Loss {
  torch::Tensor likelihood, penalty;
};
using LossOf = std::function<Loss(const Batch&, Random* dropout)>;

struct Schedule {
  std::string title;
  std::uint64_t seed;
  std::size_t batch;
};

/// The loop both networks share. `parameters` end as the best ones on `held_out`.
void fit(Parameters& parameters, const LossOf& loss_of, const std::vector<Example>& train,
         const std::vector<Example>& held_out, const Schedule& schedule,
         const MilanTrainOptions& options, const PluginContext& context) {
  std::vector<torch::Tensor> trained = leaves(parameters);
  AdamWOptions how;
  how.decay = options.weight_decay;
  AdamW optimizer(trained, how);
  Random random(schedule.seed);
  std::vector<std::size_t> order(train.size()), plain(held_out.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::iota(plain.begin(), plain.end(), std::size_t{0});
  Parameters best = snapshot(parameters);
  double least = std::numeric_limits<double>::infinity();
  std::int64_t since_best = 0;
  const auto progress = context.progress(schedule.title, options.epochs, "epochs");
  for (std::int64_t epoch = 0; epoch < options.epochs && since_best < options.patience; ++epoch) {
    check_cancelled(context);
    random.shuffle(order);
    for (std::size_t begin = 0; begin < order.size(); begin += schedule.batch) {
      const auto end = std::min(order.size(), begin + schedule.batch);
      const Loss loss = loss_of(gather(train, order, begin, end), &random);
      (loss.likelihood + loss.penalty).backward();
      std::vector<torch::Tensor> gradients;
      for (torch::Tensor& tensor : trained)
        gradients.push_back(std::exchange(tensor.mutable_grad(), torch::Tensor()));
      optimizer.step(gradients, options.learning_rate);
    }
    const torch::NoGradGuard no_gradients;
    double sum = 0, words = 0;
    for (std::size_t begin = 0; begin < plain.size(); begin += schedule.batch) {
      const auto end = std::min(plain.size(), begin + schedule.batch);
      const double n = static_cast<double>(end - begin);
      sum += n * loss_of(gather(held_out, plain, begin, end), nullptr).likelihood.item<double>();
      words += n;
    }
    progress->advance(1);
    ++since_best;
    if (!(sum / words < least)) continue;
    least = sum / words;
    since_best = 0;
    best = snapshot(parameters);
  }
  parameters = std::move(best);
}

/// Mean of −log p over words that are no pads. (n, t, V) and (n, t).
torch::Tensor word_loss(const torch::Tensor& log_probabilities, const torch::Tensor& words,
                        std::int64_t pad) {
  const auto real = words.ne(pad).to(torch::kFloat32);
  const auto each = log_probabilities.gather(2, words.unsqueeze(2)).squeeze(2);
  return -(each * real).sum() / real.sum();
}

torch::Tensor shifted(const torch::Tensor& words, std::int64_t start) {
  return torch::cat({torch::full({words.size(0), 1}, start, torch::kInt64),
                     words.narrow(1, 0, words.size(1) - 1)},
                    1);
}

void check(const CaptionedUnits& data) {
  if (data.features.dim() != 3 ||
      data.features.size(0) != static_cast<std::int64_t>(data.captions.size()))
    throw input_error("milan-train: features of " + std::to_string(data.features.size(0)) +
                      " units, captions of " + std::to_string(data.captions.size()));
  if (data.captions.size() < 2)
    throw input_error("milan-train: captions of at least two units are needed");
  for (std::size_t i = 0; i < data.captions.size(); ++i)
    if (data.captions[i].empty())
      throw input_error("milan-train: unit " + std::to_string(i) + " has no caption");
}

}  // namespace

Milan train_milan(const CaptionedUnits& data, const MilanTrainOptions& options,
                  const PluginContext& context) {
  check(data);
  const OneThread one_thread;
  std::vector<std::string> texts;
  for (const auto& captions : data.captions)
    texts.insert(texts.end(), captions.begin(), captions.end());
  Milan milan;
  milan.vocabulary = Vocabulary::of(texts);
  milan.length = options.length;
  const Vocabulary& words = milan.vocabulary;

  // Whole units are held out: their captions are not independent.
  std::vector<std::size_t> units(data.captions.size());
  std::iota(units.begin(), units.end(), std::size_t{0});
  Random random = Random::stream(options.seed, 2);
  random.shuffle(units);
  const auto held = static_cast<std::size_t>(
      std::clamp<double>(std::round(options.hold_out * static_cast<double>(units.size())), 1,
                         static_cast<double>(units.size() - 1)));
  std::vector<Example> train, held_out;
  for (std::size_t i = 0; i < units.size(); ++i)
    for (const auto& caption : data.captions[units[i]])
      (i < held ? held_out : train)
          .push_back({static_cast<std::int64_t>(units[i]), words.encode(caption, options.length)});

  DecoderSizes sizes;
  sizes.vocabulary = words.size();
  sizes.features = data.features.size(2);
  sizes.embedding = options.embedding;
  sizes.hidden = options.hidden;
  sizes.attention = std::min(options.hidden, sizes.features);
  milan.decoder = CaptionDecoder::initial(sizes, options.seed);
  const auto batch = static_cast<std::size_t>(options.batch);
  fit(
      milan.decoder,
      [&](const Batch& examples, Random* dropout) {
        const CaptionDecoder decoder(milan.decoder, words.size(), "milan-train");
        const auto features = data.features.index_select(0, examples.units);
        const auto context_of = decoder.attend_to(features);
        auto state = decoder.start(features);
        const auto inputs = shifted(examples.words, words.start());
        torch::Tensor attended = torch::zeros({features.size(0), features.size(1)});
        std::vector<torch::Tensor> outputs;
        for (std::int64_t t = 0; t < inputs.size(1); ++t) {
          const auto step = decoder.step(context_of, inputs.select(1, t), state);
          outputs.push_back(dropout ? drop(step.output, options.dropout, *dropout) : step.output);
          attended = attended + step.attention;
          state = step.state;
        }
        const auto predicted = decoder.log_probabilities(torch::stack(outputs, 1));
        return Loss{word_loss(predicted, examples.words, words.pad()),
                    options.attention_penalty * (1 - attended).pow(2).mean()};
      },
      train, held_out, {"train decoder", options.seed + 1, batch}, options, context);

  LanguageModelSizes language;
  language.vocabulary = words.size();
  language.embedding = options.embedding;
  language.hidden = options.hidden;
  milan.language = LanguageModel::initial(language, options.seed);
  fit(
      milan.language,
      [&](const Batch& examples, Random* dropout) {
        const LanguageModel model(milan.language, words.size(), "milan-train");
        LanguageModel::Dropout between;
        if (dropout)
          between = [&](const torch::Tensor& x) { return drop(x, options.dropout, *dropout); };
        return Loss{
            word_loss(model.log_probabilities(shifted(examples.words, words.start()), between),
                      examples.words, words.pad()),
            torch::zeros({})};
      },
      train, held_out, {"train language model", options.seed + 2, 2 * batch}, options, context);
  return milan;
}

}  // namespace linex
