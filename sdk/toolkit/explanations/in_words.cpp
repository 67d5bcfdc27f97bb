#include "toolkit/explanations/in_words.hpp"

#include <cmath>

#include "toolkit/base/text.hpp"

namespace linex {

std::string in_words(const Explanation& explanation) {
  if (!explanation.text.empty()) return explanation.text;
  if (explanation.terms.empty()) return "";
  std::string text;
  for (const auto& term : explanation.terms) {
    if (text.empty())
      text = term.weight < 0 ? "-" : "";
    else
      text += term.weight < 0 ? " - " : " + ";
    text += significant(std::fabs(term.weight)) + "·" + term.concept_name;
  }
  return text + (explanation.bias < 0 ? " - " : " + ") + significant(std::fabs(explanation.bias));
}

}  // namespace linex
