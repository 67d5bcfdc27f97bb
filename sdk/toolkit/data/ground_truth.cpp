#include "toolkit/data/ground_truth.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMaxClass = 1000000;

Error wrong_line(const fs::path& file, std::size_t line, const std::string& what) {
  return input_error(file.string() + " line " + std::to_string(line) + ": " + what);
}

std::optional<std::int64_t> as_number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || stop != end || value < 0 || value > kMaxClass) return std::nullopt;
  return value;
}

std::string first_word(const std::string& text) {
  return text.substr(0, text.find_first_of(" \t"));
}

/// Without folders and extension, of either system.
std::string stem(const std::string& name) {
  const std::string base = name.substr(name.find_last_of("/\\") + 1);
  const auto dot = base.rfind('.');
  return dot == 0 ? base : base.substr(0, dot);
}

struct Line {
  std::size_t number = 0;
  std::string image;  ///< empty where the line has only a class
  std::string label;
};

bool is_header(const Line& line) {
  static const std::set<std::string> kNames{"imageid", "image", "path", "filename",
                                            "file",    "name",  "id"};
  std::string name = line.image;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return line.number == 1 && kNames.count(name) > 0;
}

std::vector<Line> read_lines(const fs::path& file) {
  std::vector<Line> lines;
  std::size_t number = 0;
  for (const auto& raw : read_list(file)) {
    ++number;
    const std::string text = trim(raw);
    if (text.empty()) continue;
    Line line;
    line.number = number;
    auto cut = text.find_first_of("\t,;");
    if (cut == std::string::npos) cut = text.rfind(' ');  // names may hold blanks
    if (cut != std::string::npos) line.image = trim(text.substr(0, cut));
    line.label = first_word(trim(text.substr(cut == std::string::npos ? 0 : cut + 1)));
    if (is_header(line)) continue;
    if (line.label.empty()) throw wrong_line(file, number, "it has no class");
    if (!lines.empty() && lines.front().image.empty() != line.image.empty())
      throw wrong_line(file, number, "some lines name an image and some do not");
    lines.push_back(std::move(line));
  }
  if (lines.empty()) throw input_error(file.string() + ": no class in it; write one a line");
  return lines;
}

/// The class of each image, as written.
std::vector<std::string> classes_of(const std::vector<std::string>& images,
                                    const std::vector<Line>& lines, const fs::path& file) {
  std::vector<std::string> classes;
  if (lines.front().image.empty()) {
    if (lines.size() != images.size())
      throw input_error(file.string() + " has " + std::to_string(lines.size()) +
                        " classes, the folder " + std::to_string(images.size()) +
                        " images; give one for each, or lines of NAME CLASS");
    for (const auto& line : lines) classes.push_back(line.label);
    return classes;
  }
  std::unordered_map<std::string, const Line*> line_of;
  for (const auto& line : lines) {
    const auto [known, is_new] = line_of.emplace(stem(line.image), &line);
    if (!is_new && known->second->label != line.label)
      throw wrong_line(
          file, line.number,
          line.image + " has another class on line " + std::to_string(known->second->number));
  }
  for (const auto& image : images) {
    const auto found = line_of.find(stem(image));
    if (found == line_of.end()) throw input_error(file.string() + " has no line for " + image);
    classes.push_back(found->second->label);
  }
  return classes;
}

struct Class {
  std::string synset, name;
  std::optional<std::int64_t> number;
};

std::vector<Class> read_json_classes(const std::string& text, const fs::path& file) {
  using Json = nlohmann::ordered_json;
  const Json json = json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
  std::vector<Class> classes;
  if (json.is_object())
    for (const auto& [key, value] : json.items()) {
      const bool pair = value.is_array() && value.size() == 2 && value[0].is_string() &&
                        value[1].is_string() && as_number(key);
      if (pair)
        classes.push_back(
            {value[0].get<std::string>(), value[1].get<std::string>(), as_number(key)});
      else if (value.is_string())
        classes.push_back({key, value.get<std::string>(), std::nullopt});
    }
  if (classes.empty() || classes.size() != json.size())
    throw input_error(file.string() +
                      ": it is not JSON {\"NUMBER\": [\"SYNSET\", \"NAME\"], ...} or "
                      "{\"SYNSET\": \"NAME\", ...}");
  return classes;
}

