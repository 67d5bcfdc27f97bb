#include "core/run/run_key.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

/// Size and time of last change; what is not there has none.
std::string stamp(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  return std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
         std::to_string(status.st_mtim.tv_nsec) + " " + std::to_string(status.st_ino);
}

/// Folders hold thousands of images: their names and stamps must do.
std::string folder_digest(const fs::path& folder) {
  std::vector<std::string> entries;
  std::error_code failure;
  for (fs::recursive_directory_iterator
           it(folder, fs::directory_options::skip_permission_denied, failure),
       end;
       !failure && it != end; it.increment(failure)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored))
      entries.push_back(it->path().lexically_relative(folder).string() + " " + stamp(it->path()));
  }
  std::sort(entries.begin(), entries.end());
  Sha256 digest;
  for (const auto& entry : entries) digest.add(entry);
  return digest.hex();
}

void add_rows(Sha256& digest, const char* part, const Rows& rows) {
  digest.add(part).add(rows.data(), rows.size() * sizeof(rows[0]));
}

}  // namespace

std::string content_digest(const fs::path& path) {
  std::error_code failure;
  if (fs::is_regular_file(path, failure)) return digest_of_file(path);
  return fs::is_directory(path, failure) ? folder_digest(path) : "";
}

std::string digest_of_piece(const torch::Tensor& matrix, std::int64_t piece) {
  const std::uint64_t begin = static_cast<std::uint64_t>(piece) * kDigestPiece,
                      end = std::min<std::uint64_t>(matrix.nbytes(), begin + kDigestPiece);
  Sha256 digest;
  digest.add(static_cast<const char*>(matrix.data_ptr()) + begin, end - begin);
  if (end == begin) return digest.hex();
  const std::uint64_t row = matrix.nbytes() / static_cast<std::uint64_t>(matrix.size(0));
  const auto first = static_cast<std::int64_t>(begin / row),
             last = static_cast<std::int64_t>((end - 1) / row);
  release_rows(matrix, first, last + 1 - first);
  return digest.hex();
}

std::string run_key(const Workplace& place, const KeyParts& parts) {
  Sha256 digest;
  digest.add(place.digest()).add(parts.data ? parts.data->fingerprint() : "");
  add_rows(digest, "train", parts.split.train);
  add_rows(digest, "val", parts.split.val);
  add_rows(digest, "test", parts.split.test);
  for (const auto& labeler : {parts.labeler, parts.simulator})
    digest.add(labeler.object ? labeler.object->fingerprint() : "none");
  digest.add(parts.given.empty() ? "" : content_digest(parts.given));
  return digest.hex();
}

std::string layer_key(const std::string& run_key, const std::string& layer,
                      const std::string& activations) {
  return Sha256().add(run_key).add(layer).add(activations).hex();
}

}  // namespace linex
