// The embedded world's SigLIP: trained, or as it comes with linex.
#include <nlohmann/json.hpp>
#include <numeric>

#include "host/demo/word_pieces.hpp"
#include "host/demo/world_siglip.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/concepts/calibration.hpp"
#include "toolkit/concepts/embedding_presence.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/text/tokenizer.hpp"

// The assembler copies the file in; as an array it would take the compiler half a minute.
__asm__(
    ".pushsection .rodata\n"
    "linex_world_siglip_begin:\n"
    ".incbin \"" LINEX_WORLD_SIGLIP
    "\"\n"
    "linex_world_siglip_end:\n"
    ".popsection\n");
extern "C" __attribute__((visibility("hidden"))) const char linex_world_siglip_begin[];
extern "C" __attribute__((visibility("hidden"))) const char linex_world_siglip_end[];

namespace linex {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

// Raise it when training changes for the same options.
constexpr const char* kVersion = "world siglip 2";
/// "a large orange checkered triangle on brick" and an end.
constexpr std::int64_t kContext = 12;
/// What linex calibrate fits to host/demo/siglip.safetensors on the pictures it was trained on.
constexpr Sigmoid kShippedSigmoid{41.7, -0.0941};

std::string key_of(const World& world, const SiglipTrainOptions& train) {
  std::string text = kVersion + (" " + world.fingerprint());
  for (const double value :
       {static_cast<double>(train.width), static_cast<double>(train.heads),
        static_cast<double>(train.image_layers), static_cast<double>(train.text_layers),
        static_cast<double>(train.patch), static_cast<double>(train.epochs),
        static_cast<double>(train.batch), static_cast<double>(train.chunk), train.learning_rate,
        train.weight_decay})
    text += " " + format_number(value);
  return Sha256().add(text + " " + std::to_string(train.seed)).hex().substr(0, 32);
}

/// Texts about the world: the caption, or some of its attributes in the caption's order.
class Captions {
 public:
  Captions(const World& world, const Tokenizer& tokenizer)
      : world_(world), tokenizer_(tokenizer), attributes_(world.attributes()) {}

  SiglipTrainingSet::Text about(std::int64_t row, std::uint64_t draw) const {
    Random random(draw);
    // Half of the texts say one thing, so that single attributes are learnt as concepts.
    const bool one = random.below(2) == 0;
    const auto only = static_cast<int>(random.below(kAspects));
    constexpr Aspect kOrder[] = {Aspect::size, Aspect::colour, Aspect::texture, Aspect::shape,
                                 Aspect::background};
    std::string text;
    Tensor holds = torch::ones({world_.size()}, torch::kBool);
    for (const Aspect aspect : kOrder) {
      const bool said = one ? static_cast<int>(aspect) == only : random.below(4) != 0;
      if (!said) continue;
      const auto value = static_cast<std::size_t>(world_.scene(row)[aspect]);
      if (aspect == Aspect::background && !text.empty()) text += "on ";
      text += values_of(aspect)[value] + " ";
      holds = holds.logical_and(attributes_.select(1, column(aspect, value)) > 0.5);
    }
    if (!one && random.below(2) == 0) text = "a " + text;
    return {tokenizer_.encode_batch({text}, kContext)[0], holds.to(torch::kUInt8)};
  }

 private:
  static std::int64_t column(Aspect aspect, std::size_t value) {
    std::int64_t first = 0;
    for (int before = 0; before < static_cast<int>(aspect); ++before)
      first += static_cast<std::int64_t>(values_of(static_cast<Aspect>(before)).size());
    return first + static_cast<std::int64_t>(value);
  }

