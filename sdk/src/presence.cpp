#include "linex/presence.hpp"

#include <stdexcept>
#include <string>

namespace linex {
namespace {

void check_ids(const Ids& ids, std::int64_t count, const char* what) {
  for (const std::int64_t id : ids)
    if (id < 0 || id >= count)
      throw std::out_of_range("presence has no " + std::string(what) + " " + std::to_string(id) +
                              ", only " + std::to_string(count));
}

class ColumnSubset final : public Presence {
 public:
  ColumnSubset(std::shared_ptr<const Presence> source, std::vector<std::int64_t> columns)
      : source_(std::move(source)), columns_(std::move(columns)) {
    check_ids(columns_, source_->cols(), "column");
  }
  std::int64_t rows() const override { return source_->rows(); }
  std::int64_t cols() const override { return static_cast<std::int64_t>(columns_.size()); }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    if (cols.is_all()) return source_->read(rows, columns_, out);
    std::vector<std::int64_t> chosen;
    for (const std::int64_t col : cols.ids())
      chosen.push_back(columns_[static_cast<std::size_t>(col)]);
    source_->read(rows, chosen, out);
  }

  std::shared_ptr<const Presence> source_;
  std::vector<std::int64_t> columns_;
};

}  // namespace

Presence::~Presence() = default;

void Presence::read(Ids rows, const Columns& cols, float* out) const {
  const std::int64_t width = this->cols();
  if (rows.empty() || cols.count(width) == 0) return;
  check_ids(rows, this->rows(), "row");
  check_ids(cols.ids(), width, "column");
  do_read(rows, cols, out);
}

bool Presence::ones(std::int64_t, std::vector<std::int64_t>&) const { return false; }
const void* Presence::ability(const char*) const { return nullptr; }

std::shared_ptr<const Presence> select_columns(std::shared_ptr<const Presence> source,
                                               std::vector<std::int64_t> columns) {
  return std::make_shared<ColumnSubset>(std::move(source), std::move(columns));
}

}  // namespace linex
