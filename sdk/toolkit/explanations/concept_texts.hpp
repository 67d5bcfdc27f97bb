// What texts of explanations mean to a labeler: its own concepts, and formulas of them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/labeler.hpp"
#include "toolkit/text/formula.hpp"

namespace linex {

/// A labeler that is attached, and outlives this object. A text that is one of its concepts means
/// that concept, even where it reads like a formula.
class ConceptTexts {
 public:
  explicit ConceptTexts(ConceptLabeler& labeler) : labeler_(labeler) {}

  /// Whether presence_of() can tell about `text`: the labeler knows it, or all names of the
  /// formula.
  bool knows(const std::string& text);
  /// Column j is texts[j], each known.
  std::shared_ptr<const Presence> presence_of(const std::vector<std::string>& texts);

 private:
  std::optional<Formula> formula_of(const std::string& text);

  ConceptLabeler& labeler_;
  std::optional<std::vector<std::string>> concepts_;  // sorted; asked for where a formula turns up
};

/// Concepts that an explanation names, those of formulas each: its length.
std::int64_t concept_count(const Explanation& explanation);

}  // namespace linex
