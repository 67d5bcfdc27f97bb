// linex as a function: what a process that has everything loaded does.
#pragma once

namespace linex {

/// The command line's exit code, after what it says on standard output or standard error. Once a
/// process: signal handlers, limits and a cluster are the process's.
int run_program(int argc, char** argv);

}  // namespace linex
