// Answers about plugins, kept between calls: to find them anew takes the time LibTorch needs to
// load, a third of a second.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace linex {

/// What a command says, and everything on this machine's disk that it was read from: plugins, the
/// folders they were looked for in, the libraries that were loaded. A path may be missing there.
struct Answer {
  std::string text;
  std::vector<std::filesystem::path> files;
  bool lasting = false;  ///< the same as long as `files` are
};

/// Whether the answer to a command line may be kept: `list`, `inspect` and the help of one command,
/// without --plugin.
bool may_be_kept(const std::vector<std::string>& words);

/// The answer that `program` (the real path of linex-host) kept for `words`: as this user, on this
/// machine, with the same variables that choose what is loaded (LINEX_*, LD_*). "" where there is
/// none or one of its files is not as it was (inode, size, times). Never throws.
std::string kept_answer(const std::filesystem::path& program,
                        const std::vector<std::string>& words);

/// Keeps an answer in $XDG_CACHE_HOME/linex/answers (~/.cache), where that folder is this user's.
/// Nothing is kept that is not lasting, or whose files have changed within two seconds. Never
/// throws: an answer that is not kept is found again.
void keep_answer(const std::filesystem::path& program, const std::vector<std::string>& words,
                 const Answer& answer);

}  // namespace linex
