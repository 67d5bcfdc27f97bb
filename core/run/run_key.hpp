// The one place that says when two runs are the same: keys of journals and of finished results.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

#include "core/run/explain.hpp"
#include "core/run/workplace.hpp"

namespace linex {

/// Digest of what a file holds, or of the names, sizes and times of everything below a folder; ""
/// for a path that leads nowhere. A file is read again only where its size or time has changed.
std::string content_digest(const std::filesystem::path& path);

/// Digest of a float32 matrix, row block by row block: a mapped one may be larger than the memory.
std::string content_digest(const torch::Tensor& matrix);

/// What a method's explanations and scores depend on beside the options and plugin files that
/// Workplace::digest() covers, with the contents of every file that options name.
struct KeyParts {
  std::shared_ptr<const DataSet> data;  ///< null for recorded activations
  const Split& split;
  Named<ConceptLabeler> labeler, simulator;  ///< either may have no object
  std::filesystem::path given;               ///< file of explanations, or ""
};
/// Where two runs have the same key and the same activations, they find the same.
std::string run_key(const Workplace& place, const KeyParts& parts);

/// The key of one layer of such a run; `activations`: their content_digest().
std::string layer_key(const std::string& run_key, const std::string& layer,
                      const std::string& activations);

}  // namespace linex
