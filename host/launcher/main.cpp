// The linex binary: answers what needs no library, and becomes the program itself for all else.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "core/cluster/launch.hpp"
#include "host/launcher/blas_core.hpp"
#include "host/launcher/command_table.hpp"
#include "host/launcher/kept_answer.hpp"

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto program = (self.parent_path() / LINEX_HOST).lexically_normal();
  if (linex::launch().rank == 0) {
    std::string text = linex::text_without_plugins(words);
    if (text.empty() && !failed) text = linex::kept_answer(program, words);
    // Where it cannot be written, the program says why.
    if (!text.empty() && std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
        std::fflush(stdout) == 0)
      return 0;
  }
  linex::ask_for_known_blas_core();
  if (!failed) ::execv(program.c_str(), argv);
  std::fprintf(stderr, "linex: %s cannot be started (%s); install linex again\n", program.c_str(),
               failed ? failed.message().c_str() : std::strerror(errno));
  return 4;
}
