#include "toolkit/external/answers.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string shown(const Json& value) { return printable(value.dump(), 60); }

/// null and a missing key stand for no number.
double number_or_none(const Json& message, const char* key) {
  const auto value = message.find(key);
  if (value == message.end() || value->is_null()) return kNone;
  if (!value->is_number())
    refuse(std::string("\"") + key + "\" is " + shown(*value) + ", no number");
  return value->get<double>();
}

std::string text_or(const Json& message, const char* key, const std::string& preset) {
  const auto value = message.find(key);
  if (value == message.end() || value->is_null()) return preset;
  if (!value->is_string()) refuse(std::string("\"") + key + "\" is " + shown(*value) + ", no text");
  return value->get<std::string>();
}

std::int64_t integer_or(const Json& message, const char* key, std::int64_t preset) {
  const auto value = message.find(key);
  if (value == message.end() || value->is_null()) return preset;
  if (!value->is_number_integer())
    refuse(std::string("\"") + key + "\" is " + shown(*value) + ", no integer");
  return value->get<std::int64_t>();
}

Status status_of(const std::string& word) {
  try {
    return status_from_string(word);
  } catch (const Error& error) {
    refuse(error.what());
  }
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::vector<double> numbers(const Json& message, const char* key, std::size_t count) {
  const auto list = message.find(key);
  if (list == message.end() || !list->is_array() || list->size() != count)
    refuse(std::string("\"") + key + "\" is " +
           (list == message.end() || !list->is_array()
                ? std::string("no list")
                : "a list of " + std::to_string(list->size())) +
           "; " + std::to_string(count) + " values are expected, one for each explanation");
  std::vector<double> values;
  for (const auto& value : *list) {
    if (!value.is_number() && !value.is_null())
      refuse(std::string("\"") + key + "\" holds " + shown(value) +
             "; a number or null is expected");
    values.push_back(value.is_null() ? kNone : value.get<double>());
  }
  return values;
}

}  // namespace

ExplanationReader::ExplanationReader(const std::vector<std::string>& concepts)
    : concepts_(concepts) {
  for (const auto& name : concepts) ++count_[name];
}

Explanation ExplanationReader::read(const Json& message, std::int64_t unit) const {
  Explanation explanation;
  const auto given = message.find("unit");
  if (given == message.end() || !given->is_number_integer())
    refuse("an explanation has no integer \"unit\"");
  if (*given != unit)
    refuse("it explained unit " + shown(*given) + " where unit " + std::to_string(unit) +
           " was due (units come once each, in the order asked)");
  const std::string where = "unit " + std::to_string(unit) + ": ";
  explanation.unit = unit;
  try {
    explanation.text = text_or(message, "text", "");
    std::unordered_map<std::string, int> used;
    if (const auto terms = message.find("terms"); terms != message.end() && !terms->is_null()) {
      if (!terms->is_array()) refuse("\"terms\" is no list");
      for (const auto& term : *terms) {
        if (!term.is_array() || term.size() != 2 || !term[1].is_number())
          refuse("a term is " + shown(term) + "; [concept, weight] is expected");
        std::string name;
        if (term[0].is_string()) {
          name = term[0].get<std::string>();
        } else if (term[0].is_number_integer()) {
          const auto index = term[0].get<std::int64_t>();
          if (index < 0 || index >= static_cast<std::int64_t>(concepts_.size()))
            refuse("there is no concept " + std::to_string(index) + " among " +
                   std::to_string(concepts_.size()));
          name = concepts_[static_cast<std::size_t>(index)];
        } else {
          refuse("a term is " + shown(term) + "; [concept, weight] is expected");
        }
        const auto known = count_.find(name);
        if (known == count_.end()) refuse("there is no concept '" + printable(name) + "'");
        if (++used[name] > known->second) refuse("it names '" + printable(name) + "' twice");
        const double weight = term[1].get<double>();
        if (!std::isfinite(weight)) refuse("the weight of '" + printable(name) + "' is not finite");
        explanation.terms.push_back({name, weight});
      }
    }
    std::stable_sort(explanation.terms.begin(), explanation.terms.end(),
                     [](const Term& a, const Term& b) { return a.weight > b.weight; });
    explanation.bias = number_or_none(message, "bias");
    if (std::isnan(explanation.bias)) explanation.bias = 0;
    if (!std::isfinite(explanation.bias)) refuse("its bias is not finite");
    explanation.val_correlation = number_or_none(message, "val_correlation");
    explanation.objective = number_or_none(message, "objective");
    explanation.duality_gap = number_or_none(message, "duality_gap");
    explanation.iterations = integer_or(message, "iterations", 0);
    const bool says = !explanation.terms.empty() || !explanation.text.empty();
    explanation.status = status_of(text_or(message, "status", says ? "ok" : "no_concept"));
    if (explanation.status == Status::ok && !says) refuse("status ok without a term or a text");
  } catch (const std::invalid_argument& error) {
    refuse(where + error.what());
  }
  return explanation;
}

