#include "toolkit/units/sae_files.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/checkpoint/zip.hpp"

namespace linex::units {
namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr std::uint64_t kMaxConfiguration = 16 << 20;

Json parse_object(const std::string& text, const std::string& source) {
  Json json = json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
  if (!json.is_object())
    throw input_error(source + ": is no JSON object; a configuration is read from JSON alone");
  return json;
}

void read_configuration(const fs::path& path, SaeFile& file) {
  file.configured_by = path.string();
  file.configuration = parse_object(read_file(path, kMaxConfiguration), file.configured_by);
}

/// The configuration beside the weights, where there is one.
void find_configuration(const fs::path& folder, const char* name, SaeFile& file) {
  std::error_code ignored;
  if (fs::exists(folder / name, ignored)) read_configuration(folder / name, file);
}

/// A pickled configuration as the JSON it would be; objects are what they hold.
Json json_of(const PickleValue& value, int depth, std::size_t& left) {
  using Kind = PickleValue::Kind;
  if (depth == 0 || left == 0) return {};
  --left;
  switch (value.kind) {
    case Kind::boolean:
      return value.integer != 0;
    case Kind::integer:
      return value.text.empty() ? Json(value.integer) : Json();
    case Kind::real:
      return value.real;
    case Kind::text:
    case Kind::global:
      return value.text;
    case Kind::list:
    case Kind::tuple: {
      Json list = Json::array();
      for (const auto* item : value.items) list.push_back(json_of(*item, depth - 1, left));
      return list;
    }
    case Kind::dict: {
      Json object = Json::object();
      for (std::size_t i = 0; i + 1 < value.items.size(); i += 2)
        if (value.items[i]->is(Kind::text))
          object[value.items[i]->text] = json_of(*value.items[i + 1], depth - 1, left);
      return object;
    }
    case Kind::opaque:
      return value.state ? json_of(*value.state, depth - 1, left) : Json();
    default:
      return {};
  }
}

bool is_numpy(const MappedFile& file, const std::string& source) {
  const auto begins_with = [&](std::string_view start) {
    return file.size() >= start.size() && std::memcmp(file.data(), start.data(), start.size()) == 0;
  };
  if (begins_with("\x93NUMPY")) return true;
  if (!begins_with("PK\3\4")) return false;
  const ZipArchive zip(file.data(), file.size(), source);
  return std::any_of(zip.entries().begin(), zip.entries().end(), [](const auto& entry) {
    return entry.name.size() > 4 && entry.name.compare(entry.name.size() - 4, 4, ".npy") == 0;
  });
}

/// A header line of JSON, then a file of torch.save.
void read_saev(const std::shared_ptr<MappedFile>& file, SaeFile& sae) {
  sae.writer = Writer::saev;
  sae.configured_by = sae.source;
  const auto* text = reinterpret_cast<const char*>(file->data());
  const auto* end = static_cast<const char*>(
      std::memchr(text, '\n', std::min<std::size_t>(file->size(), kMaxConfiguration)));
  if (!end) throw input_error(sae.source + ": begins with '{', but has no header line of JSON");
  sae.configuration = parse_object(std::string(text, end), sae.source);
  const auto offset = static_cast<std::size_t>(end + 1 - text);
  if (!looks_like_checkpoint(*file, offset))
    throw input_error(sae.source + ": no weights of torch.save follow its header line; truncated?");
  const Checkpoint checkpoint = load_checkpoint(file, sae.source, offset);
  const PickleValue& root = checkpoint.root();
  MemoryBudget budget(file->size(), sae.source);
  sae.weights.source = sae.source;
  for (std::size_t i = 0; root.is(PickleValue::Kind::dict) && i + 1 < root.items.size(); i += 2) {
    const PickleValue &name = *root.items[i], &value = *root.items[i + 1];
    if (!name.is(PickleValue::Kind::text) || !value.tensor.defined()) continue;
    budget.take(static_cast<std::uint64_t>(value.tensor.numel()) * sizeof(float));
    sae.weights.tensors[name.text] = value.tensor;
  }
}

/// Of overcomplete's encoders: the linear one, an own one, that of tied().
bool of_overcomplete(const StateDict& weights) {
  return weights.has("dictionary._weights") || weights.has("dictionary.Relax");
}

bool has_all(const StateDict& weights, std::initializer_list<const char*> names) {
  return std::all_of(names.begin(), names.end(),
                     [&](const char* name) { return weights.has(name); });
}

bool open_file(const fs::path& path, SaeFile& sae) {
  sae.source = path.string();
  const auto file = std::make_shared<MappedFile>(path);
  if (file->data()[0] == '{') return read_saev(file, sae), true;
  if (is_numpy(*file, sae.source)) return false;
  const fs::path folder = path.parent_path();
  if (looks_like_safetensors(*file)) {
    sae.weights = load_weights(path);
    if (!has_all(sae.weights, {"W_enc", "W_dec"})) return false;
    sae.writer = Writer::sae_lens;
    find_configuration(folder, "cfg.json", sae);
    return true;
  }
  if (!looks_like_checkpoint(*file)) return false;
  const Checkpoint checkpoint = load_checkpoint(file, sae.source);
  if (!checkpoint.root().is(PickleValue::Kind::dict)) return false;
  sae.weights = load_weights(path);
  if (of_overcomplete(sae.weights)) {
    sae.writer = Writer::overcomplete;
    return true;
  }
  const bool linear = has_all(sae.weights, {"encoder.weight", "decoder.weight"});
  if (!linear && !has_all(sae.weights, {"W_enc", "W_dec"})) return false;
  const PickleValue* configuration = checkpoint.root().get("cfg");
  if (configuration && checkpoint.root().get("state_dict")) {
    sae.writer = Writer::prisma;
    constexpr int kDepth = 16;
    std::size_t most = 100'000;
    sae.configuration = json_of(*configuration, kDepth, most);
    sae.configured_by = sae.source;
    if (!sae.configuration.is_object()) {
      sae.configuration = {};
      find_configuration(folder, "config.json", sae);
    }
    return true;
  }
  find_configuration(folder, "config.json", sae);
  const bool trained = sae.configuration.is_object() && sae.configuration.contains("trainer");
  sae.writer = linear || trained || sae.weights.has("group_sizes") ||
                       (sae.configuration.is_null() && sae.weights.has("threshold"))
                   ? Writer::dictionary_learning
                   : Writer::prisma;
  return true;
}

fs::path weights_in(const fs::path& folder) {
  const auto there = [&](const char* name) {
    std::error_code ignored;
    return fs::exists(folder / name, ignored);
  };
  if (there("cfg.json") && !there("sae_weights.safetensors"))
    throw input_error(folder.string() +
                      ": has cfg.json but no sae_weights.safetensors beside it; fetch it too");
  for (const char* name : {"sae_weights.safetensors", "ae.pt", "weights.pt"})
    if (there(name)) return folder / name;
  std::vector<fs::path> checkpoints;
  std::error_code failure;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure))
    if (const auto extension = it->path().extension(); extension == ".pt" || extension == ".pth")
      checkpoints.push_back(it->path());
  if (there("config.json") && checkpoints.size() == 1) return checkpoints.front();
  throw input_error(folder.string() +
                    ": no sparse autoencoder's folder: it has neither cfg.json and "
                    "sae_weights.safetensors (SAELens), nor ae.pt (dictionary_learning), nor "
                    "weights.pt and config.json (Prisma); name a file of weights");
}

