#include "toolkit/math/place_set.hpp"

#include <algorithm>

namespace linex {

namespace {

std::int64_t bits(std::uint64_t word) { return __builtin_popcountll(word); }

}  // namespace

void PlaceSet::add(std::int64_t place) {
  const auto block = static_cast<std::int32_t>(place / kBlockPlaces);
  if (blocks_.empty() || blocks_.back() != block) {
    blocks_.push_back(block);
    words_.resize(words_.size() + kBlockWords, 0);
  }
  const std::int64_t within = place % kBlockPlaces;
  std::uint64_t& word = words_[words_.size() - kBlockWords + static_cast<std::size_t>(within / 64)];
  const std::uint64_t bit = std::uint64_t{1} << (within % 64);
  count_ += (word & bit) == 0;
  word |= bit;
}

bool PlaceSet::contains(std::int64_t place) const {
  const auto block = static_cast<std::int32_t>(place / kBlockPlaces);
  const auto found = std::lower_bound(blocks_.begin(), blocks_.end(), block);
  if (found == blocks_.end() || *found != block) return false;
  const auto at =
      static_cast<std::size_t>((found - blocks_.begin()) * kBlockWords + place % kBlockPlaces / 64);
  return words_[at] >> (place % 64) & 1;
}

void PlaceSet::append(std::int32_t block, const std::uint64_t* words) {
  std::int64_t here = 0;
  for (std::int64_t w = 0; w < kBlockWords; ++w) here += bits(words[w]);
  if (here == 0) return;
  blocks_.push_back(block);
  words_.insert(words_.end(), words, words + kBlockWords);
  count_ += here;
}

template <class Join>
PlaceSet PlaceSet::joined(const PlaceSet& other, bool keep_own, bool keep_other,
                          const Join& join) const {
  PlaceSet result;
  std::size_t a = 0, b = 0;
  while (a < blocks_.size() || b < other.blocks_.size()) {
    const bool own =
        b >= other.blocks_.size() || (a < blocks_.size() && blocks_[a] < other.blocks_[b]);
    const bool others = !own && (a >= blocks_.size() || other.blocks_[b] < blocks_[a]);
    if (own) {
      if (keep_own) result.append(blocks_[a], words_.data() + a * kBlockWords);
      ++a;
    } else if (others) {
      if (keep_other) result.append(other.blocks_[b], other.words_.data() + b * kBlockWords);
      ++b;
    } else {
      std::uint64_t words[kBlockWords];
      for (std::size_t w = 0; w < kBlockWords; ++w)
        words[w] = join(words_[a * kBlockWords + w], other.words_[b * kBlockWords + w]);
      result.append(blocks_[a], words);
      ++a, ++b;
    }
  }
  return result;
}

PlaceSet PlaceSet::united(const PlaceSet& other) const {
  return joined(other, true, true, [](std::uint64_t a, std::uint64_t b) { return a | b; });
}

PlaceSet PlaceSet::common(const PlaceSet& other) const {
  return joined(other, false, false, [](std::uint64_t a, std::uint64_t b) { return a & b; });
}

PlaceSet PlaceSet::without(const PlaceSet& other) const {
  return joined(other, true, false, [](std::uint64_t a, std::uint64_t b) { return a & ~b; });
}

PlaceSet PlaceSet::complement(std::int64_t places) const {
  PlaceSet all;
  const std::int64_t blocks = (places + kBlockPlaces - 1) / kBlockPlaces;
  for (std::int64_t block = 0; block < blocks; ++block) {
    std::uint64_t words[kBlockWords];
    for (std::int64_t w = 0; w < kBlockWords; ++w) {
      const std::int64_t left = places - block * kBlockPlaces - w * 64;
      words[w] = left >= 64 ? ~std::uint64_t{0} : left > 0 ? (std::uint64_t{1} << left) - 1 : 0;
    }
    all.append(static_cast<std::int32_t>(block), words);
  }
  return all.without(*this);
}

template <class Visit>
void PlaceSet::common_blocks(const PlaceSet& a, const PlaceSet& b, const Visit& visit) {
  std::size_t i = 0, j = 0;
  while (i < a.blocks_.size() && j < b.blocks_.size()) {
    if (a.blocks_[i] < b.blocks_[j]) {
      ++i;
    } else if (b.blocks_[j] < a.blocks_[i]) {
      ++j;
    } else {
      visit(a.blocks_[i], a.words_.data() + i * kBlockWords, b.words_.data() + j * kBlockWords);
      ++i, ++j;
    }
  }
}

std::int64_t PlaceSet::common_count(const PlaceSet& a, const PlaceSet& b) {
  std::int64_t count = 0;
  common_blocks(a, b, [&](std::int32_t, const std::uint64_t* x, const std::uint64_t* y) {
    for (std::int64_t w = 0; w < kBlockWords; ++w) count += bits(x[w] & y[w]);
  });
  return count;
}

std::int64_t PlaceSet::common_count(const PlaceSet& a, const PlaceSet& b, const PlaceSet& c) {
  std::int64_t count = 0;
  std::size_t at = 0;
  common_blocks(a, b, [&](std::int32_t block, const std::uint64_t* x, const std::uint64_t* y) {
    while (at < c.blocks_.size() && c.blocks_[at] < block) ++at;
    if (at == c.blocks_.size() || c.blocks_[at] != block) return;
    const std::uint64_t* const z = c.words_.data() + at * kBlockWords;
    for (std::int64_t w = 0; w < kBlockWords; ++w) count += bits(x[w] & y[w] & z[w]);
  });
  return count;
}

double PlaceSet::common_sum(const PlaceSet& a, const PlaceSet& b,
                            const std::vector<double>& values) {
  double sum = 0;
  common_blocks(a, b, [&](std::int32_t block, const std::uint64_t* x, const std::uint64_t* y) {
    for (std::int64_t w = 0; w < kBlockWords; ++w)
      for (std::uint64_t word = x[w] & y[w]; word; word &= word - 1)
        sum +=
            values[static_cast<std::size_t>(block * kBlockPlaces + w * 64 + __builtin_ctzll(word))];
  });
  return sum;
}

}  // namespace linex
