// SentencePiece over canonical text.
#include <dlfcn.h>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/library_folder.hpp"
#include "toolkit/text/clean_text.hpp"
#include "toolkit/text/isolated/sentencepiece.h"
#include "toolkit/text/tokenizer.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

constexpr std::uint64_t kMaxModelBytes = 64ULL << 20;
constexpr char kLibrary[] = "liblinex_sentencepiece.so";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kDeepBind = false;  // sanitizers forbid it
#else
constexpr bool kDeepBind = true;
#endif

/// Loads the module beside this library, once, for the life of the process.
const linex_sentencepiece& sentencepiece() {
  if (!kDeepBind)
    throw Error(ErrorKind::plugin, "SentencePiece needs RTLD_DEEPBIND, which sanitizers forbid");
  static const linex_sentencepiece* const functions = [] {
    // DEEPBIND: its own protobuf before LibTorch's, see isolated/sentencepiece.h.
    void* library =
        dlopen((library_folder() / kLibrary).c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    const void* symbol = library ? dlsym(library, "linex_sentencepiece_v2") : nullptr;
    if (!symbol) {
      const char* why = dlerror();
      throw Error(ErrorKind::plugin, std::string("cannot load SentencePiece: ") +
                                         (why ? why : "symbol not found") +
                                         "; install libsentencepiece0");
    }
    return static_cast<const linex_sentencepiece*>(symbol);
  }();
  return *functions;
}

class SiglipTokenizer final : public Tokenizer {
 public:
  SiglipTokenizer(const std::filesystem::path& path, GemmaText rule) : library_(sentencepiece()) {
    source_ = path.string();
    const std::string bytes = read_file(path, kMaxModelBytes);
    fingerprint_ = Sha256().add(bytes).hex();
    model_ = {bytes.empty() ? nullptr : library_.open(bytes.data(), bytes.size()), library_.close};
    if (!model_)
      throw input_error(source_ +
                        ": not a SentencePiece model; give the spiece.model of the checkpoint");
    size_ = library_.size(model_.get());
    end_ = padding_ = library_.end_token(model_.get());
    if (end_ < 0)
      throw input_error(source_ + ": the SentencePiece model has no end token; give SigLIP's own");
    if (library_.token(model_.get(), "<bos>") < 0) return;
    padding_ = library_.token(model_.get(), "<pad>");
    if (padding_ < 0)
      throw input_error(source_ + ": the SentencePiece model has no token <pad>; give Gemma's own");
    lower_ = rule == GemmaText::lower;
    if (lower_) fingerprint_ = Sha256().add(bytes).add("lower").hex();
  }

  std::vector<std::int64_t> encode(const std::string& text) const override {
    const std::string clean = lower_ ? each_lower(text) : to_utf8(clean_canonical(text));
    // A piece covers at least one byte; a blank, and the one put before the text, are three.
    std::vector<int> ids(3 * (clean.size() + 1));
    const int count = library_.encode(model_.get(), clean.data(), clean.size(), ids.data(),
                                      static_cast<int>(ids.size()));
    if (count < 0 || count > static_cast<int>(ids.size()))
      throw input_error(source_ + ": SentencePiece cannot encode '" + text.substr(0, 60) + "'");
    return {ids.begin(), ids.begin() + count};
  }

 private:
  const linex_sentencepiece& library_;
  std::unique_ptr<void, void (*)(void*)> model_{nullptr, nullptr};
  bool lower_ = false;
};

}  // namespace

bool has_sentencepiece() { return kDeepBind; }

std::unique_ptr<Tokenizer> open_sentencepiece_model(const std::filesystem::path& path,
                                                    GemmaText rule) {
  return std::make_unique<SiglipTokenizer>(path, rule);
}

}  // namespace linex
