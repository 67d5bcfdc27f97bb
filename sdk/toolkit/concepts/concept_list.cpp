#include "toolkit/concepts/concept_list.hpp"

#include <set>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

ConceptList read_concept_list(const std::filesystem::path& file) {
  ConceptList list;
  std::set<std::string> seen;
  for (std::string& line : read_list(file)) {
    if (trim(line).empty()) {
      ++list.blank_lines;
      continue;
    }
    if (!seen.insert(line).second && list.duplicates++ == 0) list.first_duplicate = line;
    list.concepts.push_back(std::move(line));
  }
  if (list.concepts.empty())
    throw input_error(file.string() + ": no concept in it; write one a line");
  return list;
}

void report(const ConceptList& list, const std::filesystem::path& file, Logger& log) {
  std::vector<std::string> remarks;
  if (list.blank_lines > 0)
    remarks.push_back(std::to_string(list.blank_lines) + " blank line" +
                      (list.blank_lines > 1 ? "s" : "") + " left out");
  if (list.duplicates > 0)
    remarks.push_back(std::to_string(list.duplicates) + " repeated concept" +
                      (list.duplicates > 1 ? "s" : "") + " kept, the first is '" +
                      list.first_duplicate + "'");
  if (!remarks.empty()) log.warning(file.string() + ": " + join(remarks, ", "));
}

}  // namespace linex
