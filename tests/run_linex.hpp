// The linex program on a command line, in a folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace linex {

/// What `cd folder && linex arguments >out 2>error </dev/null` ends with: its exit code, 128 + n
/// after signal n. `arguments` is as a shell reads it.
///
/// Loading LibTorch takes a third of a second, and the suite would do it a thousand times. So the
/// program runs in a child of this process as it was before the first test, with everything loaded:
/// only its start is left out. A command line with more than words and quotes is left to the shell
/// and starts LINEX_BINARY. `variables` ("NAME=value") are added to its environment alone; the shim
/// of tests/fault, where this process has it loaded, reads them.
int run_linex(const std::filesystem::path& folder, const std::string& arguments,
              const std::string& out = "stdout.txt", const std::string& error = "stderr.txt",
              const std::vector<std::string>& variables = {});

}  // namespace linex
