// Recorded splits, for the benches.
#pragma once

#include <torch/types.h>

#include <string>

#include "linex/data.hpp"
#include "toolkit/base/npy.hpp"

namespace linex::bench {

inline Rows read_ids(const std::string& file) {
  const torch::Tensor values = map_npy(file);
  return {values.data_ptr<std::int64_t>(), values.data_ptr<std::int64_t>() + values.numel()};
}

/// {train,val,test}_ids.npy of a folder.
inline Split read_split(const std::string& folder) {
  return {read_ids(folder + "/train_ids.npy"), read_ids(folder + "/val_ids.npy"),
          read_ids(folder + "/test_ids.npy")};
}

}  // namespace linex::bench
