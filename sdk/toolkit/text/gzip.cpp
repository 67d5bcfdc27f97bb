#include "toolkit/text/gzip.hpp"

#include <zlib.h>

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace {

/// Text packs to a fifth; nothing but a bomb packs to a hundredth. What is made of the text later
/// (a string a line) has to fit into the rule of toolkit/base/budget.hpp as well.
constexpr std::uint64_t kGzipFactor = 16;
constexpr std::uint64_t kGzipBase = 1ULL << 20;

}  // namespace

std::string read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes) {
  std::string packed = read_file(path, max_bytes);
  if (packed.compare(0, 2, "\x1f\x8b") != 0) return packed;

  z_stream stream{};
  constexpr int kGzip = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzip) != Z_OK) throw input_error(path.string() + ": zlib failed");
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  const std::uint64_t most =
      std::min<std::uint64_t>(max_bytes, kGzipBase + kGzipFactor * packed.size());
  std::string content;
  int status = Z_OK;
  while (status == Z_OK && content.size() <= most) {
    char block[1 << 16];
    stream.next_out = reinterpret_cast<Bytef*>(block);
    stream.avail_out = sizeof block;
    status = inflate(&stream, Z_NO_FLUSH);
    content.append(block, sizeof block - stream.avail_out);
  }
  inflateEnd(&stream);
  if (content.size() > most)
    throw input_error(path.string() + ": " + std::to_string(packed.size()) +
                      " bytes that unpack to more than " + std::to_string(most) +
                      "; this is not a vocabulary");
  if (status != Z_STREAM_END)
    throw input_error(path.string() + ": damaged or truncated gzip file; fetch it again");
  return content;
}

}  // namespace linex
