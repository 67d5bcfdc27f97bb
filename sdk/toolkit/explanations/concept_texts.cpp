#include "toolkit/explanations/concept_texts.hpp"

#include <algorithm>
#include <functional>
#include <unordered_map>

namespace linex {

namespace {

/// Formulas over the columns of another source.
class FormulaPresence final : public Presence {
 public:
  FormulaPresence(std::shared_ptr<const Presence> atoms, std::vector<std::string> names,
                  std::vector<Formula> formulas)
      : atoms_(std::move(atoms)), formulas_(std::move(formulas)) {
    for (std::size_t j = 0; j < names.size(); ++j)
      column_of_.emplace(std::move(names[j]), static_cast<std::int64_t>(j));
  }

  std::int64_t rows() const override { return atoms_->rows(); }
  std::int64_t cols() const override { return static_cast<std::int64_t>(formulas_.size()); }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    const std::int64_t width = cols.count(this->cols());
    std::vector<std::int64_t> used, place(static_cast<std::size_t>(atoms_->cols()), -1);
    const std::function<void(const Formula&)> use = [&](const Formula& formula) {
      for (const Formula& part : formula.of) use(part);
      if (formula.kind != Formula::Kind::name) return;
      const std::int64_t column = column_of_.at(formula.name);
      if (place[static_cast<std::size_t>(column)] >= 0) return;
      place[static_cast<std::size_t>(column)] = static_cast<std::int64_t>(used.size());
      used.push_back(column);
    };
    for (std::int64_t j = 0; j < width; ++j) use(formulas_[static_cast<std::size_t>(cols[j])]);
    std::vector<float> values(used.size() * static_cast<std::size_t>(rows.size()));
    atoms_->read(rows, Columns(used), values.data());
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      const float* const row = values.data() + static_cast<std::size_t>(i) * used.size();
      const auto value_of = [&](const std::string& name) {
        return static_cast<double>(row[place[static_cast<std::size_t>(column_of_.at(name))]]);
      };
      for (std::int64_t j = 0; j < width; ++j)
        out[i * width + j] =
            static_cast<float>(formulas_[static_cast<std::size_t>(cols[j])].value(value_of));
    }
  }

  std::shared_ptr<const Presence> atoms_;
  std::unordered_map<std::string, std::int64_t> column_of_;
  std::vector<Formula> formulas_;
};

void names_of(const Formula& formula, std::vector<std::string>& names) {
  if (formula.kind == Formula::Kind::name) names.push_back(formula.name);
  for (const Formula& part : formula.of) names_of(part, names);
}

}  // namespace

std::optional<Formula> ConceptTexts::formula_of(const std::string& text) {
  auto formula = parse_formula(text);
  if (!formula) return formula;
  if (!concepts_) {
    concepts_ = labeler_.concepts();
    std::sort(concepts_->begin(), concepts_->end());
  }
  if (std::binary_search(concepts_->begin(), concepts_->end(), text)) return std::nullopt;
  return formula;
}

bool ConceptTexts::knows(const std::string& text) {
  const auto formula = formula_of(text);
  if (!formula) return labeler_.knows(text);
  std::vector<std::string> names;
  names_of(*formula, names);
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return labeler_.knows(name); });
}

std::shared_ptr<const Presence> ConceptTexts::presence_of(const std::vector<std::string>& texts) {
  std::vector<Formula> formulas;
  std::vector<std::string> names;
  bool plain = true;
  for (const std::string& text : texts) {
    auto formula = formula_of(text);
    plain = plain && !formula;
    formulas.push_back(formula ? std::move(*formula) : Formula{Formula::Kind::name, text, {}});
    names_of(formulas.back(), names);
  }
  if (plain) return labeler_.presence_of(texts);
  std::vector<std::string> distinct;
  std::unordered_map<std::string, bool> seen;
  for (std::string& name : names)
    if (seen.emplace(name, true).second) distinct.push_back(std::move(name));
  auto atoms = labeler_.presence_of(distinct);
  return std::make_shared<FormulaPresence>(std::move(atoms), std::move(distinct),
                                           std::move(formulas));
}

std::int64_t concept_count(const Explanation& explanation) {
  std::int64_t count = 0;
  for (const Term& term : explanation.terms) count += formula_length(term.concept_name);
  return count;
}

}  // namespace linex
