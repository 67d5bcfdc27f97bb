// Where this library lies; what is installed with it is found from there.
#pragma once

#include <filesystem>

namespace linex {

/// The folder of liblinex_toolkit, links resolved. Throws std::filesystem::filesystem_error.
std::filesystem::path library_folder();

}  // namespace linex
