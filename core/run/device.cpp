#include "core/run/device.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <malloc.h>
#include <sched.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "linex/error.hpp"

namespace linex {

std::string resolve_device(const std::string& text, int local_rank) {
  const bool has_gpu = at::hasCUDA();
  const std::string own =
      std::to_string(has_gpu ? local_rank % std::max(1, static_cast<int>(at::getNumGPUs())) : 0);
  if (text == "auto") return has_gpu ? "cuda:" + own : "cpu";
  if (text == "cpu") return text;
  const std::string number = text == "cuda"                ? own
                             : text.rfind("cuda:", 0) == 0 ? text.substr(5)
                                                           : "";
  if (number.empty() || number.size() > 3 ||
      number.find_first_not_of("0123456789") != std::string::npos)
    throw usage_error("run.device: '" + text + "' is none of auto, cpu, cuda, cuda:N");
  if (!has_gpu)
    throw usage_error(
        "run.device: this LibTorch sees no GPU; use run.device=cpu or another LibTorch (./run "
        "--torch DIR)");
  if (std::stoll(number) >= static_cast<long long>(at::getNumGPUs()))
    throw usage_error("run.device: there is no GPU " + number + "; this machine has " +
                      std::to_string(at::getNumGPUs()));
  return "cuda:" + number;
}

namespace {

bool processor_has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#elif defined(__aarch64__) && defined(HWCAP2_BF16)
  return (::getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
  return false;
#endif
}

}  // namespace

bool resolve_bf16(const std::string& text, const std::string& device) {
  if (text != "bf16") return false;
  if (device == "cpu" && !processor_has_bf16())
    throw usage_error(
        "run.precision=bf16: this processor has no bfloat16 instructions (avx512_bf16); leave it "
        "out");
  return true;
}

int resolve_threads(std::int64_t wanted, int local_size) {
  if (wanted > 0) return static_cast<int>(wanted);
  if (const char* text = std::getenv("OMP_NUM_THREADS"))
    if (const int number = std::atoi(text); number > 0) return number;
  const int all = static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  cpu_set_t allowed;
  const int own = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : all;
  return std::max(1, own < all ? own : all / local_size);
}

void ask_for_reproducible_kernels() { ::setenv("MKL_CBWR", "AUTO", 0); }

void prepare_machine(int threads) {
  ask_for_reproducible_kernels();
  // Fresh pages for every large activation cost 10 to 40 % of a network's time: keep them.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 2000 << 20);
  ::mallopt(M_TOP_PAD, 64 << 20);
  at::set_num_threads(threads);
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
}

std::int64_t resolve_memory(double gigabytes, int local_size) {
  if (gigabytes > 0) return static_cast<std::int64_t>(gigabytes * 1e9);
  std::int64_t machine = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) *
                         static_cast<std::int64_t>(::sysconf(_SC_PAGESIZE));
  std::ifstream group("/sys/fs/cgroup/memory.max");
  if (std::int64_t limit = 0; group >> limit && limit > 0) machine = std::min(machine, limit);
  return machine / 2 / local_size;
}

std::string blas_complaint() {
  for (const char* symbol : {"openblas_get_config", "MKL_Get_Version_String",
                             "mkl_get_version_string", "bli_info_get_version_str"})
    if (::dlsym(RTLD_DEFAULT, symbol)) return "";
  if (at::hasMKL()) return "";
  return "LibTorch runs on the reference BLAS, 30 to 60 times slower than OpenBLAS: apt-get "
         "install libopenblas0-openmp";
}

}  // namespace linex