  const World& world_;
  const Tokenizer& tokenizer_;
  Tensor attributes_;
};

Rows all_rows(const World& world) {
  Rows rows(static_cast<std::size_t>(world.size()));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// The a and b that fit the attributes of `world` best.
Sigmoid fit_sigmoid(const VisionText& model, const Tokenizer& tokenizer, const World& world,
                    const Tensor& pixels, int threads) {
  const auto name = [](std::int64_t row) { return "picture " + std::to_string(row); };
  const Tensor images = normalized_rows(model.embed_images(pixels), name);
  const Tensor texts = normalized_rows(
      model.embed_texts(tokenizer.encode_batch(World::attribute_names(), kContext)), name);
  concepts::CalibrationOptions options;
  options.threads = threads;
  return concepts::calibrate(EmbeddingPresence(images, texts, std::nullopt),
                             MatrixPresence(world.attributes()), all_rows(world), options)
      .sigmoid;
}

/// What lies beside the weights: the vocabulary, and what shapes do not tell.
void write_companions(const fs::path& folder, std::int64_t heads) {
  std::vector<std::string> words = {"a", "on"};
  for (const std::string& name : World::attribute_names()) words.push_back(name);
  write_file_atomic(folder / "spiece.model", word_piece_model(words));
  const nlohmann::json tower{{"heads", heads}};
  const nlohmann::json config{{"model_cfg", {{"vision_cfg", tower}, {"text_cfg", tower}}}};
  write_file_atomic(folder / "open_clip_config.json", config.dump());
}

}  // namespace

WorldSiglip world_siglip(const fs::path& folder) {
  fs::create_directories(folder);
  write_companions(folder, SiglipTrainOptions{}.heads);
  const fs::path weights = folder / "weights.safetensors";
  const auto bytes = static_cast<std::size_t>(linex_world_siglip_end - linex_world_siglip_begin);
  write_file_atomic(weights, {linex_world_siglip_begin, bytes});
  return {weights, kShippedSigmoid};
}

WorldSiglip train_world_siglip(const WorldSiglipOptions& options, const fs::path& cache,
                               const PluginContext& context) {
  const World world(options.world);
  SiglipTrainOptions train = options.train;
  train.seed = context.run().seed;
  train.threads = context.run().threads;
  const fs::path folder = cache / "world" / key_of(world, train);
  const fs::path weights = folder / "weights.safetensors", fitted = folder / "presence.json";
  WorldSiglip made{weights, {}};
  if (std::error_code ignored; fs::exists(fitted, ignored)) {
    const auto json = nlohmann::json::parse(read_file(fitted), nullptr, false);
    if (json.is_object() && json.contains("a") && json.contains("b")) {
      made.sigmoid = {json["a"].get<double>(), json["b"].get<double>()};
      return made;
    }
  }

  fs::create_directories(folder);
  write_companions(folder, train.heads);
  const auto tokenizer = open_sentencepiece_model(folder / "spiece.model");
  const Captions captions(world, *tokenizer);
  SiglipTrainingSet data;
  data.context = kContext;
  data.vocabulary = tokenizer->size();
  data.text = [&](std::int64_t row, std::uint64_t draw) { return captions.about(row, draw); };
  const VisionTextConfig config =
      small_siglip(train, options.world.size, kContext, data.vocabulary);
  Preprocess preprocess;
  preprocess.mean = config.mean;
  preprocess.std = config.std;
  data.images = load_batch(world, all_rows(world), preprocess, train.threads);

  const auto progress =
      context.progress("training the demo SigLIP", world.size() * train.epochs, "images");
  StateDict trained = train_siglip(data, train, [&](std::int64_t images, double) {
    check_cancelled(context);
    progress->advance(images);
  });
  // As they will be read: half the bytes.
  for (auto& [name, tensor] : trained.tensors) tensor = tensor.to(torch::kHalf);
  write_safetensors(weights, trained.tensors);
  VisionText model = VisionText::load(weights, {});
  model.prepare(context.run());
  made.sigmoid = fit_sigmoid(model, *tokenizer, world, data.images, train.threads);

  // Last, because its presence says that the rest is there.
  write_file_atomic(fitted, nlohmann::json{{"a", made.sigmoid.a}, {"b", made.sigmoid.b}}.dump());
  return made;
}

}  // namespace linex
