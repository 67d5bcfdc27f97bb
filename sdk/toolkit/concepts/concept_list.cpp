#include "toolkit/concepts/concept_list.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/base/text_file.hpp"

namespace linex {

namespace {

using Json = nlohmann::ordered_json;
using Names = std::vector<std::string>;

/// Nothing for other keys than "0", "17", ...
std::optional<std::size_t> as_place(const std::string& key) {
  std::size_t place = 0;
  const char* end = key.data() + key.size();
  const auto [stop, failure] = std::from_chars(key.data(), end, place);
  if (key.empty() || failure != std::errc() || stop != end) return std::nullopt;
  return place;
}

/// "cat", or the last of ["n02123045", "tabby"].
std::optional<std::string> name_in(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && !value.empty() && value.back().is_string())
    return value.back().get<std::string>();
  return std::nullopt;
}

/// `names` by their places, which must be 0 to n-1.
Names in_order(const std::map<std::size_t, std::string>& names, const std::string& source) {
  Names ordered;
  for (const auto& [place, name] : names) {
    if (place != ordered.size())
      throw input_error(source + ": it names no concept " + std::to_string(ordered.size()) +
                        ", but a concept " + std::to_string(place) +
                        "; numbers are the columns, from 0");
    ordered.push_back(name);
  }
  return ordered;
}

/// {"0": "cat", ...}, {"cat": 0, ...} by number; {"n02123045": "tabby", ...} as it stands.
Names names_of_object(const Json& json, const std::string& source) {
  for (const char* key : {"id2label", "label2id"})
    if (json.contains(key) && json[key].is_object()) return names_of_object(json[key], source);
  std::map<std::size_t, std::string> by_place;
  Names as_written;
  for (const auto& [key, value] : json.items()) {
    const auto name = name_in(value);
    const auto place = as_place(key);
    if (name && place)
      by_place.emplace(*place, *name);
    else if (name)
      as_written.push_back(*name);
    else if (value.is_number_unsigned())
      by_place.emplace(value.get<std::size_t>(), key);
    else
      throw input_error(source + ": '" + printable(key) +
                        "' is neither a name by its number nor a number by its name; give a JSON "
                        "list of names, {\"0\": \"NAME\", ...} or a file with id2label");
  }
  if (by_place.size() + as_written.size() != json.size() ||
      (!by_place.empty() && !as_written.empty()))
    throw input_error(source + ": some of its names have a number, some have none or share one");
  return by_place.empty() ? as_written : in_order(by_place, source);
}

Names names_of_json(const Json& json, const std::string& source) {
  if (json.is_object()) return names_of_object(json, source);
  Names names;
  for (const Json& value : json) {
    const auto name = name_in(value);
    if (!name)
      throw input_error(source + ": entry " + std::to_string(names.size() + 1) +
                        " of the JSON list is no name");
    names.push_back(*name);
  }
  return names;
}

/// The column of names: told by its header, or the only one.
Names names_of_table(const std::filesystem::path& file) {
  auto records = read_table(file);
  if (records.empty()) return {};
  const auto column_of = [&](const Names& header) -> std::optional<std::size_t> {
    for (const char* called : {"concept", "name", "concept_name", "class_name", "label_name",
                               "label", "class", "text", "description"})
      for (std::size_t j = 0; j < header.size(); ++j) {
        std::string cell = trim(header[j]);
        std::transform(cell.begin(), cell.end(), cell.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        if (cell == called) return j;
      }
    return std::nullopt;
  };
  const auto named = column_of(records.front());
  if (!named && records.front().size() > 1)
    throw input_error(file.string() + ": none of its columns (" +
                      printable(join(records.front(), ", ")) +
                      ") is called 'concept' or 'name'; name one so, or give a list");
  Names names;
  for (std::size_t i = named ? 1 : 0; i < records.size(); ++i) {
    if (records[i].size() <= named.value_or(0))
      throw input_error(file.string() + ": record " + std::to_string(i + 1) + " has " +
                        std::to_string(records[i].size()) + " cells, the header has " +
                        std::to_string(records.front().size()));
    names.push_back(std::move(records[i][named.value_or(0)]));
  }
  return names;
}

bool is_table(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  return extension == ".csv" || extension == ".tsv" || extension == ".CSV" || extension == ".TSV";
}

}  // namespace

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
  const std::string source = file.string();
  const auto checked = [&](Names names, const char* item) {
    if (names.empty()) throw input_error(source + ": no concept in it; write one a line");
    for (std::size_t i = 0; i < names.size(); ++i)
      if (!is_utf8(names[i]))
        throw input_error(source + ": " + item + " " + std::to_string(i + 1) + " is not UTF-8");
    return distinct_names(std::move(names), source, log, item);
  };
  if (is_table(file)) return checked(names_of_table(file), "concept");
  const std::string text = read_text(file);
  const auto first = text.find_first_not_of(" \t\r\n");
  const bool bracket = first != std::string::npos && (text[first] == '[' || text[first] == '{');
  if (bracket || file.extension() == ".json") {
    const Json json = json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
    if (json.is_structured()) return checked(names_of_json(json, source), "entry");
    if (file.extension() == ".json")
      throw input_error(source + ": it is no JSON list or object of names");
  }
  std::vector<std::string> lines = read_list(file);
  while (!lines.empty() && trim(lines.back()).empty()) lines.pop_back();
  return checked(std::move(lines), "line");
}

}  // namespace linex