// ------------------------------------------------------------------------------------------------

/// A configuration's values by name; every wrong one is one line.
class Configuration {
 public:
  Configuration(const Json& json, std::string source) : json_(&json), source_(std::move(source)) {}

  bool has(const char* name) const {
    return json_->is_object() && json_->contains(name) && !at(name).is_null();
  }
  Configuration in(const char* name) const {
    static const Json kNothing;
    return {has(name) ? at(name) : kNothing, source_};
  }
  std::string text(const char* name, const std::string& otherwise = "") const {
    if (!has(name)) return otherwise;
    if (!at(name).is_string()) throw wrong(name, "a text");
    return at(name).get<std::string>();
  }
  bool flag(const char* name, bool otherwise) const {
    if (!has(name)) return otherwise;
    if (!at(name).is_boolean()) throw wrong(name, "true or false");
    return at(name).get<bool>();
  }
  /// A whole number; 0 where there is none.
  std::int64_t count(const char* name) const {
    if (!has(name)) return 0;
    const Json& value = at(name);
    constexpr double kMost = 1e15;
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!(number >= 0 && number < kMost) || number != std::floor(number))
      throw wrong(name, "a whole number");
    return static_cast<std::int64_t>(number);
  }
  bool is_flag(const char* name) const { return has(name) && at(name).is_boolean(); }
  const std::string& source() const { return source_; }

 private:
  const Json& at(const char* name) const { return (*json_)[name]; }
  Error wrong(const char* name, const char* wanted) const {
    return input_error(source_ + ": its " + name + " is " +
                       printable(at(name).dump(-1, ' ', true, Json::error_handler_t::replace), 40) +
                       ", not " + wanted);
  }

  const Json* json_;
  std::string source_;
};