ScoreColumn read_score(const Json& message, std::size_t count) {
  ScoreColumn column;
  column.name = text_or(message, "name", "");
  if (column.name.empty() || column.name.find_first_of("\n\r") != std::string::npos)
    refuse("a score has no \"name\" of one line");
  try {
    const auto higher = message.find("higher_is_better");
    if (higher != message.end() && !higher->is_boolean())
      refuse("\"higher_is_better\" is " + shown(*higher));
    column.higher_is_better = higher == message.end() || higher->get<bool>();
    column.value = numbers(message, "values", count);
    for (const double value : column.value)
      if (std::isinf(value)) refuse("a value is infinite");
    for (const char* key : {"low", "high"})
      if (const auto list = message.find(key); list != message.end() && !list->is_null())
        (key[0] == 'l' ? column.low : column.high) = numbers(message, key, count);
    if (column.low.size() != column.high.size()) refuse("\"low\" without \"high\"");
    const auto status = message.find("status");
    if (status == message.end() || status->is_null()) {
      for (const double value : column.value)
        column.status.push_back(std::isnan(value) ? Status::no_concept : Status::ok);
    } else {
      if (!status->is_array() || status->size() != count)
        refuse("\"status\" is no list of " + std::to_string(count) + " words");
      for (const auto& word : *status) {
        if (!word.is_string()) refuse("\"status\" holds " + shown(word));
        column.status.push_back(status_of(word.get<std::string>()));
      }
    }
    for (std::size_t i = 0; i < count; ++i)
      if (std::isfinite(column.value[i]) != (column.status[i] == Status::ok))
        refuse("explanation " + std::to_string(i) + " has status " + to_string(column.status[i]) +
               (std::isfinite(column.value[i]) ? " and a value" : " and no value"));
  } catch (const std::invalid_argument& error) {
    refuse("score '" + printable(column.name) + "': " + error.what());
  }
  return column;
}

std::vector<std::string> read_names(const Json& message, const char* key, std::size_t least) {
  const auto list = message.find(key);
  if (list == message.end() || !list->is_array() || list->size() < least)
    refuse(std::string("\"") + key + "\" is no list of " + std::to_string(least) +
           " or more texts");
  std::vector<std::string> names;
  for (const auto& name : *list) {
    if (!name.is_string() || name.get_ref<const std::string&>().empty())
      refuse(std::string("\"") + key + "\" holds " + shown(name) + ", no text");
    names.push_back(name.get<std::string>());
  }
  return names;
}

Preprocess read_preprocess(const Json& value) {
  Preprocess preprocess;
  if (value.is_null()) return preprocess;
  if (!value.is_object()) refuse("\"preprocess\" is no object");
  const auto choose = [&](const char* key, std::initializer_list<const char*> words) {
    const std::string word = text_or(value, key, *words.begin());
    const auto found = std::find(words.begin(), words.end(), word);
    if (found == words.end())
      refuse(std::string("preprocess: \"") + key + "\" is '" + printable(word) + "'");
    return static_cast<int>(found - words.begin());
  };
  preprocess.resize =
      static_cast<Preprocess::Resize>(choose("resize", {"none", "short_side", "squash"}));
  preprocess.interpolation =
      static_cast<Preprocess::Interpolation>(choose("interpolation", {"bilinear", "bicubic"}));
  preprocess.size = integer_or(value, "size", 0);
  preprocess.crop = integer_or(value, "crop", 0);
  constexpr std::int64_t kLargest = 8192;
  const bool resizes = preprocess.resize != Preprocess::Resize::none;
  if (preprocess.size < (resizes ? 1 : 0) || preprocess.size > kLargest || preprocess.crop < 0 ||
      preprocess.crop > kLargest)
    refuse("preprocess: \"size\" or \"crop\" is out of range");
  for (const char* key : {"mean", "std"}) {
    const auto list = value.find(key);
    if (list == value.end()) continue;
    if (!list->is_array() || list->size() != 3)
      refuse(std::string("preprocess: \"") + key + "\" is no list of three numbers");
    for (std::size_t c = 0; c < 3; ++c) {
      const auto& entry = (*list)[c];
      const double given = entry.is_number() ? entry.get<double>() : kNone;
      if (!std::isfinite(given) || (key[0] == 's' && given <= 0))
        refuse(std::string("preprocess: \"") + key + "\" is no list of three numbers");
      (key[0] == 'm' ? preprocess.mean : preprocess.std)[c] = static_cast<float>(given);
    }
  }
  return preprocess;
}

Json to_json(const Explanation& explanation) {
  Json terms = Json::array();
  for (const auto& term : explanation.terms) terms.push_back({term.concept_name, term.weight});
  return {{"unit", explanation.unit},
          {"terms", terms},
          {"bias", explanation.bias},
          {"text", explanation.text},
          {"status", to_string(explanation.status)},
          {"val_correlation", number(explanation.val_correlation)}};
}

}  // namespace linex
