// Names of concepts: lists of them, one a line, and what makes any list of names fit to look up by.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "linex/context.hpp"

namespace linex {

/// Concepts by names that differ: explanations and simulators know a concept by its name alone.
struct ConceptList {
  std::vector<std::string> names;                        ///< no two equal, none empty
  std::unordered_map<std::string, std::string> written;  ///< of names that were not free: "a (2)"

  /// What was written where it is called `name`; `name` itself for any other text.
  const std::string& text_of(const std::string& name) const {
    const auto found = written.find(name);
    return found == written.end() ? name : found->second;
  }
};

/// The one rule for names of concepts, wherever they come from: blanks around them go, the second
/// "a" becomes "a (2)" (one warning tells how many and the first), and an empty name throws
/// Error(input) that calls it `item` ("line", "class") and its number from 1. `source` is the file,
/// for messages.
ConceptList distinct_names(std::vector<std::string> names, const std::string& source, Logger& log,
                           const std::string& item = "line");

/// distinct_names() of a list, UTF-8 or UTF-16 with a byte-order mark:
/// * text, a name a line; empty lines at its end are no names;
/// * JSON: ["cat", ...], {"0": "cat", ...}, {"cat": 0, ...}, {"n02123045": "tabby", ...}, those of
///   ImageNet's class index, or anything with id2label (config.json of Hugging Face);
/// * .csv or .tsv: its column concept, name, label, class, text or description, or its only one.
/// Throws Error(input) for a file without a concept, with a name that is not UTF-8 or a number that
/// is missing.
ConceptList read_concept_list(const std::filesystem::path& file, Logger& log);

}  // namespace linex
