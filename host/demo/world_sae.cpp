#include "host/demo/world_sae.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/net/adamw.hpp"
#include "toolkit/units/basis.hpp"
#include "toolkit/units/basis_file.hpp"

namespace linex {
namespace fs = std::filesystem;
using torch::Tensor;

namespace {

// Raise it when training changes for the same options.
constexpr const char* kVersion = "world sae 1";
constexpr std::int64_t kUnseen = 400;  // pictures that measure it

Tensor unit_rows(const Tensor& matrix) { return matrix / matrix.norm(2, 1, true).clamp_min(1e-8); }

/// The layer's output for every position of `count` pictures of `world`, (positions, D).
Tensor positions(TargetModel& network, const std::string& layer, const World& world,
                 std::int64_t count, const PluginContext& context) {
  const torch::NoGradGuard no_gradients;
  constexpr std::int64_t kBatch = 200;
  std::vector<Tensor> parts;
  for (std::int64_t begin = 0; begin < count; begin += kBatch) {
    check_cancelled(context);
    Rows rows(static_cast<std::size_t>(std::min(kBatch, count - begin)));
    std::iota(rows.begin(), rows.end(), begin);
    const Tensor images = load_batch(world, rows, network.preprocess(), context.run().threads);
    const Tensor output = network.forward(images, {layer}, false).layers.at(0);
    parts.push_back(units::positions_of(output.to(torch::kCPU, torch::kFloat32)));
  }
  return torch::cat(parts);
}

double explained_variance(const fs::path& folder, const Tensor& x, int threads) {
  units::BasisOptions options;
  options.file = folder;
  const units::Basis basis = units::read_basis(options).basis;
  const Tensor rebuilt =
      units::decode_change(basis, units::encode(basis, x, threads), x, threads) + basis.shift;
  const Tensor rest = (x - rebuilt).to(torch::kFloat64),
               whole = (x - x.mean(0)).to(torch::kFloat64);
  return 1 - (rest.square().sum() / whole.square().sum()).item<double>();
}

std::string configuration(std::int64_t width, const SaeOptions& options) {
  nlohmann::ordered_json json{{"architecture", "topk"},
                              {"d_in", width},
                              {"d_sae", options.latents},
                              {"k", options.k},
                              {"apply_b_dec_to_input", true},
                              {"normalize_activations", "none"},
                              {"metadata", nlohmann::ordered_json::object()}};
  return json.dump(2) + "\n";
}

}  // namespace

std::map<std::string, Tensor> train_sae(const Tensor& all, const SaeOptions& options,
                                        const std::function<void(std::int64_t)>& step) {
  const std::int64_t n = all.size(0), d = all.size(1), m = options.latents;
  const std::int64_t batch = std::min(options.batch, n);
  std::map<std::string, Tensor> weights;
  // Products of one thread: their last bits do not depend on how many there are.
  parallel_for(1, 1, [&](std::int64_t) {
    const torch::NoGradGuard no_gradients;
    Random random = Random::stream(options.seed, 0x5ae);
    Tensor decoder = torch::empty({m, d});
    std::generate_n(decoder.data_ptr<float>(), m * d,
                    [&] { return static_cast<float>(random.normal()); });
    decoder = unit_rows(decoder);
    Tensor encoder = decoder.t().contiguous(), bias = torch::zeros({m});
    const Tensor shift = all.mean(0);
    AdamW adam({encoder, decoder, bias}, {});
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    const std::int64_t steps_an_epoch = n / batch, steps = steps_an_epoch * options.epochs;
    for (std::int64_t done = 0; done < steps; ++done) {
      if (done % steps_an_epoch == 0) random.shuffle(order);
      const Tensor rows = torch::from_blob(
          &order[static_cast<std::size_t>(done % steps_an_epoch * batch)], {batch}, torch::kInt64);
      const Tensor y = all.index_select(0, rows) - shift;
      const Tensor before = y.matmul(encoder) + bias;
      const auto [largest, at] = before.topk(options.k, 1);
      const Tensor latents = torch::zeros_like(before).scatter_(1, at, largest.relu());
      const Tensor error = (latents.matmul(decoder) - y) * (2.0 / static_cast<double>(batch));
      const Tensor back = error.matmul(decoder.t()) * latents.gt(0);
      adam.step(
          {y.t().matmul(back), latents.t().matmul(error), back.sum(0)},
          options.learning_rate * (1 - static_cast<double>(done) / static_cast<double>(steps)));
      decoder.copy_(unit_rows(decoder));
      step(batch);
    }
    weights = {{"W_enc", encoder}, {"W_dec", decoder}, {"b_enc", bias}, {"b_dec", shift}};
  });
  return weights;
}

WorldSae world_sae(TargetModel& network, const std::string& layer, const WorldOptions& pictures,
                   const SaeOptions& options, const fs::path& cache, const PluginContext& context) {
  const World world(pictures);
  Sha256 key;
  key.add(kVersion).add(network.fingerprint()).add(network.preprocess().describe()).add(layer);
  key.add(world.fingerprint());
  for (const double value :
       {static_cast<double>(options.latents), static_cast<double>(options.k),
        static_cast<double>(options.epochs), static_cast<double>(options.batch),
        options.learning_rate, static_cast<double>(options.seed)})
    key.add(std::to_string(value) + " ");
  // The folder's name is what files call the units.
  const fs::path folder = cache / "world" / key.hex().substr(0, 32) / "sae";
  if (std::error_code ignored; !fs::exists(folder / "sae_weights.safetensors", ignored)) {
    fs::create_directories(folder);
    constexpr std::int64_t kEvery = 5;  // no divisor of a map's side: all places are seen
    const Tensor x = positions(network, layer, world, world.size(), context)
                         .slice(0, 0, c10::nullopt, kEvery)
                         .contiguous();
    const auto progress = context.progress("training a small sparse autoencoder",
                                           x.size(0) * options.epochs, "positions");
    const auto weights = train_sae(x, options, [&](std::int64_t count) {
      check_cancelled(context);
      progress->advance(count);
    });
    write_file_atomic(folder / "cfg.json", configuration(x.size(1), options));
    write_safetensors(folder / "sae_weights.safetensors", weights);
  }
  WorldOptions others = pictures;
  others.seed += 1;
  others.images = std::min(kUnseen, pictures.images);
  const World unseen(others);
  return {folder,
          explained_variance(folder, positions(network, layer, unseen, unseen.size(), context),
                             context.run().threads)};
}

}  // namespace linex
