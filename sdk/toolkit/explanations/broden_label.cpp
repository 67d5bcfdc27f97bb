#include "toolkit/explanations/broden_label.hpp"

#include <algorithm>

namespace linex {

namespace {

bool ends_with(const std::string& text, const char* suffix) {
  const std::string end(suffix);
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

bool is_scene_label(const std::string& label) { return ends_with(label, "-s"); }

std::string plain_label(const std::string& label, const std::set<std::string>& others) {
  std::string plain = label;
  if (ends_with(plain, "-c")) plain.replace(plain.size() - 2, 2, " color");
  if (is_scene_label(plain)) plain.resize(plain.size() - 2);
  std::replace(plain.begin(), plain.end(), '_', ' ');
  for (auto at = plain.find('-'); at != std::string::npos; at = plain.find('-', at))
    plain.replace(at, 1, ", ");
  if (is_scene_label(label) && others.count(plain)) plain += "(scene)";
  return plain;
}

}  // namespace linex
