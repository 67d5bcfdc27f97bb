// The small synthetic world that plugins are checked on. Seeded, the same everywhere.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/solver.hpp"

namespace linex::conformance {

inline constexpr std::int64_t kRows = 240, kConcepts = 12, kUnits = 8, kClasses = 4, kSide = 16;
inline constexpr std::int64_t kDeadUnit = 2, kConstantUnit = 3;

/// Uniform numbers in [0, 1) that do not depend on a library's distributions.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed) {}
  double next();

 private:
  std::uint64_t state_;
};

/// A presence matrix of 0 and 1, float32 (N, C).
std::shared_ptr<const Presence> matrix_presence(torch::Tensor matrix);
torch::Tensor concept_matrix(std::int64_t rows = kRows);
std::vector<std::string> concept_names();

/// Unit 0 is 2·concept 0 plus noise, further ones mix two concepts; one is dead, one constant.
torch::Tensor planted_activations(const torch::Tensor& presence);
Split split_rows(std::int64_t rows);

/// kRows random images of kSide × kSide pixels with kClasses classes.
std::shared_ptr<const DataSet> images();
/// Layer "features" (n, kUnits, 4, 4) and a linear head over its average.
std::shared_ptr<TargetModel> model();
/// Knows concept_names() on concept_matrix(rows); kRows are those of images().
std::shared_ptr<ConceptLabeler> labeler(std::int64_t rows = kRows);
/// model() over images(), averaged: float32 (kRows, kUnits).
torch::Tensor model_activations();

/// Whether two doubles have the same bytes (NaN equals NaN).
bool same_bytes(double a, double b);

}  // namespace linex::conformance
