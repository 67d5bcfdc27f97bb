// What a command may answer, checked.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "linex/data.hpp"
#include "linex/model.hpp"

namespace linex {

/// Everything here throws std::invalid_argument saying what is wrong with an answer.

/// Reads messages of type "explanation".
class ExplanationReader {
 public:
  explicit ExplanationReader(const std::vector<std::string>& concepts);
  /// The explanation of `unit`, terms sorted by weight. A term names a concept or its number.
  Explanation read(const nlohmann::json& message, std::int64_t unit) const;

 private:
  const std::vector<std::string>& concepts_;
  std::unordered_map<std::string, int> count_;  // names may repeat
};

/// A message of type "score": one column over `count` explanations.
ScoreColumn read_score(const nlohmann::json& message, std::size_t count);

/// A list of `least` or more texts that are not empty.
std::vector<std::string> read_names(const nlohmann::json& message, const char* key,
                                    std::size_t least);

/// {"resize", "size", "interpolation", "crop", "mean", "std"}, each with Preprocess' default.
Preprocess read_preprocess(const nlohmann::json& value);

/// What an evaluator's command gets of an explanation.
nlohmann::json to_json(const Explanation& explanation);

}  // namespace linex