/// Tensors by name, float32, with the shapes the encoder dictates.
class Tensors {
 public:
  explicit Tensors(const SaeFile& file) : file_(file) {}

  bool has(const std::string& name) const { return file_.weights.has(name); }
  torch::Tensor matrix(const std::string& name) const {
    const torch::Tensor tensor = get(name);
    if (tensor.dim() != 2 || tensor.numel() == 0)
      throw input_error(file_.source + ": " + name + " is " + shape_text(tensor.sizes().vec()) +
                        ", expected a matrix");
    return tensor;
  }
  torch::Tensor vector(const std::string& name, std::int64_t size) const {
    const torch::Tensor tensor = get(name);
    if (tensor.dim() != 1 || tensor.size(0) != size)
      throw input_error(file_.source + ": " + name + " is " + shape_text(tensor.sizes().vec()) +
                        ", expected (" + std::to_string(size) + ")");
    return tensor;
  }
  /// One value.
  double number(const std::string& name) const {
    const torch::Tensor tensor = get(name);
    if (tensor.numel() != 1) throw input_error(file_.source + ": " + name + " is no single value");
    return tensor.to(torch::kFloat64).item<double>();
  }
  /// One value for all, or one each.
  torch::Tensor spread(const std::string& name, std::int64_t size) const {
    if (get(name).numel() == 1)
      return torch::full({size}, get(name).to(torch::kFloat32).item<float>());
    return vector(name, size);
  }

 private:
  torch::Tensor get(const std::string& name) const {
    const torch::Tensor tensor = file_.weights.get(name);
    if (tensor.defined()) return tensor.to(torch::kFloat32);
    throw input_error(file_.source + ": holds no " + name +
                      ", which this kind of autoencoder has; it holds " +
                      first_name(file_.weights));
  }

  const SaeFile& file_;
};

void check_transposed(const Basis& basis) {
  if (basis.decoder.size(0) != basis.encoder.size(1) ||
      basis.decoder.size(1) != basis.encoder.size(0))
    throw input_error(
        basis.source + ": its encoder is " + shape_text(basis.encoder.sizes().vec()) +
        " and its decoder " + shape_text(basis.decoder.sizes().vec()) +
        ", which is not its transpose in shape (a transcoder is no basis of a layer)");
}

/// W_enc (D, M) and W_dec (M, D).
void take_matrices(const Tensors& tensors, bool linear, Basis& basis) {
  if (linear) {
    basis.encoder = tensors.matrix("encoder.weight").t();
    basis.decoder = tensors.matrix("decoder.weight").t();
  } else {
    basis.encoder = tensors.matrix("W_enc");
    basis.decoder = tensors.matrix("W_dec");
  }
  check_transposed(basis);
}

void check_counts(const Configuration& configuration, const char* width, const char* latents,
                  const Basis& basis) {
  const auto check = [&](const char* name, std::int64_t is) {
    if (!configuration.has(name) || configuration.count(name) == is) return;
    throw input_error(configuration.source() + ": its " + name + " is " +
                      std::to_string(configuration.count(name)) + ", the weights have " +
                      std::to_string(is) + "; the two files do not belong together");
  };
  check(width, basis.encoder.size(0));
  check(latents, basis.encoder.size(1));
}

/// "none", "layer_norm", "constant_norm_rescale", or a flag of SAELens's first generation.
void take_normalisation(const Configuration& configuration, Basis& basis,
                        std::vector<std::string>& notes) {
  constexpr char kKey[] = "normalize_activations";
  std::string how = "none";
  if (configuration.is_flag(kKey))
    how = configuration.flag(kKey, false) ? "expected_average_only_in" : "none";
  else
    how = configuration.text(kKey, "none");
  if (how == "layer_norm")
    basis.normalise = Normalise::layer;
  else if (how == "constant_norm_rescale")
    basis.normalise = Normalise::norm;
  else if (how == "expected_average_only_in")
    notes.push_back(
        "it was trained on values scaled to a norm of √D on average (expected_average_only_in); "
        "the layer's values are taken as they are, as SAELens does");
  else if (how != "none")
    throw input_error(configuration.source() + ": its normalize_activations '" + printable(how) +
                      "' is not known; none, layer_norm and constant_norm_rescale are");
}

