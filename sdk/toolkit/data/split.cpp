#include "toolkit/data/split.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>

#include "linex/error.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

Rows read_ids(const fs::path& folder, const std::string& part, std::int64_t n) {
  fs::path path;
  for (const char* extension : {".npy", ".npz", ".pt", ".safetensors"}) {
    std::error_code ignored;
    const fs::path candidate = folder / (part + "_ids" + extension);
    if (path.empty() || (!fs::exists(path, ignored) && fs::exists(candidate, ignored)))
      path = candidate;
  }
  const torch::Tensor ids = read_array(path.string());
  if (ids.dim() != 1 || !c10::isIntegralType(ids.scalar_type(), /*includeBool=*/false))
    throw input_error(path.string() + " is not a list of integers");
  const torch::Tensor wide = ids.to(torch::kInt64).contiguous();
  Rows rows(wide.data_ptr<std::int64_t>(), wide.data_ptr<std::int64_t>() + wide.numel());
  std::sort(rows.begin(), rows.end());
  if (rows.empty()) throw input_error(path.string() + " is empty");
  if (rows.front() < 0 || rows.back() >= n)
    throw input_error(path.string() + ": row id " +
                      std::to_string(rows.front() < 0 ? rows.front() : rows.back()) +
                      " is outside the data's " + std::to_string(n) + " rows");
  const auto twice = std::adjacent_find(rows.begin(), rows.end());
  if (twice != rows.end())
    throw input_error(path.string() + ": row id " + std::to_string(*twice) + " appears twice");
  return rows;
}

void check_disjoint(const Rows& a, const Rows& b, const std::string& names,
                    const fs::path& folder) {
  Rows both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  if (!both.empty())
    throw input_error(folder.string() + ": row id " + std::to_string(both.front()) +
                      " is in both " + names);
}

/// Rows of the listing as rows of the data; what the data left out is counted in `lost`.
Rows kept_ids(const Rows& ids, const Listing& listing, const fs::path& folder,
              const std::string& part, std::int64_t& lost) {
  Rows kept;
  for (const std::int64_t id : ids) {
    const auto found = std::lower_bound(listing.rows.begin(), listing.rows.end(), id);
    if (found == listing.rows.end() || *found != id)
      ++lost;
    else
      kept.push_back(found - listing.rows.begin());
  }
  if (kept.empty())
    throw input_error(folder.string() + ": none of the rows of part " + part +
                      " is left after data.limit or data.on_error=skip");
  return kept;
}

Split read_split(const fs::path& folder, std::int64_t n, const Listing* listing, Logger* log) {
  if (listing) n = listing->size;
  Split split{read_ids(folder, "train", n), read_ids(folder, "val", n),
              read_ids(folder, "test", n)};
  check_disjoint(split.train, split.val, "train and val", folder);
  check_disjoint(split.train, split.test, "train and test", folder);
  check_disjoint(split.val, split.test, "val and test", folder);
  if (!listing || static_cast<std::int64_t>(listing->rows.size()) == n) return split;
  std::int64_t lost = 0;
  split = {kept_ids(split.train, *listing, folder, "train", lost),
           kept_ids(split.val, *listing, folder, "val", lost),
           kept_ids(split.test, *listing, folder, "test", lost)};
  if (lost > 0 && log)
    log->warning(folder.string() + ": " + std::to_string(lost) +
                 " of its rows are of images that data.limit or data.on_error=skip left out");
  return split;
}

/// Three numbers ≥ 0 separated by commas, or nothing.
std::optional<std::array<double, 3>> parse_fractions(const std::string& text) {
  const auto cells = split(text, ',');
  if (cells.size() != 3) return std::nullopt;
  std::array<double, 3> fractions{};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string cell = trim(cells[i]);
    char* end = nullptr;
    fractions[i] = std::strtod(cell.c_str(), &end);
    if (cell.empty() || *end != '\0' || !(fractions[i] >= 0 && fractions[i] <= 1))
      return std::nullopt;
  }
  return fractions;
}

/// Where a part ends: int(fraction · n), with 0.7 + 0.1 taken for 0.8, not 0.7999….
std::int64_t bound(double fraction, std::int64_t n) {
  const double rounded = std::round(fraction * 1e12) / 1e12;
  return std::min(n, static_cast<std::int64_t>(rounded * static_cast<double>(n)));
}

Split draw_split(const std::array<double, 3>& fractions, const std::string& text, std::int64_t n,
                 std::uint64_t seed) {
  if (fractions[0] + fractions[1] + fractions[2] > 1 + 1e-9)
    throw usage_error("data.split=" + text + ": the fractions add up to more than 1");
  Rows ids(static_cast<std::size_t>(n));
  std::iota(ids.begin(), ids.end(), 0);
  Random(seed).shuffle(ids);
  const auto at = [&](std::int64_t position) { return ids.begin() + position; };
  const std::int64_t train = bound(fractions[0], n);
  const std::int64_t val = bound(fractions[0] + fractions[1], n);
  const std::int64_t test = bound(fractions[0] + fractions[1] + fractions[2], n);
  Split split{Rows(at(0), at(train)), Rows(at(train), at(val)), Rows(at(val), at(test))};
  for (Rows* part : {&split.train, &split.val, &split.test}) {
    if (part->empty())
      throw input_error("data.split=" + text + " leaves a part of the " + std::to_string(n) +
                        " rows empty (" + std::to_string(split.train.size()) + " train, " +
                        std::to_string(split.val.size()) + " val, " +
                        std::to_string(split.test.size()) +
                        " test); use more images or other fractions");
    std::sort(part->begin(), part->end());
  }
  return split;
}

}  // namespace

Split make_split(const std::string& text, std::int64_t n, std::uint64_t seed,
                 const Listing* listing, Logger* log) {
  if (const auto fractions = parse_fractions(text)) return draw_split(*fractions, text, n, seed);
  if (std::error_code ignored; fs::is_directory(text, ignored))
    return read_split(text, n, listing, log);
  throw usage_error("data.split=" + text +
                    " is neither a folder with {train,val,test}_ids.{npy,npz,pt,safetensors} nor "
                    "three fractions such "
                    "as 0.7,0.1,0.2");
}

}  // namespace linex
