#include "toolkit/data/cifar_records.hpp"

#include <string>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/pickle.hpp"

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

/// The bytes of a pickled NumPy array: the state its __setstate__ takes is (version, shape, dtype,
/// is_fortran, bytes).
const std::string* array_bytes(const PickleValue* array) {
  if (!array || !array->state || array->state->items.size() != 5) return nullptr;
  const PickleValue* bytes = array->state->items[4];
  return bytes ? &bytes->text : nullptr;
}

/// {"data": uint8 (n, 3072), "labels" or "fine_labels" and "coarse_labels": list of n, ...}
CifarFile read_pickled(const MappedFile& file, const fs::path& path, CifarLabels kind) {
  const auto tree = std::make_shared<PickleTree>(
      std::string_view(reinterpret_cast<const char*>(file.data()), file.size()), path.string());
  const std::string* pixels = array_bytes(lookup(tree->root(), "data"));
  const char* const key = kind == CifarLabels::ten    ? "labels"
                          : kind == CifarLabels::fine ? "fine_labels"
                                                      : "coarse_labels";
  const PickleValue* labels = lookup(tree->root(), key);
  if (!pixels || !labels || !labels->is(PickleValue::Kind::list))
    throw not_cifar(path, kind, "the pickle holds no data and labels of that kind");
  const std::size_t n = labels->items.size();
  if (pixels->size() / kCifarPixels != n || pixels->size() % kCifarPixels != 0)
    throw not_cifar(
        path, kind,
        std::to_string(n) + " labels, but " + std::to_string(pixels->size()) + " bytes of pixels");
  CifarFile result;
  for (std::size_t i = 0; i < n; ++i) {
    const PickleValue* label = labels->items[i];
    if (!label || !label->is(PickleValue::Kind::integer))
      throw not_cifar(path, kind, "label " + std::to_string(i) + " is not a number");
    check_label(path, i, label->integer, kind);
    result.records.push_back(
        {reinterpret_cast<const unsigned char*>(pixels->data()) + i * kCifarPixels,
         label->integer});
  }
  result.owner = tree;
  return result;
}

}  // namespace

CifarFile read_cifar_file(const fs::path& path, CifarLabels labels) {
  const auto file = std::make_shared<MappedFile>(path);
  // A pickle of protocol 2 or later; no binary record begins so, since labels are below 100.
  constexpr unsigned char kPickle = 0x80;
  return file->data()[0] == kPickle ? read_pickled(*file, path, labels)
                                    : read_binary(file, path, labels);
}

}  // namespace linex
