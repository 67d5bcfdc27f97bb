// Takes weights by name and shape, and says in one line which do not fit.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/weights.hpp"

namespace linex {

/// Hands out parameters of a state dict. Names that are missing, of another shape or never asked
/// for are collected and reported together by finish().
class WeightReader {
 public:
  /// `share`: hands out the tensors themselves (for training), not copies.
  explicit WeightReader(StateDict weights, bool share = false)
      : weights_(std::move(weights)), share_(share) {}

  const StateDict& weights() const { return weights_; }
  bool has(const std::string& name) const { return weights_.has(name); }

  /// A float32 copy of the parameter of that name and shape; after noting the problem when it does
  /// not fit, zeros that share one element. Throws Error(input) for a value that is not finite.
  torch::Tensor parameter(const std::string& name, const std::vector<std::int64_t>& shape);
  /// The network knows the name but does not need it.
  void skip(const std::string& name) { read_.insert(name); }

  /// Throws Error(input) as finish() does if a parameter asked for so far does not fit. To be
  /// called before computing with parameters whose shapes come from a file.
  void check(const std::string& arch, const std::string& advice) const;
  /// Throws Error(input) in one line if the weights do not fit `arch`; `advice` ends it. Counters
  /// of training are passed over, and buffers that normalise the input, with a note.
  void finish(const std::string& arch, const std::string& advice);
  /// Digest of architecture, names and values; defined after finish().
  const std::string& fingerprint() const { return fingerprint_; }
  /// What finish() passed over, one line each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  void report(const std::vector<std::string>& unexpected, const std::string& arch,
              const std::string& advice) const;

  StateDict weights_;
  bool share_;
  std::set<std::string> read_;
  std::vector<std::string> missing_, mismatched_, notes_;
  double placeholders_ = 0;  ///< their elements
  Sha256 digest_;
  std::string fingerprint_;
};

/// "(64, 3, 7, 7)".
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace linex
