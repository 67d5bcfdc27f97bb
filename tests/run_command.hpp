// A command of the shell, and what it prints.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace linex {

struct Output {
  int code = -1;
  std::string text;  ///< what the shell's redirections send to standard output
};

inline Output run_command(const std::string& command) {
  Output output;
  std::FILE* stream = ::popen(command.c_str(), "r");
  if (!stream) throw std::runtime_error("cannot run " + command);
  std::array<char, 4096> buffer{};
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), stream))
    output.text.append(buffer.data(), got);
  const int status = ::pclose(stream);
  output.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

}  // namespace linex
