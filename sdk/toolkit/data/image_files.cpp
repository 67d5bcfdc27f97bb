// Data sets made of one file an image.
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/data/formats.hpp"
#include "toolkit/data/image.hpp"
#include "toolkit/data/image_header.hpp"

namespace linex {
namespace {

const unsigned char* as_bytes(const std::string& content) {
  return reinterpret_cast<const unsigned char*>(content.data());
}

/// What one pass over a file told.
struct Scan {
  std::string digest;
  std::string failure;  ///< why it cannot be read, or ""
};

Scan scan_file(const ImageFile& file, bool decode) {
  Scan scan;
  try {
    // Opening a pipe would wait for its writer.
    std::error_code ignored;
    if (std::filesystem::is_other(file.path, ignored))
      throw input_error("cannot read image " + file.path.string() + ": not a regular file");
    const std::string content = read_file(file.path);
    scan.digest = Sha256().add(content).hex();
    if (decode)
      decode_image(as_bytes(content), content.size(), file.path.string());
    else
      read_image_header(as_bytes(content), content.size(), file.path.string());
  } catch (const Error& error) {
    scan.failure = error.what();
  }
  return scan;
}

class FileDataSet final : public ListedDataSet {
 public:
  FileDataSet(std::vector<ImageFile> files, Listing listing, std::vector<std::string> class_names,
              std::string fingerprint)
      : ListedDataSet(std::move(listing)),
        files_(std::move(files)),
        class_names_(std::move(class_names)),
        fingerprint_(std::move(fingerprint)) {
    if (class_names_.empty()) return;
    for (const auto& file : files_) labels_.push_back(file.label);
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override {
    return files_.at(static_cast<std::size_t>(row)).name;
  }
  std::string fingerprint() const override { return fingerprint_; }

  torch::Tensor pixels(std::int64_t row) const override {
    const auto& path = files_.at(static_cast<std::size_t>(row)).path;
    const std::string content = read_file(path);
    return decode_image(as_bytes(content), content.size(), path.string());
  }

 private:
  std::vector<ImageFile> files_;
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> labels_;
  std::string fingerprint_;
};

/// The files that data.limit leaves, and which `rows` they are.
std::vector<ImageFile> sampled(std::vector<ImageFile> files, bool classes,
                               const DataOptions& options, Rows& rows) {
  std::vector<std::int64_t> labels;
  if (classes)
    for (const auto& file : files) labels.push_back(file.label);
  rows = sample_rows(labels, static_cast<std::int64_t>(files.size()), options.limit, options.seed);
  std::vector<ImageFile> kept;
  for (const std::int64_t row : rows)
    kept.push_back(std::move(files[static_cast<std::size_t>(row)]));
  return kept;
}

/// Throws, or warns about and drops, files that cannot be read.
void settle_failures(std::vector<ImageFile>& files, Rows& rows, std::vector<Scan>& scans,
                     const DataOptions& options) {
  std::vector<ImageFile> kept_files;
  Rows kept_rows;
  std::vector<Scan> kept_scans;
  std::vector<std::string> failures;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!scans[i].failure.empty()) {
      failures.push_back(scans[i].failure);
      continue;
    }
    kept_files.push_back(std::move(files[i]));
    kept_rows.push_back(rows[i]);
    kept_scans.push_back(std::move(scans[i]));
  }
  if (!failures.empty() && !options.skip_unreadable)
    throw input_error(failures.front() +
                      (failures.size() > 1
                           ? " (and " + std::to_string(failures.size() - 1) + " more images)"
                           : "") +
                      "; repair it or set data.on_error=skip");
  constexpr std::size_t kNamed = 10;
  if (options.log) {
    for (std::size_t i = 0; i < std::min(kNamed, failures.size()); ++i)
      options.log->warning(failures[i] + "; skipped");
    if (failures.size() > kNamed)
      options.log->warning(std::to_string(failures.size() - kNamed) +
                           " more unreadable images skipped");
  }
  files = std::move(kept_files);
  rows = std::move(kept_rows);
  scans = std::move(kept_scans);
}

}  // namespace

std::shared_ptr<DataSet> make_file_data_set(std::vector<ImageFile> files,
                                            std::vector<std::string> class_names,
                                            const DataOptions& options) {
  Listing listing{{}, static_cast<std::int64_t>(files.size())};
  files = sampled(std::move(files), !class_names.empty(), options, listing.rows);
  std::vector<Scan> scans(files.size());
  parallel_for(static_cast<std::int64_t>(files.size()), options.threads, [&](std::int64_t i) {
    const auto row = static_cast<std::size_t>(i);
    scans[row] = scan_file(files[row], options.skip_unreadable);
  });
  settle_failures(files, listing.rows, scans, options);
  if (files.empty()) throw input_error("no readable image under " + options.root.string());

  Sha256 digest;
  for (std::size_t i = 0; i < files.size(); ++i) {
    digest.add(scans[i].digest);
    digest.add(class_names.empty() ? "" : std::to_string(files[i].label));
  }
  return std::make_shared<FileDataSet>(std::move(files), std::move(listing), std::move(class_names),
                                       digest.hex());
}

}  // namespace linex