/// Latents are given times the norm of their decoder row, which decoding undoes.
void scale_by_decoder(torch::Tensor& part, Basis& basis) {
  part = basis.decoder.norm(2, 1);
  const auto divisor = torch::where(part > 0, part, torch::ones_like(part));
  basis.decoder = basis.decoder / divisor.unsqueeze(1);
}

/// The activation by the name that SAELens and Prisma give it.
void take_activation(const std::string& name, std::int64_t k, const std::string& source,
                     Basis& basis) {
  if (name == "relu") {
    basis.activation = Activation::relu;
  } else if (name == "topk") {
    basis.activation = Activation::topk;
    basis.k = k;
  } else {
    throw input_error(source + ": the activation '" + printable(name) +
                      "' is not read; relu, topk and jumprelu are; units.activation chooses one");
  }
}

void take_gate(const Tensors& tensors, const char* gate, const char* magnitude, const char* bias,
               Basis& basis) {
  const std::int64_t m = basis.encoder.size(1);
  basis.gate = tensors.vector(gate, m);
  basis.log_magnitude = tensors.vector(magnitude, m);
  basis.bias = tensors.vector(bias, m);
}

/// Where a dictionary was trained, in words, or "".
std::string trained_at(const Configuration& configuration) {
  const Configuration metadata = configuration.in("metadata");
  for (const auto& where : {configuration, metadata})
    for (const char* key : {"hook_name", "hook_point"})
      if (where.has(key))
        return "trained at " + printable(where.text(key)) +
               (where.has("model_name") ? " of " + printable(where.text("model_name")) : "");
  return "";
}

// SAELens: cfg.json of three generations. They name the place in the network differently
// (hook_point; hook_name; metadata.hook_name) and k (activation_fn_kwargs.k; k).
void read_sae_lens(const SaeFile& file, Basis& basis, std::vector<std::string>& notes) {
  if (!file.configuration.is_object())
    throw input_error(file.source +
                      ": SAELens says in cfg.json how its latents are computed, and "
                      "there is none beside it; fetch it too");
  const Configuration configuration(file.configuration, file.configured_by);
  const Tensors tensors(file);
  take_matrices(tensors, false, basis);
  check_counts(configuration, "d_in", "d_sae", basis);
  take_normalisation(configuration, basis, notes);
  const std::int64_t d = basis.encoder.size(0), m = basis.encoder.size(1);
  if (configuration.flag("apply_b_dec_to_input", true)) basis.shift = tensors.vector("b_dec", d);
  std::string architecture = configuration.text("architecture", "standard");
  const std::string activation =
      configuration.text("activation_fn", configuration.text("activation_fn_str", "relu"));
  std::int64_t k = configuration.count("k");
  if (k == 0) k = configuration.in("activation_fn_kwargs").count("k");
  if (architecture == "standard" && activation == "topk") architecture = "topk";
  if (architecture == "gated") {
    take_gate(tensors, "b_gate", "r_mag", "b_mag", basis);
    take_activation(activation, k, file.configured_by, basis);
  } else if (architecture == "standard") {
    basis.bias = tensors.vector("b_enc", m);
    take_activation(activation, k, file.configured_by, basis);
  } else if (architecture == "jumprelu") {
    basis.bias = tensors.vector("b_enc", m);
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.has("log_threshold") ? tensors.vector("log_threshold", m).exp()
                                                   : tensors.vector("threshold", m);
  } else if (architecture == "batchtopk" || architecture == "matryoshka_batchtopk") {
    // A checkpoint of the training; what is saved for use is a jumprelu.
    basis.bias = tensors.vector("b_enc", m);
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.spread("topk_threshold", m);
  } else if (architecture == "topk") {
    basis.bias = tensors.vector("b_enc", m);
    take_activation("topk", k, file.configured_by, basis);
  } else {
    throw input_error(file.configured_by + ": the architecture '" + printable(architecture) +
                      "' is not read; standard, topk, batchtopk, jumprelu and gated are");
  }
  for (const char* name : {"scaling_factor", "finetuning_scaling_factor"})
    if (tensors.has(name)) basis.decoder = basis.decoder * tensors.vector(name, m).unsqueeze(1);
  if (configuration.flag("rescale_acts_by_decoder_norm", false))
    scale_by_decoder(basis.scale, basis);
  if (const std::string where = trained_at(configuration); !where.empty()) notes.push_back(where);
}

