// Concept labelers: how present is each concept in each image?
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/export.hpp"
#include "linex/presence.hpp"

namespace linex {

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
  /// Digest of everything that presence depends on beyond the data set and the texts of the
  /// options: the contents of files that options name or that lie beside them, formats read. Part
  /// of the keys of caches and of interrupted runs. Called before or after attach(). Default: "",
  /// no file is read.
  virtual std::string fingerprint() const;
  /// Optional abilities (ability.hpp), such as PixelLabels (pixel_labels.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

}  // namespace linex
