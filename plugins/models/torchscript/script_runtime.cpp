#include "script_runtime.hpp"

#include "toolkit/base/text.hpp"

namespace linex {
namespace {

/// Whether a line begins as Python ends a traceback: "RuntimeError: ...".
bool names_error(const std::string& line) {
  const std::size_t colon = line.find(": ");
  if (colon == std::string::npos || line.find(' ') != colon + 1) return false;
  const auto ends_with = [&](const std::string& end) {
    return colon >= end.size() && line.compare(colon - end.size(), end.size(), end) == 0;
  };
  return ends_with("Error") || ends_with("Exception");
}

}  // namespace

std::string failure_line(const std::string& text) {
  std::string first, error;
  for (const std::string& line : split_lines(text)) {
    const std::string trimmed = trim(line);
    if (trimmed.empty()) continue;
    if (first.empty()) first = trimmed;
    if (names_error(trimmed)) error = trimmed;
  }
  constexpr std::size_t kMaxLine = 300;
  return (error.empty() ? first : error).substr(0, kMaxLine);
}

}  // namespace linex
