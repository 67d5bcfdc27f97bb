#include "toolkit/data/cifar_records.hpp"

#include <string>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/numpy_pickle.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

Error not_cifar(const fs::path& path, CifarLabels kind, const std::string& why) {
  return input_error(path.string() + " is not a CIFAR-" + std::to_string(cifar_kind(kind)) +
                     " file: " + why);
}

void check_label(const fs::path& path, std::size_t record, std::int64_t label, CifarLabels kind) {
  const int classes = cifar_classes(kind);
  if (label >= 0 && label < classes) return;
  throw input_error(path.string() + " record " + std::to_string(record) + ": label " +
                    std::to_string(label) + " is not below " + std::to_string(classes));
}

/// One or two label bytes (CIFAR-100: coarse, fine), then the planes; nothing else.
CifarFile read_binary(std::shared_ptr<MappedFile> file, const fs::path& path, CifarLabels kind) {
  const std::size_t label_bytes = kind == CifarLabels::ten ? 1 : 2;
  const std::size_t label = kind == CifarLabels::fine ? 1 : 0;
  const std::size_t size = label_bytes + kCifarPixels;
  if (file->size() % size != 0)
    throw not_cifar(
        path, kind,
        std::to_string(file->size()) + " bytes is not a multiple of " + std::to_string(size));
  CifarFile result;
  for (std::size_t at = 0; at < file->size(); at += size) {
    const unsigned char* record = file->data() + at;
    check_label(path, at / size, record[label], kind);
    result.records.push_back({record + label_bytes, record[label]});
  }
  result.owner = std::move(file);
  return result;
}

/// Value of a key, be it Python 2's str or Python 3's bytes.
const PickleValue* lookup(const PickleValue& dict, const std::string& key) {
  if (!dict.is(PickleValue::Kind::dict)) return nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (dict.items[i] && dict.items[i]->text == key) return dict.items[i + 1];
  return nullptr;
}

/// A list or an array of numbers, one a record; what is neither, or holds anything else, is empty.
std::vector<std::int64_t> numbers_of(const PickleValue& value, const std::string& source) {
  std::vector<std::int64_t> numbers;
  const auto take = [&](const torch::Tensor& array) {
    if (!array.defined() || !at::isIntegralType(array.scalar_type(), false)) return false;
    const auto ids = array.to(torch::kInt64).contiguous();
    numbers.insert(numbers.end(), ids.data_ptr<std::int64_t>(),
                   ids.data_ptr<std::int64_t>() + ids.numel());
    return true;
  };
  if (!value.is(PickleValue::Kind::list) && !value.is(PickleValue::Kind::tuple))
    return take(numpy_array(value, source)) ? numbers : std::vector<std::int64_t>{};
  for (const PickleValue* item : value.items) {
    const bool plain = item->is(PickleValue::Kind::integer) && item->text.empty();
    if (plain)
      numbers.push_back(item->integer);
    else if (!take(numpy_array(*item, source)))
      return {};
  }
  return numbers;
}

/// {"data": uint8 (n, 3072), "labels" or "fine_labels" and "coarse_labels": list or array of n,
/// ...}
CifarFile read_pickled(const MappedFile& file, const fs::path& path, CifarLabels kind) {
  const PickleTree tree(std::string_view(reinterpret_cast<const char*>(file.data()), file.size()),
                        path.string());
  const char* const key = kind == CifarLabels::ten    ? "labels"
                          : kind == CifarLabels::fine ? "fine_labels"
                                                      : "coarse_labels";
  const PickleValue* data = lookup(tree.root(), "data");
  const PickleValue* labels = lookup(tree.root(), key);
  if (!data || !labels)
    throw not_cifar(path, kind, "the pickle holds no data and labels of that kind");
  const torch::Tensor pixels = numpy_array(*data, path.string());
  if (!pixels.defined() || pixels.scalar_type() != torch::kByte || pixels.dim() < 1 ||
      pixels.numel() != pixels.size(0) * kCifarPixels)
    throw not_cifar(path, kind, "its data is no array of bytes of n x 3072");
  const auto classes = numbers_of(*labels, path.string());
  const auto n = static_cast<std::size_t>(pixels.size(0));
  if (classes.size() != n)
    throw not_cifar(path, kind,
                    std::to_string(classes.size()) + " labels that are numbers, but " +
                        std::to_string(n) + " images");
  CifarFile result;
  for (std::size_t i = 0; i < n; ++i) {
    check_label(path, i, classes[i], kind);
    result.records.push_back({pixels.data_ptr<std::uint8_t>() + i * kCifarPixels, classes[i]});
  }
  result.owner = std::make_shared<torch::Tensor>(pixels);
  return result;
}

}  // namespace

CifarFile read_cifar_file(const fs::path& path, CifarLabels labels) {
  const auto file = std::make_shared<MappedFile>(path);
  // Beginnings of pickles of protocol 2 and later, 0, and 1; a binary record begins with a label of
  // CIFAR-10 or a coarse one of CIFAR-100, which are below 20.
  const unsigned char first = file->data()[0];
  return first == 0x80 || first == '(' || first == '}' ? read_pickled(*file, path, labels)
                                                       : read_binary(file, path, labels);
}

}  // namespace linex
