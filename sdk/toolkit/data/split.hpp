// Which rows train, select and score.
#pragma once

#include <cstdint>
#include <string>

#include "linex/context.hpp"
#include "linex/data.hpp"
#include "toolkit/data/dataset.hpp"

namespace linex {

/// `text` is data.split: a folder with {train,val,test}_ids.npy (.npz, .pt, .safetensors), or three
/// fractions such as "0.7,0.1,0.2" (the default) for a shuffle from `seed`. Shuffle: Fisher–Yates
/// with SplitMix64 (toolkit/base/random.hpp); parts end at int(0.7·N) and int(0.8·N)
/// (docs/methods.md §1.2); each part is sorted. Every id is in [0, n), no id is in two parts or
/// twice in one, no part is empty: otherwise throws Error(input) naming file and id, or
/// Error(usage) for text that is neither. Ids in files mean rows of `listing` where one is given:
/// they become the data's rows, and those of rows left out are dropped with a warning to `log`.
Split make_split(const std::string& text, std::int64_t n, std::uint64_t seed,
                 const Listing* listing = nullptr, Logger* log = nullptr);

}  // namespace linex
