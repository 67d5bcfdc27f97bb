#include "toolkit/text/formula.hpp"

#include "toolkit/base/text.hpp"

namespace linex {

namespace {

constexpr int kDeepest = 64;
constexpr std::string_view kAnd = " AND ", kOr = " OR ", kNot = "NOT ";

bool starts(std::string_view text, std::string_view with) {
  return text.compare(0, with.size(), with) == 0;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  std::optional<Formula> whole() {
    auto formula = chain(kOr, Formula::Kind::disjunction, 0);
    if (!formula || !rest_.empty()) return std::nullopt;
    return formula;
  }

 private:
  /// Operands joined by one operator, from left to right.
  std::optional<Formula> chain(std::string_view joint, Formula::Kind kind, int depth) {
    const auto operand = [&] {
      return joint == kOr ? chain(kAnd, Formula::Kind::conjunction, depth) : single(depth);
    };
    auto left = operand();
    for (int joined = depth; left && starts(rest_, joint); ++joined) {
      if (joined >= kDeepest) return std::nullopt;
      rest_.remove_prefix(joint.size());
      auto right = operand();
      if (!right) return std::nullopt;
      Formula pair{kind, "", {}};
      pair.of.push_back(std::move(*left));
      pair.of.push_back(std::move(*right));
      left = std::move(pair);
    }
    return left;
  }

  std::optional<Formula> single(int depth) {
    if (depth >= kDeepest) return std::nullopt;
    if (starts(rest_, kNot)) {
      rest_.remove_prefix(kNot.size());
      auto inner = single(depth + 1);
      if (!inner) return std::nullopt;
      Formula formula{Formula::Kind::negation, "", {}};
      formula.of.push_back(std::move(*inner));
      return formula;
    }
    if (starts(rest_, "(")) {
      rest_.remove_prefix(1);
      auto inner = chain(kOr, Formula::Kind::disjunction, depth + 1);
      if (!inner || !starts(rest_, ")")) return std::nullopt;
      rest_.remove_prefix(1);
      return inner;
    }
    return starts(rest_, "\"") ? quoted() : bare();
  }

  std::optional<Formula> quoted() {
    std::string name;
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == '"') {
        if (i + 1 >= rest_.size() || rest_[i + 1] != '"') {
          rest_.remove_prefix(i + 1);
          if (name.empty()) return std::nullopt;
          return Formula{Formula::Kind::name, std::move(name), {}};
        }
        ++i;
      }
      name += rest_[i];
    }
    return std::nullopt;
  }

  std::optional<Formula> bare() {
    std::size_t end = 0;
    while (end < rest_.size() && rest_[end] != ')' && !starts(rest_.substr(end), kAnd) &&
           !starts(rest_.substr(end), kOr))
      if (rest_[end] == '(' || rest_[end] == '"')
        return std::nullopt;
      else
        ++end;
    std::string name = trim(rest_.substr(0, end));
    if (name.empty()) return std::nullopt;
    rest_.remove_prefix(end);
    return Formula{Formula::Kind::name, std::move(name), {}};
  }

  std::string_view rest_;
};

bool needs_quotes(const std::string& name) {
  return name.find(kAnd) != std::string::npos || name.find(kOr) != std::string::npos ||
         name.find(kNot) != std::string::npos || name.find_first_of("()\"") != std::string::npos ||
         trim(name) != name;
}

std::string text_of(const Formula& formula, bool inside) {
  switch (formula.kind) {
    case Formula::Kind::name: {
      if (!needs_quotes(formula.name)) return formula.name;
      std::string text = "\"";
      for (const char c : formula.name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
      return text + '"';
    }
    case Formula::Kind::negation:
      return "NOT " + text_of(formula.of[0], true);
    default: {
      const auto joint = formula.kind == Formula::Kind::conjunction ? kAnd : kOr;
      const std::string text =
          text_of(formula.of[0], true) + std::string(joint) + text_of(formula.of[1], true);
      return inside ? "(" + text + ")" : text;
    }
  }
}

}  // namespace

std::int64_t Formula::length() const {
  if (kind == Kind::name) return 1;
  std::int64_t length = 0;
  for (const Formula& part : of) length += part.length();
  return length;
}

std::optional<Formula> parse_formula(std::string_view text) {
  auto formula = Parser(text).whole();
  if (formula && formula->kind == Formula::Kind::name) return std::nullopt;
  return formula;
}

std::string to_text(const Formula& formula) { return text_of(formula, false); }

std::int64_t formula_length(std::string_view text) {
  const auto formula = parse_formula(text);
  return formula ? formula->length() : 1;
}

}  // namespace linex
