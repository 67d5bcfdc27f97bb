#include "toolkit/text/isolated/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

namespace {

using Processor = sentencepiece::SentencePieceProcessor;

void* open_model(const char* bytes, size_t size) {
  try {
    auto model = std::make_unique<Processor>();
    return model->LoadFromSerializedProto({bytes, size}).ok() ? model.release() : nullptr;
  } catch (...) {
    return nullptr;
  }
}

void close_model(void* model) { delete static_cast<Processor*>(model); }
int piece_count(const void* model) { return static_cast<const Processor*>(model)->GetPieceSize(); }
int end_token(const void* model) { return static_cast<const Processor*>(model)->eos_id(); }

int token(const void* model, const char* piece) {
  const auto* processor = static_cast<const Processor*>(model);
  const int id = processor->PieceToId(piece);
  return processor->IsUnknown(id) ? -1 : id;
}

int encode(const void* model, const char* text, size_t size, int* ids, int capacity) {
  try {
    std::vector<int> found;
    if (!static_cast<const Processor*>(model)->Encode({text, size}, &found).ok()) return -1;
    const int count = static_cast<int>(found.size());
    std::copy_n(found.begin(), std::min(count, capacity), ids);
    return count;
  } catch (...) {
    return -1;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default")))
const linex_sentencepiece linex_sentencepiece_v2 = {&open_model, &close_model, &piece_count,
                                                    &end_token,  &token,       &encode};
