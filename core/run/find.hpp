// The reverse question: which units stand for a text?
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "toolkit/concepts/embedding_ability.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

/// How much each of some concepts says a text, in [0, 1].
using Likeness = std::function<std::vector<double>(const std::vector<std::string>& concepts)>;

/// By words: 1 for the same ones, whatever their case, '_' and plural s; otherwise the share of
/// words that both have.
Likeness like_words(const std::string& text);
/// By meaning: the cosine of the text's embedding with each concept's, above the mean over all of
/// them (texts share a direction), divided by what is possible. Lends `embeddings`.
Likeness like_meaning(const std::string& text, const ImageTextEmbeddings& embeddings);

struct FoundUnit {
  std::string layer;
  std::int64_t unit = 0;
  double score = 0;  ///< in (0, 1]
  std::string term;  ///< the concept that says it
  bool operator==(const FoundUnit& other) const {
    return layer == other.layer && unit == other.unit && score == other.score && term == other.term;
  }
};

/// The units whose explanation says it most, best first, at most `top`: the likeness of a term
/// times its share of the positive weights times the unit's test correlation (else that of
/// validation, else 1), of the best term. Equal scores come in the order of the file.
std::vector<FoundUnit> find_units(const ExplanationFile& file, const Likeness& likeness,
                                  std::size_t top);

/// "[{"layer", "unit", "score", "term"}, ...]" and a line end.
std::string to_json(const std::vector<FoundUnit>& found);

/// Every concept that explains a unit, once, in the order of the file.
std::vector<std::string> explaining_concepts(const ExplanationFile& file);

}  // namespace linex
