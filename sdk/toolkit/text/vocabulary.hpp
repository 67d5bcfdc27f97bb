// MILAN's words (docs/methods.md §2.3), without spaCy.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace linex {

/// Lower-cased words and single punctuation marks. Letters, digits and bytes beyond ASCII make
/// words; hyphens stand alone and "'s" is a word, as in spaCy's English rules, which otherwise know
/// more exceptions than matter to captions.
std::vector<std::string> tokenize(const std::string& text);

/// Words by number, and after them four special ones: start, stop, pad, unknown.
class Vocabulary {
 public:
  Vocabulary() = default;
  explicit Vocabulary(std::vector<std::string> words);
  /// Words of the texts, the most frequent first, equals in order of the alphabet.
  static Vocabulary of(const std::vector<std::string>& texts);

  const std::vector<std::string>& words() const { return words_; }
  std::int64_t size() const { return static_cast<std::int64_t>(words_.size()) + 4; }
  std::int64_t start() const { return size() - 4; }
  std::int64_t stop() const { return size() - 3; }
  std::int64_t pad() const { return size() - 2; }
  std::int64_t unknown() const { return size() - 1; }

  /// At most `length` ids of a text, then stop, then pads: length + 1 in all.
  std::vector<std::int64_t> encode(const std::string& text, std::int64_t length) const;
  /// Ids up to the first stop or pad as a sentence: words joined, no blank before punctuation, the
  /// first letter large.
  std::string decode(const std::vector<std::int64_t>& ids) const;

 private:
  std::vector<std::string> words_;
  std::unordered_map<std::string, std::int64_t> id_of_;
};

}  // namespace linex
