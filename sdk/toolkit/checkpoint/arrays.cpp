#include "toolkit/checkpoint/arrays.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/finite.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/checkpoint/zip.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

bool begins_with(const MappedFile& file, std::string_view start) {
  return file.size() >= start.size() && std::memcmp(file.data(), start.data(), start.size()) == 0;
}
bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// The one name, or the name asked for.
std::string choose(const std::vector<std::string>& names, const Place& place) {
  const std::string file = place.file.string();
  if (names.empty()) throw input_error(file + ": holds no array");
  if (place.name.empty() && names.size() == 1) return names.front();
  if (std::find(names.begin(), names.end(), place.name) != names.end()) return place.name;
  constexpr std::size_t kShown = 8;
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i)
    shown.push_back(printable(names[i], 40));
  if (names.size() > kShown) shown.emplace_back("...");
  throw input_error(file + ": " +
                    (place.name.empty() ? "holds " + std::to_string(names.size()) + " arrays"
                                        : "holds no array '" + printable(place.name) + "'") +
                    " (" + join(shown, ", ") + "); name one as " + file + ":" + shown.front());
}

constexpr std::string_view kNpy = ".npy";

torch::Tensor read_npz(const std::shared_ptr<MappedFile>& file, const ZipArchive& zip,
                       const Place& place) {
  std::vector<std::string> names;
  for (const auto& entry : zip.entries())
    if (ends_with(entry.name, kNpy))
      names.push_back(entry.name.substr(0, entry.name.size() - kNpy.size()));
  const std::string name = choose(names, place);
  const std::string source = place.file.string() + ":" + printable(name);
  const ZipArchive::Entry& entry = *zip.find(name + std::string(kNpy));
  if (entry.stored)
    return npy_over_bytes(file, const_cast<unsigned char*>(entry.data), entry.size, source);
  MemoryBudget budget(file->size(), source);
  const auto content = std::make_shared<std::string>(inflate(entry, budget, source));
  return npy_over_bytes(content, reinterpret_cast<unsigned char*>(content->data()), content->size(),
                        source);
}

torch::Tensor read_state(const Place& place) {
  const StateDict state = load_weights(place.file);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state.tensors) names.push_back(name);
  return state.get(choose(names, place));
}

torch::Tensor read_place(const Place& place) {
  const auto file = std::make_shared<MappedFile>(place.file);
  const std::string source = place.file.string();
  if (begins_with(*file, "\x93NUMPY")) {
    if (!place.name.empty()) throw input_error(source + ": a .npy file holds one array, no names");
    return map_npy(place.file);
  }
  if (begins_with(*file, "PK\3\4")) {
    const ZipArchive zip(file->data(), file->size(), source);
    const bool numpy = std::any_of(zip.entries().begin(), zip.entries().end(),
                                   [](const auto& entry) { return ends_with(entry.name, kNpy); });
    if (numpy) return read_npz(file, zip, place);
  }
  if (looks_like_checkpoint(*file)) {
    const Checkpoint checkpoint = load_checkpoint(file, source);
    const PickleValue& root = checkpoint.root();
    if (place.name.empty() && root.is(PickleValue::Kind::tensor) && root.tensor.defined())
      return root.tensor;
    return read_state(place);
  }
  if (looks_like_safetensors(*file)) return read_state(place);
  throw input_error("cannot read " + source +
                    ": it is not a .npy file, nor .npz, .pt or .safetensors; save the array with "
                    "numpy.save");
}

}  // namespace

torch::Tensor read_array(const std::string& place) {
  return read_place(split_place(place)).contiguous();
}

torch::Tensor read_matrix(const std::string& place) {
  torch::Tensor matrix = read_array(place);
  if (matrix.dim() == 1) matrix = matrix.unsqueeze(1);
  if (matrix.dim() != 2 || matrix.numel() == 0)
    throw input_error(place + ": a matrix (rows, columns) is wanted; this array has " +
                      std::to_string(matrix.dim()) + " dimensions and " +
                      std::to_string(matrix.numel()) + " values");
  return matrix;
}

torch::Tensor finite_float32(const torch::Tensor& array, const std::string& place) {
  const torch::Tensor values = array.to(torch::kFloat).contiguous();
  if (values.numel() == 0) return values;
  constexpr std::int64_t kRowsAtOnce = 1024;
  const std::int64_t rows = values.size(0), width = values.numel() / rows;
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - begin) * width;
    const std::int64_t bad = first_not_finite(values.data_ptr<float>() + begin * width, count);
    release_rows(values, begin, count / width);
    if (bad == count) continue;
    const std::int64_t row = begin + bad / width, column = bad % width;
    const auto original = array[row].flatten()[column].to(torch::kDouble).item<double>();
    const std::string where =
        place + ": row " + std::to_string(row) + ", column " + std::to_string(column);
    if (std::isfinite(original))
      throw input_error(where + " is " + format_number(original) +
                        ", too large for float32; scale the values down");
    throw input_error(where + " is NaN or infinite; record it again or remove that image");
  }
  return values;
}

std::string fingerprint_of_array(const std::string& text) {
  const Place place = split_place(text);
  const std::string content = digest_of_file(place.file);
  return place.name.empty() ? content : Sha256().add(content).add(place.name).hex();
}

}  // namespace linex
