// Gzip files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace linex {

/// Content of a file, unpacked where it is gzip-compressed. Throws Error(input) when missing,
/// damaged, larger than `max_bytes` unpacked, or packed as small as no text is.
std::string read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace linex
