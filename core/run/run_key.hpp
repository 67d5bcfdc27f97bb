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

/// SHA-256 of one of the digest_pieces() of a contiguous matrix's bytes; lets go of its rows where
/// it is mapped. digest_of_pieces() of all is the matrix's content digest.
std::string digest_of_piece(const torch::Tensor& matrix, std::int64_t piece);

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

/// The key of one layer of such a run; `activations`: what tells theirs from others
/// (digest_inputs).
std::string layer_key(const std::string& run_key, const std::string& layer,
                      const std::string& activations);

}  // namespace linex
