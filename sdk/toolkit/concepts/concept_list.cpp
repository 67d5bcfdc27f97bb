#include "toolkit/concepts/concept_list.hpp"

#include <unordered_set>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

ConceptList distinct_names(std::vector<std::string> names, const std::string& source, Logger& log,
                           const std::string& item) {
  std::unordered_set<std::string> given, taken;
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = trim(names[i]);
    if (names[i].empty())
      throw input_error(source + ": " + item + " " + std::to_string(i + 1) +
                        " is empty, where the name of a concept is due");
    given.insert(names[i]);
  }
  ConceptList list;
  std::unordered_map<std::string, std::size_t> times;
  std::size_t repeated = 0;
  std::string first;
  for (const std::string& name : names) {
    std::string distinct = name;
    // A name that somebody else bears already stays theirs.
    while (taken.count(distinct) || (distinct != name && given.count(distinct)))
      distinct = name + " (" + std::to_string(std::max<std::size_t>(++times[name], 2)) + ")";
    if (distinct != name) {
      if (repeated++ == 0) first = name;
      list.written.emplace(distinct, name);
    }
    taken.insert(distinct);
    list.names.push_back(std::move(distinct));
  }
  if (repeated > 0)
    log.warning(source + ": " + std::to_string(repeated) + " name" + (repeated > 1 ? "s" : "") +
                " there already, the first is '" + first + "'; the second of a name is called '" +
                first + " (2)', and so on");
  return list;
}

ConceptList read_concept_list(const std::filesystem::path& file, Logger& log) {
  std::vector<std::string> lines = read_list(file);
  while (!lines.empty() && trim(lines.back()).empty()) lines.pop_back();
  if (lines.empty()) throw input_error(file.string() + ": no concept in it; write one a line");
  return distinct_names(std::move(lines), file.string(), log);
}

}  // namespace linex
