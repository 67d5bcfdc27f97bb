// run.device, run.threads and run.memory resolved against this machine.
#pragma once

#include <cstdint>
#include <string>

namespace linex {

/// "auto" (a GPU where LibTorch has one), "cpu", "cuda" or "cuda:N" to "cpu" or "cuda:N". Throws
/// Error(usage) for anything else and for a GPU that is not there.
std::string resolve_device(const std::string& text);

/// 0 = all: OMP_NUM_THREADS where set, else the processors this process may use. LibTorch's own
/// default is half of them.
int resolve_threads(std::int64_t wanted);

/// Sets LibTorch's and BLAS's threads and the allocator's habits; once, before any work.
void prepare_machine(int threads);

/// Gigabytes to bytes; 0 = half of the machine (or of the control group's limit).
std::int64_t resolve_memory(double gigabytes);

/// What is wrong with the BLAS in use ("" = nothing): the reference BLAS is 30 to 60 times slower.
std::string blas_complaint();

}  // namespace linex
