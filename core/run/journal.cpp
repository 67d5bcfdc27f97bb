#include "core/run/journal.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace {

using Json = nlohmann::json;

/// NaN has no JSON form; null stands for "none".
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }
double number(const Json& value) { return value.is_number() ? value.get<double>() : kNone; }

Json to_json(const Explanation& explanation) {
  Json terms = Json::array();
  for (const auto& term : explanation.terms) terms.push_back({term.concept_name, term.weight});
  return {{"unit", explanation.unit},
          {"terms", terms},
          {"bias", explanation.bias},
          {"text", explanation.text},
          {"status", to_string(explanation.status)},
          {"val", number(explanation.val_correlation)},
          {"objective", number(explanation.objective)},
          {"gap", number(explanation.duality_gap)},
          {"iterations", explanation.iterations}};
}

Explanation from_json(const Json& json) {
  Explanation explanation;
  explanation.unit = json.at("unit");
  for (const auto& term : json.at("terms")) explanation.terms.push_back({term.at(0), term.at(1)});
  explanation.bias = json.at("bias");
  explanation.text = json.at("text");
  explanation.status = status_from_string(json.at("status"));
  explanation.val_correlation = number(json.at("val"));
  explanation.objective = number(json.at("objective"));
  explanation.duality_gap = number(json.at("gap"));
  explanation.iterations = json.at("iterations");
  return explanation;
}

// A concept name may hold any bytes; JSON only UTF-8. Replacing would lose it, so such names travel
// as they are only inside strings that nlohmann accepts: names are checked to be UTF-8 when read.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::strict);
}

std::string digest(const std::string& text) { return Sha256().add(text).hex().substr(0, 16); }

}  // namespace

Journal::Journal(std::filesystem::path path, const std::string& key, bool resume)
    : path_(std::move(path)) {
  std::string kept;
  if (resume && std::filesystem::exists(path_)) {
    const auto lines = split_lines(read_file(path_));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto space = lines[i].find(' ');
      if (space == std::string::npos ||
          digest(lines[i].substr(space + 1)) != lines[i].substr(0, space))
        break;
      try {
        const std::string body = lines[i].substr(space + 1);
        if (!json_nests_at_most(body)) break;
        const Json json = Json::parse(body);
        if (i == 0 && json.at("key") != key) break;
        std::vector<Explanation> block;
        if (i > 0)
          for (const auto& entry : json) block.push_back(from_json(entry));
        finished_.insert(finished_.end(), block.begin(), block.end());
      } catch (const std::exception&) {  // whole, but not what append() writes
        break;
      }
      kept += lines[i] + "\n";
    }
  }
  if (kept.empty()) {
    const std::string body = dump({{"key", key}});
    kept = digest(body) + " " + body + "\n";
  }
  write_file_atomic(path_, kept);
}

void Journal::append(const std::vector<Explanation>& block) {
  Json json = Json::array();
  for (const auto& explanation : block) json.push_back(to_json(explanation));
  const std::string body = dump(json);
  append_durably(path_, digest(body) + " " + body + "\n");
}

void Journal::remove() { std::filesystem::remove(path_); }

}  // namespace linex
