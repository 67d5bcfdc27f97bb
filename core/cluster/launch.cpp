#include "core/cluster/launch.hpp"

#include <unistd.h>

#include <array>
#include <cstdlib>

namespace linex {

namespace {

/// A number in the environment, or `otherwise`.
int number(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  if (!text) return otherwise;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return end != text && *end == 0 && value >= 0 && value < (1 << 20) ? static_cast<int>(value)
                                                                     : otherwise;
}

Launch read_launch() {
  Launch launch;
  if (std::getenv("OMPI_COMM_WORLD_SIZE")) {
    launch.size = number("OMPI_COMM_WORLD_SIZE", 1);
    launch.rank = number("OMPI_COMM_WORLD_RANK", 0);
    launch.local_rank = number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
    launch.local_size = number("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
  } else if (std::getenv("PMIX_RANK") && std::getenv("SLURM_STEP_NUM_TASKS")) {
    // srun --mpi=pmix. A batch script's first line has the job's numbers but no step's.
    launch.size = number("SLURM_STEP_NUM_TASKS", 1);
    launch.rank = number("PMIX_RANK", 0);
    launch.local_rank = number("SLURM_LOCALID", 0);
    launch.local_size = number("SLURM_NTASKS_PER_NODE", 1);
  }
  if (launch.size < 1 || launch.rank >= launch.size) return {};
  return launch;
}

}  // namespace

const Launch& launch() {
  static const Launch launch = read_launch();
  return launch;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace linex
