// A command as one text to its argument vector, the way a shell reads it and without a shell.
#pragma once

#include <string>
#include <vector>

namespace linex {

/// Words are separated by white space. '...' keeps everything as it is; "..." too, but there a
/// backslash before " or another backslash takes it literally; outside of quotes a backslash makes
/// the next character an ordinary one. Nothing else is special: no variables, patterns, pipes or
/// redirections. Throws Error(usage) for an empty command, an open quote or a \ at the end.
std::vector<std::string> split_command(const std::string& command);

}  // namespace linex
