// How this process was started: alone, or as one of several ranks by mpirun or srun.
#pragma once

#include <string>

namespace linex {

/// What the launcher's environment says. No library is needed to read it.
struct Launch {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  ///< among the ranks of this machine
  bool several() const { return size > 1; }
};
/// Of Open MPI's mpirun and of Slurm's srun; a process alone where neither started this one.
const Launch& launch();

/// This machine's name, for messages.
std::string host_name();

}  // namespace linex
