// Digests of files that may be large: by pieces, which threads and ranks read beside each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace linex {

/// Bytes of a piece.
inline constexpr std::uint64_t kDigestPiece = 64U << 20;
/// Pieces of so many bytes, at least one.
inline std::int64_t digest_pieces(std::uint64_t bytes) {
  return bytes == 0 ? 1 : static_cast<std::int64_t>((bytes - 1) / kDigestPiece + 1);
}

/// Of a file's content, 64 lower-case digits: its SHA-256 and, of one of several pieces, SHA-256 of
/// their SHA-256s, a line each (`split -b 64M --filter=sha256sum FILE | cut -c1-64 | sha256sum`).
/// One of at least 1 MiB that was read before, and whose inode, size and times are still the same
/// and older than two seconds, is not read again. Throws Error(input) for one that cannot be read.
/// [any thread]
std::string digest_of_file(const std::filesystem::path& path, int threads = 1);

/// SHA-256 of one piece of a file; throws Error(input) also for one that begins beyond its end.
std::string digest_of_piece(const std::filesystem::path& path, std::int64_t piece);
/// digest_of_file() out of the SHA-256s of all pieces.
std::string digest_of_pieces(const std::vector<std::string>& pieces);

/// What tells a file of at least 1 MiB from what it is after a change; "" where nothing does.
std::string stamp_of_file(const std::filesystem::path& path);
/// digest_of_file() of a file that had `stamp` when it was read last; "" where nobody has.
std::string known_digest(const std::string& stamp);
/// digest_of_file(path) will give `digest`, as long as the file stays as it is, where it still has
/// the `stamp` that it had before it was read. For who has read it by pieces. [any thread]
void remember_digest(const std::filesystem::path& path, const std::string& stamp,
                     const std::string& digest);

}  // namespace linex
