// Concept labelers: how present is each concept in each image?
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"

namespace linex {

/// P, concept presence, as a source of row tiles: N×C floats never exist at once unless the source
/// itself is a recorded file. [any thread]
class LINEX_API Presence {
 public:
  virtual ~Presence();
  virtual std::int64_t rows() const = 0;
  virtual std::int64_t cols() const = 0;
  /// Writes P[rows, cols] to `out`, row-major (n_rows × n_cols) float32, owned by the caller. A
  /// null `cols` means all columns. Sorted rows read files in order. Throws Error(input) naming row
  /// and column for a value that is not finite.
  virtual void read(const std::int64_t* rows, std::int64_t n_rows, const std::int64_t* cols,
                    std::int64_t n_cols, float* out) const = 0;
  /// For 0/1 sources with few ones a row (labels): the columns that are 1 in `row`, sorted. Returns
  /// false, and leaves `ones` alone, where the source is dense.
  virtual bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const;
};

class PixelLabels;

/// Names concepts and says how present they are. attach() comes first, once.
class LINEX_API ConceptLabeler {
 public:
  virtual ~ConceptLabeler();
  ConceptLabeler() = default;
  ConceptLabeler(const ConceptLabeler&) = delete;
  ConceptLabeler& operator=(const ConceptLabeler&) = delete;

  /// The data to label; null when the run has none (recorded matrices).
  virtual void attach(std::shared_ptr<const DataSet> data) = 0;
  /// Names of the C concepts. Names may repeat (docs/methods.md §1.15).
  virtual std::vector<std::string> concepts() const = 0;
  /// Presence of concepts() on all rows.
  virtual std::shared_ptr<const Presence> presence() = 0;
  /// Whether presence_of() can tell about `text`. Default: text is one of concepts().
  virtual bool knows(const std::string& text) const;
  /// Presence of arbitrary known texts, for simulation; column j is texts[j]. Default: columns of
  /// presence(), first of equal names.
  virtual std::shared_ptr<const Presence> presence_of(const std::vector<std::string>& texts);
  /// The labels of single pixels, valid as long as the labeler, or null: an ability few labelers
  /// have (pixel_labels.hpp). Default: null.
  virtual const PixelLabels* pixels() const;
};

}  // namespace linex
