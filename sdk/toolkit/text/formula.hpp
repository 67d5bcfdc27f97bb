// Concepts joined by AND, OR and NOT, as explanations and descriptions write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace linex {

/// A concept, or formulas joined. Presence of a formula: a·b for a AND b, a + b − a·b for a OR b,
/// 1 − a for NOT a.
struct Formula {
  enum class Kind { name, conjunction, disjunction, negation };
  Kind kind = Kind::name;
  std::string name;         ///< of Kind::name
  std::vector<Formula> of;  ///< two, or the one that is negated

  /// Concepts named, repetitions counted.
  std::int64_t length() const;
  /// `value_of(name)` at each concept.
  template <class Value>
  double value(const Value& value_of) const {
    switch (kind) {
      case Kind::name:
        return value_of(name);
      case Kind::negation:
        return 1 - of[0].value(value_of);
      default: {
        const double a = of[0].value(value_of), b = of[1].value(value_of);
        return kind == Kind::conjunction ? a * b : a + b - a * b;
      }
    }
  }
};

/// "striped AND red", "(a OR (b AND NOT c))": NOT binds before AND before OR; a name that holds
/// " AND ", " OR ", "NOT ", a quote or parentheses stands in quotes, a quote in it twice. None
/// where nothing is joined or negated, or where the text is not of this form (a sentence, a plain
/// name): it then means itself. At most 64 levels deep.
std::optional<Formula> parse_formula(std::string_view text);

/// Parentheses round every pair inside another formula; NOT before what it negates.
std::string to_text(const Formula& formula);

/// Concepts that the text of a term or a description names: 1 where it is no formula.
std::int64_t formula_length(std::string_view text);

}  // namespace linex
