// run.device, run.threads and run.memory resolved against this machine.
#pragma once

#include <cstdint>
#include <string>

namespace linex {

/// "auto" (a GPU where LibTorch has one), "cpu", "cuda" or "cuda:N" to "cpu" or "cuda:N"; where no
/// N is given, the ranks of a machine take its GPUs in turn. Throws Error(usage) for anything else
/// and for a GPU that is not there.
std::string resolve_device(const std::string& text, int local_rank = 0);

/// "float" (false) or "bf16" (true) on `device`. Throws Error(usage) where the processor has no
/// instructions for bfloat16: emulated, it would be slower than float32 and less exact.
bool resolve_bf16(const std::string& text, const std::string& device);

/// 0 = all: OMP_NUM_THREADS where set, else the processors this process may use, shared with the
/// `local_size` ranks of this machine where none was given its own. LibTorch's own default is half
/// of them.
int resolve_threads(std::int64_t wanted, int local_size = 1);

/// Asks MKL for kernels whose results depend neither on how many threads work nor on where arrays
/// lie (MKL_CBWR=AUTO, unless the user chose), which costs nothing measurable. Before the first
/// product of the process; OpenBLAS keeps to that by itself on one thread, where products are made.
void ask_for_reproducible_kernels();

/// Sets LibTorch's and BLAS's threads and the allocator's habits; once, before any work.
void prepare_machine(int threads);

/// Gigabytes to bytes; 0 = half of the machine (or of the control group's limit), shared by its
/// `local_size` ranks.
std::int64_t resolve_memory(double gigabytes, int local_size = 1);

/// What is wrong with the BLAS in use ("" = nothing): the reference BLAS is 30 to 60 times slower.
std::string blas_complaint();

}  // namespace linex
