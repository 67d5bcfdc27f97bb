#include "host/launcher/blas_core.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace linex {

namespace {

/// The kernels it has for processors with AVX2; null for others.
const char* core_of_this_processor() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // also before constructors
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return nullptr;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512cd");
  return wide ? "SkylakeX" : "Haswell";
#else
  return nullptr;
#endif
}

bool is_without_avx2(const char* core) {
  for (const char* old : {"Generic", "Prescott", "Core2", "Penryn", "Dunnington", "Nehalem",
                          "Sandybridge", "Katmai", "Coppermine", "Northwood", "Banias", "Atom",
                          "Opteron", "Opteron_SSE3", "Barcelona", "Bobcat", "Bulldozer", "Nano"})
    if (std::strcmp(core, old) == 0) return true;
  return false;
}

}  // namespace

void ask_for_known_blas_core() {
  const char* const better = core_of_this_processor();
  if (!better || std::getenv("OPENBLAS_CORETYPE")) return;
  void* const blas = ::dlopen("libopenblas.so.0", RTLD_LAZY | RTLD_LOCAL);
  if (!blas) return;
  const auto name = reinterpret_cast<char* (*)()>(::dlsym(blas, "openblas_get_corename"));
  if (name && is_without_avx2(name())) ::setenv("OPENBLAS_CORETYPE", better, 0);
}

void restart_with_known_blas_core(char** argv) {
  if (std::getenv("OPENBLAS_CORETYPE")) return;
  ask_for_known_blas_core();
  if (std::getenv("OPENBLAS_CORETYPE")) ::execv("/proc/self/exe", argv);
}

}  // namespace linex
