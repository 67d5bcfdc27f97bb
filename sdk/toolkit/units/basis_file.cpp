#include "toolkit/units/basis_file.hpp"

#include <cctype>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
#include "toolkit/units/sae_files.hpp"

namespace linex::units {
namespace fs = std::filesystem;

namespace {

/// A matrix and what vectors go with it.
struct Directions {
  torch::Tensor matrix, bias, threshold;
};

Error no_directions(const std::string& source, const std::string& what) {
  return input_error(source + ": " + what +
                     "; directions are one matrix (units, values) with at most a vector of as many "
                     "biases; name a matrix of several as FILE:NAME");
}

/// The one matrix of a file of named tensors, with its vectors.
Directions choose(const StateDict& weights, const std::string& source) {
  Directions found;
  std::string name;
  for (const auto& [key, tensor] : weights.tensors) {
    if (tensor.dim() != 2) continue;
    if (found.matrix.defined())
      throw no_directions(
          source, "holds several matrices ('" + printable(name) + "', '" + printable(key) + "')");
    found.matrix = tensor;
    name = key;
  }
  if (!found.matrix.defined()) throw no_directions(source, "holds no matrix");
  for (const auto& [key, tensor] : weights.tensors) {
    if (tensor.dim() > 1) continue;
    if (key == "threshold" || key == "thresholds") {
      found.threshold = tensor;
      continue;
    }
    if (found.bias.defined())
      throw no_directions(source, "holds several vectors beside its matrix");
    found.bias = tensor;
  }
  return found;
}

Directions read_directions(const fs::path& file) {
  const Place place = split_place(file.string());
  std::error_code ignored;
  if (fs::is_directory(place.file, ignored))
    throw input_error(place.file.string() +
                      ": is a folder; directions are one matrix in a file (.npy, .npz, "
                      ".safetensors, .pt)");
  const std::string extension = place.file.extension().string();
  if (!place.name.empty() || extension == ".npy" || extension == ".npz")
    return {read_array(file.string()), {}, {}};
  const MappedFile mapped(place.file);
  constexpr char kNumpy = '\x93';
  if (static_cast<char>(mapped.data()[0]) == kNumpy) return {read_array(file.string()), {}, {}};
  try {
    return choose(load_weights(place.file), place.file.string());
  } catch (const Error&) {
    // torch.save of a tensor is no state dict.
    try {
      return {read_array(file.string()), {}, {}};
    } catch (const Error&) {
    }
    throw;
  }
}

Basis directions_basis(const BasisOptions& options) {
  Directions given = read_directions(options.file);
  Basis basis;
  basis.source = options.file.string();
  if (given.matrix.dim() != 2 || given.matrix.numel() == 0)
    throw no_directions(basis.source, "its array is " + shape_text(given.matrix.sizes().vec()));
  if (given.matrix.is_complex()) throw no_directions(basis.source, "its values are complex");
  const torch::Tensor matrix = given.matrix.to(torch::kFloat32);
  basis.encoder = matrix.t();
  basis.bias = given.bias;
  basis.threshold = given.threshold;
  const auto square = matrix.square().sum(1, true);
  // A row of zeros is a unit that is always 0 and whose change changes nothing.
  basis.decoder = matrix / torch::where(square > 0, square, torch::ones_like(square));
  const std::string& activation = options.activation;
  if (activation == "relu") basis.activation = Activation::relu;
  if (activation == "topk") {
    basis.activation = Activation::topk;
    basis.k = options.k;
    if (options.k == 0) throw usage_error("units.k: units.activation=topk needs it");
  } else if (options.k > 0) {
    throw usage_error("units.k=" + std::to_string(options.k) +
                      ": only units.activation=topk takes it");
  }
  if (activation == "jumprelu" || activation == "batch_topk") {
    if (!basis.threshold.defined())
      throw usage_error("units.activation=" + activation + ": " + basis.source +
                        " holds no vector 'threshold'; use identity, relu or topk");
    basis.activation = Activation::jumprelu;
  }
  return basis;
}

}  // namespace

std::string stem_of(const fs::path& file) {
  const Place place = split_place(file.string());
  fs::path path = place.file.lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  std::error_code ignored;
  std::string stem = !place.name.empty()               ? place.name
                     : fs::is_directory(path, ignored) ? path.filename().string()
                                                       : path.stem().string();
  for (char& c : stem)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '+' &&
        c != '-')
      c = '_';
  return stem.empty() ? "units" : stem;
}

BasisFile read_basis(const BasisOptions& options) {
  BasisFile result;
  const Place place = split_place(options.file.string());
  std::error_code ignored;
  const bool folder = fs::is_directory(place.file, ignored);
  SaeFile sae;
  const bool named = !place.name.empty();
  const bool is_sae = options.kind != Kind::directions && !named && open_sae(place.file, sae);
  if (options.kind == Kind::sae && !is_sae)
    throw input_error(place.file.string() +
                      ": holds no encoder and decoder of SAELens, dictionary_learning, saev or "
                      "Prisma; units.kind=directions takes any matrix");
  if (is_sae && !folder && options.kind == Kind::automatic)
    result.notes.emplace_back("a sparse autoencoder (units.kind=directions takes a matrix of it)");
  result.basis = is_sae ? basis_of(sae, options.activation, options.k, result.notes)
                        : directions_basis(options);
  result.basis.source = options.file.string();
  result.basis.stem = stem_of(options.file);
  result.basis.prefix = options.components;
  finish(result.basis);
  return result;
}

}  // namespace linex::units