// dictionary_learning: ae.pt; the class is in config.json's trainer.dict_class and, but for two of
// them, in the names of the tensors.
void read_dictionary_learning(const SaeFile& file, const std::string& activation, Basis& basis,
                              std::vector<std::string>& notes) {
  const Configuration configuration(file.configuration, file.configured_by);
  const Configuration trainer = configuration.in("trainer");
  const Tensors tensors(file);
  const bool linear = tensors.has("encoder.weight");
  take_matrices(tensors, linear, basis);
  check_counts(trainer, "activation_dim", "dict_size", basis);
  const std::int64_t d = basis.encoder.size(0), m = basis.encoder.size(1);

  std::string name = trainer.text("dict_class");
  if (name.empty()) {
    if (tensors.has("gate_bias"))
      name = "GatedAutoEncoder";
    else if (tensors.has("group_sizes"))
      name = "MatryoshkaBatchTopKSAE";
    else if (!linear)
      name = "JumpReluAutoEncoder";
    else if (tensors.has("decoder.bias"))
      name = "AutoEncoderNew";
    else if (!tensors.has("k"))
      name = "AutoEncoder";
    else if (activation == "topk" || activation == "batch_topk")
      name = activation == "topk" ? "AutoEncoderTopK" : "BatchTopKSAE";
    else
      throw input_error(file.source +
                        ": without its config.json top-k of each position and of a batch look "
                        "alike; fetch it too, or set units.activation=topk or batch_topk");
  }
  notes.push_back("dictionary_learning " + printable(name));
  if (name == "AutoEncoder") {
    basis.shift = tensors.vector("bias", d);
    basis.bias = tensors.vector("encoder.bias", m);
    basis.activation = Activation::relu;
  } else if (name == "AutoEncoderNew") {
    basis.bias = tensors.vector("encoder.bias", m);
    basis.activation = Activation::relu;
  } else if (name == "GatedAutoEncoder") {
    basis.shift = tensors.vector("decoder_bias", d);
    take_gate(tensors, "gate_bias", "r_mag", "mag_bias", basis);
    basis.activation = Activation::relu;
    scale_by_decoder(basis.gain, basis);
  } else if (name == "JumpReluAutoEncoder") {
    basis.bias = tensors.vector("b_enc", m);
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.vector("threshold", m);
    scale_by_decoder(basis.gain, basis);
  } else if (name == "AutoEncoderTopK") {
    basis.shift = tensors.vector("b_dec", d);
    basis.bias = tensors.vector("encoder.bias", m);
    basis.activation = Activation::topk;
    basis.k = static_cast<std::int64_t>(tensors.number("k"));
  } else if (name == "BatchTopKSAE" || name == "MatryoshkaBatchTopKSAE") {
    basis.shift = tensors.vector("b_dec", d);
    basis.bias = tensors.vector(linear ? "encoder.bias" : "b_enc", m);
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.spread("threshold", m);
    // For units.activation=topk.
    if (tensors.has("k")) basis.k = static_cast<std::int64_t>(tensors.number("k"));
  } else {
    throw input_error(file.configured_by + ": the dict_class '" + printable(name) +
                      "' is not read; AutoEncoder, AutoEncoderNew, GatedAutoEncoder, "
                      "JumpReluAutoEncoder, AutoEncoderTopK, BatchTopKSAE and "
                      "MatryoshkaBatchTopKSAE are");
  }
}

