// P, concept presence, as a source of tiles.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "linex/export.hpp"

namespace linex {

/// A borrowed run of row or column ids, valid as long as what it was made from. Never "all": an
/// empty one is none.
class Ids {
 public:
  Ids(const std::vector<std::int64_t>& ids)
      : Ids(ids.data(), static_cast<std::int64_t>(ids.size())) {}
  /// `first` may be null where `count` is 0.
  Ids(const std::int64_t* first, std::int64_t count) : first_(first), count_(count) {}

  std::int64_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::int64_t operator[](std::int64_t i) const { return first_[i]; }
  const std::int64_t* data() const { return first_; }
  const std::int64_t* begin() const { return first_; }
  const std::int64_t* end() const { return first_ + count_; }

 private:
  const std::int64_t* first_;
  std::int64_t count_;
};

/// Which columns to read: all of a source, which must be said, or those of a borrowed list, which
/// may be empty.
class Columns {
 public:
  static Columns all() { return Columns(Ids(nullptr, 0), true); }
  Columns(const std::vector<std::int64_t>& ids) : Columns(Ids(ids), false) {}
  Columns(Ids ids) : Columns(ids, false) {}

  bool is_all() const { return all_; }
  /// How many that are of a source with `cols` columns.
  std::int64_t count(std::int64_t cols) const { return all_ ? cols : ids_.size(); }
  /// The source's column that comes j-th.
  std::int64_t operator[](std::int64_t j) const { return all_ ? j : ids_[j]; }
  /// The list; empty where is_all().
  Ids ids() const { return ids_; }

 private:
  Columns(Ids ids, bool all) : ids_(ids), all_(all) {}
  Ids ids_;
  bool all_;
};

/// P as a source of row tiles: N×C floats never exist at once unless the source itself is a
/// recorded file. [any thread]
class LINEX_API Presence {
 public:
  virtual ~Presence();
  Presence() = default;
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;

  virtual std::int64_t rows() const = 0;
  virtual std::int64_t cols() const = 0;
  /// Writes P[rows, cols] to `out`, row-major float32 (rows.size() × cols.count(this->cols())),
  /// owned by the caller; nothing where either is empty. Sorted rows read files in order. Throws
  /// Error(input) naming row and column for a value that is not finite, std::out_of_range for a row
  /// or column that the source does not have.
  void read(Ids rows, const Columns& cols, float* out) const;
  /// For 0/1 sources with few ones a row (labels): the columns that are 1 in `row`, sorted. Returns
  /// false, and leaves `ones` alone, where the source is dense.
  virtual bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const;
  /// Optional abilities (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;

 private:
  /// read() with ids that are within the source, at least one row and one column.
  virtual void do_read(Ids rows, const Columns& cols, float* out) const = 0;
};

/// Some columns of a source, in that order. Throws std::out_of_range for one that it has not.
LINEX_API std::shared_ptr<const Presence> select_columns(std::shared_ptr<const Presence> source,
                                                         std::vector<std::int64_t> columns);

}  // namespace linex
