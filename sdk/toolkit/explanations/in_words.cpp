#include "toolkit/explanations/in_words.hpp"

#include <cmath>

#include "toolkit/base/text.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace linex {

std::string in_words(const Explanation& explanation) {
  const Link link = link_of(explanation);
  const bool bent = link.kind != Link::Kind::identity;
  if (!explanation.text.empty() && !bent) return explanation.text;
  if (explanation.terms.empty()) return "";
  std::string text;
  for (const auto& term : explanation.terms) {
    if (text.empty())
      text = term.weight < 0 ? "-" : "";
    else
      text += term.weight < 0 ? " - " : " + ";
    text += significant(std::fabs(term.weight)) + "·" + term.concept_name;
  }
  text += (explanation.bias < 0 ? " - " : " + ") + significant(std::fabs(explanation.bias));
  if (!bent) return text;
  return (link.kind == Link::Kind::relu ? "relu(" : "softplus(") + text + ")";
}

}  // namespace linex