// saev: a header without "schema", schema 1 in two forms, and 2 to 5. What wrote a header without
// cfg.activation took b_dec off first; later versions do not.
void read_saev_header(const SaeFile& file, Basis& basis, std::vector<std::string>& notes) {
  const Configuration header(file.configuration, file.configured_by);
  const Tensors tensors(file);
  take_matrices(tensors, false, basis);
  const std::int64_t d = basis.encoder.size(0), m = basis.encoder.size(1);
  basis.bias = tensors.vector("b_enc", m);
  constexpr std::int64_t kNewest = 5;
  const std::int64_t schema = header.has("schema") ? header.count("schema") : 0;
  if (header.has("schema") && (schema < 1 || schema > kNewest))
    throw input_error(file.source + ": its header is of schema " + std::to_string(schema) +
                      "; the schemas known are 1 to " + std::to_string(kNewest) +
                      ", and the older header without a number");
  const Configuration plain = schema > 0 ? header.in("cfg") : header;
  for (const char* width : {"d_vit", "d_model"}) check_counts(plain, width, "d_sae", basis);
  std::string name = "Relu";
  std::int64_t k = 0;
  if (plain.has("activation")) {
    const Configuration activation = plain.in("activation");
    name = activation.text("cls");
    k = activation.in("params").count("top_k");
  } else {
    if (schema > 1)
      throw input_error(file.source + ": its header names no activation; save it again");
    if (schema == 1) name = header.text("cls");
    k = plain.count("top_k");
    basis.shift = tensors.vector("b_dec", d);
    notes.emplace_back(
        "written before saev had activations in its header: b_dec is taken off first");
  }
  if (name == "Relu") {
    basis.activation = Activation::relu;
  } else if (name == "BatchTopK" && tensors.has("activation.threshold")) {
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.spread("activation.threshold", m);
  } else if (name == "TopK" || name == "BatchTopK") {
    // A batch's top-k without a threshold is that of each position. Neither cuts off at 0.
    constexpr std::int64_t kDefault = 32;
    basis.activation = Activation::topk;
    basis.k = k > 0 ? k : std::min(kDefault, m);
    basis.rectify = false;
  } else {
    throw input_error(file.source + ": the activation '" + printable(name) +
                      "' is not read; Relu, TopK and BatchTopK are");
  }
}

void read_prisma(const SaeFile& file, Basis& basis, std::vector<std::string>& notes) {
  if (!file.configuration.is_object())
    throw input_error(file.source +
                      ": how its latents are computed is in config.json, and there is none beside "
                      "it; fetch it too");
  const Configuration configuration(file.configuration, file.configured_by);
  const Tensors tensors(file);
  take_matrices(tensors, false, basis);
  check_counts(configuration, "d_in", "d_sae", basis);
  take_normalisation(configuration, basis, notes);
  basis.shift = tensors.vector("b_dec", basis.encoder.size(0));
  const std::string architecture = configuration.text("architecture", "standard");
  if (architecture == "gated")
    take_gate(tensors, "b_gate", "r_mag", "b_mag", basis);
  else if (architecture == "standard")
    basis.bias = tensors.vector("b_enc", basis.encoder.size(1));
  else
    throw input_error(file.configured_by + ": the architecture '" + printable(architecture) +
                      "' is not read; standard and gated are");
  take_activation(configuration.text("activation_fn_str", "relu"),
                  configuration.in("activation_fn_kwargs").count("k"), file.configured_by, basis);
  if (configuration.flag("cls_token_only", false))
    notes.emplace_back("it was trained on class tokens alone; model.pool=first takes those");
  if (configuration.flag("use_patches_only", false))
    notes.emplace_back("it was trained on patch tokens alone");
  if (const std::string where = trained_at(configuration); !where.empty()) notes.push_back(where);
}

