// Which files this process runs code from.
#pragma once

#include <filesystem>
#include <vector>

namespace linex {

/// The program, every library loaded so far, and the loader's list of libraries; absolute.
std::vector<std::filesystem::path> mapped_files();

}  // namespace linex