/// In the file's order.
std::vector<Class> read_classes(const fs::path& file) {
  const std::string text = read_file(file);
  std::vector<Class> classes;
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin != std::string::npos && text[begin] == '{') {
    classes = read_json_classes(text, file);
  } else {
    std::size_t number = 0;
    for (const auto& raw : read_list(file)) {
      ++number;
      const std::string line = trim(raw);
      if (line.empty()) continue;
      Class entry;
      entry.synset = first_word(line);
      std::string rest = trim(line.substr(entry.synset.size()));
      entry.number = as_number(first_word(rest));
      if (entry.number) rest = trim(rest.substr(first_word(rest).size()));
      if (rest.empty())
        throw wrong_line(file, number, "expected 'SYNSET NAME' or 'SYNSET NUMBER NAME'");
      entry.name = rest;
      if (!classes.empty() && classes.front().number.has_value() != entry.number.has_value())
        throw wrong_line(file, number, "some lines have a number and some do not");
      classes.push_back(std::move(entry));
    }
  }
  if (classes.empty()) throw input_error(file.string() + ": it names no class");
  std::set<std::string> synsets;
  std::set<std::int64_t> numbers;
  for (const auto& entry : classes) {
    if (!synsets.insert(entry.synset).second)
      throw input_error(file.string() + ": " + entry.synset + " is in it twice");
    if (entry.number && !numbers.insert(*entry.number).second)
      throw input_error(file.string() + ": number " + std::to_string(*entry.number) +
                        " is in it twice");
  }
  return classes;
}

/// Labels from classes as written, without a list of them.
GroundTruth number_by_name(const std::vector<std::string>& written) {
  GroundTruth truth;
  std::map<std::string, std::int64_t> index;
  for (const auto& name : written) index[name] = 0;
  for (auto& [name, label] : index) {
    label = static_cast<std::int64_t>(truth.class_names.size());
    truth.class_names.push_back(name);
  }
  for (const auto& name : written) truth.labels.push_back(index[name]);
  return truth;
}

GroundTruth take_numbers(const std::vector<std::string>& written) {
  GroundTruth truth;
  for (const auto& text : written) truth.labels.push_back(*as_number(text));
  const auto classes = *std::max_element(truth.labels.begin(), truth.labels.end()) + 1;
  for (std::int64_t label = 0; label < classes; ++label)
    truth.class_names.push_back(std::to_string(label));
  return truth;
}

}  // namespace

GroundTruth read_ground_truth(const fs::path& file, const fs::path& classes,
                              const std::vector<std::string>& images) {
  const auto written = classes_of(images, read_lines(file), file);
  const bool numbers = std::all_of(written.begin(), written.end(),
                                   [](const auto& text) { return bool(as_number(text)); });
  if (classes.empty()) return numbers ? take_numbers(written) : number_by_name(written);

  auto known = read_classes(classes);
  std::map<std::string, std::string> synset_of;  // by what is written
  for (std::size_t i = 0; i < known.size(); ++i) {
    const auto number = known[i].number.value_or(static_cast<std::int64_t>(i));
    synset_of[numbers ? std::to_string(number) : known[i].synset] = known[i].synset;
  }
  const bool from_zero = std::find(written.begin(), written.end(), "0") != written.end();
  if (numbers && !known.front().number && !from_zero)
    throw input_error(
        file.string() + " counts classes from 1, as ILSVRC2012 does, whose order " +
        classes.string() +
        " does not tell; give data.classes with numbers (map_clsloc.txt), or a ground "
        "truth of synsets or of numbers from 0");
  std::sort(known.begin(), known.end(),
            [](const Class& a, const Class& b) { return a.synset < b.synset; });
  GroundTruth truth;
  std::map<std::string, std::int64_t> label_of;
  for (const auto& entry : known) {
    label_of[entry.synset] = static_cast<std::int64_t>(truth.class_names.size());
    truth.class_names.push_back(entry.name);
  }
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto synset =
        synset_of.find(numbers ? std::to_string(*as_number(written[i])) : written[i]);
    if (synset == synset_of.end())
      throw input_error(classes.string() + " does not know the class '" + printable(written[i]) +
                        "' of " + images[i] + " in " + file.string());
    truth.labels.push_back(label_of[synset->second]);
  }
  return truth;
}

std::vector<std::string> called(const std::vector<std::string>& written, const fs::path& classes) {
  if (classes.empty()) return written;
  auto all = read_classes(classes);
  if (!all.front().number)
    std::sort(all.begin(), all.end(),
              [](const Class& a, const Class& b) { return a.synset < b.synset; });
  std::map<std::string, std::string> name_of;
  for (const auto& entry : all) name_of[entry.synset] = entry.name;
  for (std::size_t i = 0; i < all.size(); ++i)
    name_of.emplace(std::to_string(all[i].number.value_or(static_cast<std::int64_t>(i))),
                    all[i].name);
  std::vector<std::string> names;
  std::size_t known = 0;
  for (const auto& text : written) {
    const auto found = name_of.find(text);
    known += found != name_of.end();
    names.push_back(found == name_of.end() ? text : found->second);
  }
  if (known == 0)
    throw input_error(classes.string() + " knows none of the classes, the first is " +
                      printable(written.front()));
  return names;
}

}  // namespace linex