// overcomplete: a state_dict of its SAE classes, which says neither the class nor k. The dictionary
// is taken as eval() left it.
void read_overcomplete(const SaeFile& file, const std::string& activation, Basis& basis) {
  const Tensors tensors(file);
  for (const auto& [name, tensor] : file.weights.tensors)
    if (name == "Q" || name.rfind("encoder.mlp_blocks.", 0) == 0 ||
        name.rfind("encoder.resnet", 0) == 0 || name.rfind("encoder.attention", 0) == 0)
      throw input_error(file.source + ": holds " + printable(name) +
                        "; of overcomplete's encoders the linear ones are read, not quantised or "
                        "deeper ones");
  if (tensors.has("dictionary.Relax")) {
    const auto mix = tensors.matrix("dictionary.W"), points = tensors.matrix("dictionary.C"),
               relaxed = tensors.matrix("dictionary.Relax");
    if (mix.size(1) != points.size(0) || mix.size(0) != relaxed.size(0) ||
        points.size(1) != relaxed.size(1))
      throw input_error(file.source + ": dictionary.W, C and Relax do not fit together");
    basis.decoder = mix.matmul(points) + relaxed;
  } else {
    basis.decoder = tensors.matrix("dictionary._weights");
  }
  if (tensors.has("dictionary.multiplier"))
    basis.decoder = basis.decoder * std::exp(tensors.number("dictionary.multiplier"));
  const std::int64_t m = basis.decoder.size(0);
  if (tensors.has("encoder.final_block.0.weight")) {
    basis.encoder = tensors.matrix("encoder.final_block.0.weight").t();
    basis.bias = tensors.vector("encoder.final_block.0.bias", m);
  } else {
    // tied() has no weights of its own, untied() has.
    basis.encoder =
        tensors.has("encoder.weight") ? tensors.matrix("encoder.weight").t() : basis.decoder.t();
    if (tensors.has("encoder.bias")) basis.bias = tensors.vector("encoder.bias", m);
  }
  check_transposed(basis);
  if (tensors.has("encoder.final_block.1.weight") && !tensors.has("encoder.final_block.0.weight"))
    throw input_error(file.source +
                      ": holds encoder.final_block.1, a normalisation, without the "
                      "encoder.final_block.0 that it normalises");
  if (tensors.has("encoder.final_block.1.running_var")) {
    constexpr double kEpsilon = 1e-5;  // of torch.nn.BatchNorm1d
    const std::string norm = "encoder.final_block.1.";
    const auto scale = tensors.vector(norm + "weight", m) /
                       (tensors.vector(norm + "running_var", m) + kEpsilon).sqrt();
    basis.bias = (basis.bias - tensors.vector(norm + "running_mean", m)) * scale +
                 tensors.vector(norm + "bias", m);
    basis.encoder = basis.encoder * scale;
  } else if (tensors.has("encoder.final_block.1.weight")) {
    throw input_error(file.source +
                      ": its encoder normalises over all latents (LayerNorm), which is not read; "
                      "linear encoders are, with or without batch normalisation");
  }
  basis.activation = Activation::relu;
  if (tensors.has("thresholds")) {
    basis.activation = Activation::jumprelu;
    basis.threshold = tensors.vector("thresholds", m).exp();
  } else if (activation == "auto") {
    throw usage_error("units.activation: " + file.source +
                      " is of overcomplete, which saves neither the class nor k; set relu, or "
                      "topk and units.k");
  }
}

/// What the user says about the activation, over what the file says.
void override_activation(const SaeFile& file, const std::string& activation, std::int64_t k,
                         Basis& basis) {
  if (k > 0) {
    if (basis.activation != Activation::topk && activation != "topk")
      throw usage_error("units.k=" + std::to_string(k) + ": the latents of " + file.source +
                        " are no top-k; set units.activation=topk as well, or leave it out");
    basis.k = k;
  }
  if (activation == "identity") basis.activation = Activation::identity;
  if (activation == "relu") basis.activation = Activation::relu;
  if (activation == "topk") {
    basis.activation = Activation::topk;
    if (basis.k == 0)
      throw usage_error("units.k: units.activation=topk needs it, and " + file.source +
                        " does not tell");
  }
  if (activation == "jumprelu" || activation == "batch_topk") {
    if (!basis.threshold.defined() && Tensors(file).has("threshold"))
      basis.threshold = Tensors(file).spread("threshold", basis.encoder.size(1));
    if (!basis.threshold.defined())
      throw usage_error("units.activation=" + activation + ": " + file.source +
                        " holds no threshold" +
                        (activation == "batch_topk"
                             ? ", and the top-k of a batch depends on its other images; use topk"
                             : "; use relu or topk"));
    basis.activation = Activation::jumprelu;
  }
}

}  // namespace

bool open_sae(const fs::path& path, SaeFile& file) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return open_file(path, file);
  const fs::path weights = weights_in(path);
  if (open_file(weights, file)) return true;
  throw input_error(weights.string() +
                    ": holds no encoder and decoder of an autoencoder; fetch or save it again");
}

Basis basis_of(const SaeFile& file, const std::string& activation, std::int64_t k,
               std::vector<std::string>& notes) {
  Basis basis;
  basis.source = file.source;
  switch (file.writer) {
    case Writer::sae_lens:
      read_sae_lens(file, basis, notes);
      break;
    case Writer::dictionary_learning:
      read_dictionary_learning(file, activation, basis, notes);
      break;
    case Writer::saev:
      read_saev_header(file, basis, notes);
      break;
    case Writer::prisma:
      read_prisma(file, basis, notes);
      break;
    case Writer::overcomplete:
      read_overcomplete(file, activation, basis);
      break;
  }
  override_activation(file, activation, k, basis);
  return basis;
}

}  // namespace linex::units
