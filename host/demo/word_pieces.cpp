#include "host/demo/word_pieces.hpp"

#include <cstdint>
#include <cstring>

namespace linex {
namespace {

// Numbers of fields and enumerators are those of sentencepiece_model.proto.
enum class Piece : std::uint64_t { normal = 1, unknown = 2, control = 3 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_number(std::string& out, std::uint64_t field, std::uint64_t value) {
  put_varint(out, field << 3);
  put_varint(out, value);
}
void put_bytes(std::string& out, std::uint64_t field, const std::string& bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_float(std::string& out, std::uint64_t field, float value) {
  put_varint(out, field << 3 | 5);
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  for (int byte = 0; byte < 4; ++byte) out += static_cast<char>(bits >> (8 * byte));
}

void put_piece(std::string& model, const std::string& text, float score, Piece type) {
  std::string piece;
  put_bytes(piece, 1, text);
  put_float(piece, 2, score);
  put_number(piece, 3, static_cast<std::uint64_t>(type));
  put_bytes(model, 1, piece);
}

}  // namespace

std::string word_piece_model(const std::vector<std::string>& words) {
  // SentencePiece writes a blank as U+2581.
  const std::string blank = "\xe2\x96\x81";
  // A word always wins over its letters.
  constexpr float kWord = -1, kLetter = -20;
  std::string model;
  put_piece(model, "<pad>", 0, Piece::control);
  put_piece(model, "</s>", 0, Piece::control);
  put_piece(model, "<unk>", 0, Piece::unknown);
  for (const std::string& word : words) put_piece(model, blank + word, kWord, Piece::normal);
  put_piece(model, blank, kLetter, Piece::normal);
  for (char letter = 'a'; letter <= 'z'; ++letter)
    put_piece(model, std::string(1, letter), kLetter, Piece::normal);

  std::string trainer;
  constexpr std::uint64_t kUnigram = 1;
  put_number(trainer, 3, kUnigram);
  put_number(trainer, 40, 2);                               // unk_id
  put_number(trainer, 41, static_cast<std::uint64_t>(-1));  // no bos
  put_number(trainer, 42, 1);                               // eos_id
  put_number(trainer, 43, 0);                               // pad_id
  put_bytes(model, 2, trainer);
  std::string normalizer;
  put_bytes(normalizer, 1, "identity");
  put_bytes(model, 3, normalizer);
  return model;
}

}  // namespace linex
