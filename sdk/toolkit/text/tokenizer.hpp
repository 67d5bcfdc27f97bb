// From texts to token ids for text towers.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace linex {

/// Cuts texts into tokens. [any thread]
class Tokenizer {
 public:
  virtual ~Tokenizer();
  /// Token ids of one text (UTF-8), without start, end and padding.
  virtual std::vector<std::int64_t> encode(const std::string& text) const = 0;
  /// int64 (n, context): ids with start and end tokens, padded. A longer text is cut off, its last
  /// token becoming the end token (open_clip's rule; OpenAI's code refuses such texts).
  torch::Tensor encode_batch(const std::vector<std::string>& texts, std::int64_t context) const;
  /// Whether encode_batch would cut `text` off.
  bool is_cut(const std::string& text, std::int64_t context) const;

  std::int64_t size() const { return size_; }                      ///< ids are in [0, size)
  const std::string& fingerprint() const { return fingerprint_; }  ///< digest of the vocabulary
  const std::string& source() const { return source_; }            ///< its file, for messages

 protected:
  std::int64_t start_ = -1;  ///< before every text; -1 = none
  std::int64_t end_ = 0, padding_ = 0, size_ = 0;
  std::string fingerprint_, source_;
};

/// CLIP's byte-pair encoding of lower-cased text (clean_lower), from `bpe_simple_vocab_16e6.txt.gz`
/// (or unpacked) or, given `vocab.json`, from it and the `merges.txt` beside it. Padded with 0
/// (Hugging Face pads with the end token; the tower ignores
/// what follows the end token). Throws Error(input) naming the file.
std::unique_ptr<Tokenizer> open_clip_vocabulary(const std::filesystem::path& path);

/// Whether SentencePiece can be loaded here; not under some sanitizers.
bool has_sentencepiece();
/// What of a text SigLIP 2 cuts into tokens: clean_canonical(), open_clip's, or the text in lower
/// case, as the published weights were trained and Hugging Face has it.
enum class GemmaText { canonical, lower };
/// SigLIP's SentencePiece model (`spiece.model`) over clean_canonical text; ends, and is padded,
/// with the model's end token. Or Gemma's (`tokenizer.model`, known by its token "bos"), which is
/// SigLIP 2's: over `rule`, ends with "eos", padded with "pad". Throws Error(input) naming the
/// file.
std::unique_ptr<Tokenizer> open_sentencepiece_model(const std::filesystem::path& path,
                                                    GemmaText rule = GemmaText::canonical);
/// Gemma's vocabulary from Hugging Face's `tokenizer.json`; without SentencePiece, and so under
/// sanitizers, too. Throws Error(input) naming the file.
std::unique_ptr<Tokenizer> open_gemma_json(const std::filesystem::path& path, GemmaText rule);

}  // namespace linex
