// What goes into a run, read for its digest once.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "core/run/workplace.hpp"

namespace linex {

/// Reads the files that options name and float32 `matrices` for their digests, piece by piece:
/// pieces are dealt to all ranks, and to run.threads threads of each. Returns the digests of the
/// matrices (toolkit/base/file_digest.hpp), in their order; those of large files are remembered, so
/// that digest_of_file() gives them at once. A file that a rank does not see is left to who wants
/// it. All ranks call this.
std::vector<std::string> digest_inputs(const Workplace& place,
                                       const std::vector<torch::Tensor>& matrices);

}  // namespace linex
