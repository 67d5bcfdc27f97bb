#include "core/run/find.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "toolkit/base/text.hpp"

namespace linex {
namespace {

/// Words of a name: ASCII in lower case, split at blanks, '_', '-' and the like, plurals cut.
std::set<std::string> words_of(const std::string& text) {
  std::set<std::string> words;
  std::string word;
  const auto end_word = [&] {
    constexpr std::size_t kShortest = 4;  // "bus" and "gas" are no plurals
    if (word.size() >= kShortest && word.back() == 's' && word[word.size() - 2] != 's')
      word.pop_back();
    if (!word.empty()) words.insert(word);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || byte >= 0x80)
      word += static_cast<char>(std::tolower(byte));
    else
      end_word();
  }
  end_word();
  return words;
}

/// A unit's own strength of explanation.
double strength(const ExplanationFile& file, std::size_t i) {
  for (const auto& score : file.scores)
    if (score.name == "sim correlation" && i < score.value.size() && std::isfinite(score.value[i]))
      return std::clamp(score.value[i], 0.0, 1.0);
  const double validated = file.explanations[i].val_correlation;
  return std::isfinite(validated) ? std::clamp(validated, 0.0, 1.0) : 1.0;
}

}  // namespace

std::vector<std::string> explaining_concepts(const ExplanationFile& file) {
  std::vector<std::string> concepts;
  std::set<std::string> known;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && known.insert(name).second) concepts.push_back(name);
  };
  for (const auto& explanation : file.explanations) {
    for (const auto& term : explanation.terms)
      if (term.weight > 0) add(term.concept_name);
    if (explanation.terms.empty()) add(explanation.text);
  }
  return concepts;
}

Likeness like_words(const std::string& text) {
  return [asked = words_of(text)](const std::vector<std::string>& concepts) {
    std::vector<double> likeness;
    for (const auto& name : concepts) {
      const auto words = words_of(name);
      const auto common = static_cast<double>(std::count_if(
          asked.begin(), asked.end(), [&](const std::string& word) { return words.count(word); }));
      const double all = static_cast<double>(asked.size() + words.size()) - common;
      likeness.push_back(all > 0 ? common / all : 0);
    }
    return likeness;
  };
}

Likeness like_meaning(const std::string& text, const ImageTextEmbeddings& embeddings) {
  return [text, &embeddings](const std::vector<std::string>& concepts) {
    if (concepts.empty()) return std::vector<double>();
    const torch::Tensor found =
        text_likeness(embeddings.text_embeddings({text})[0], embeddings.text_embeddings(concepts));
    const auto* const values = found.data_ptr<double>();
    return std::vector<double>(values, values + found.numel());
  };
}

std::vector<FoundUnit> find_units(const ExplanationFile& file, const Likeness& likeness,
                                  std::size_t top) {
  const auto concepts = explaining_concepts(file);
  const auto likeness_of_each = likeness(concepts);
  std::unordered_map<std::string, double> like;
  for (std::size_t i = 0; i < concepts.size(); ++i) like[concepts[i]] = likeness_of_each[i];

  std::vector<FoundUnit> found;
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const auto& explanation = file.explanations[i];
    FoundUnit best{file.layers[i], explanation.unit, 0, ""};
    const auto consider = [&](const std::string& name, double share) {
      const double score = like.at(name) * share;
      if (score > best.score) best.score = score, best.term = name;
    };
    double total = 0;
    for (const auto& term : explanation.terms) total += std::max(term.weight, 0.0);
    for (const auto& term : explanation.terms)
      if (term.weight > 0) consider(term.concept_name, term.weight / total);
    if (explanation.terms.empty() && !explanation.text.empty()) consider(explanation.text, 1);
    best.score *= strength(file, i);
    if (best.score > 0) found.push_back(std::move(best));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const FoundUnit& a, const FoundUnit& b) { return a.score > b.score; });
  if (found.size() > top) found.resize(top);
  return found;
}

std::string to_json(const std::vector<FoundUnit>& found) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& unit : found)
    list.push_back(
        {{"layer", unit.layer}, {"unit", unit.unit}, {"score", unit.score}, {"term", unit.term}});
  return list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace linex
