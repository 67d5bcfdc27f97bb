// A SentencePiece model of given words, for the embedded world's SigLIP.
#pragma once

#include <string>
#include <vector>

namespace linex {

/// Bytes of a .model file (sentencepiece_model.proto) whose pieces are <pad>, </s>, <unk>, the
/// words, each with the blank before it, and single letters for everything else. Text is not
/// normalised. The same words give the same bytes.
std::string word_piece_model(const std::vector<std::string>& words);

}  // namespace linex
