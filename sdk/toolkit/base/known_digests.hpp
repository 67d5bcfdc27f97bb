// Digests of files that somebody else has made.
#pragma once

#include <filesystem>
#include <string>

namespace linex {

/// sha256_of_file(path) will give `digest`, as long as the file stays as it is; nothing where that
/// function would read it again each time. For ranks that read each other's part. [any thread]
void remember_sha256_of_file(const std::filesystem::path& path, const std::string& digest);

}  // namespace linex
