// Data sets made of one file an image.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/data/formats.hpp"
#include "toolkit/data/image.hpp"
#include "toolkit/data/image_formats.hpp"
#include "toolkit/data/image_header.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

const char* const kAdvice = "; repair it or set data.on_error=skip";

const unsigned char* as_bytes(const std::string& content) {
  return reinterpret_cast<const unsigned char*>(content.data());
}

/// What was found out about a file.
struct Scan {
  std::string stamp;    ///< what its row's part of the fingerprint is made of
  std::string failure;  ///< why it cannot be read, or ""
};

std::string size_and_time(const struct stat& status) {
  return std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
         std::to_string(status.st_mtim.tv_nsec);
}

/// Where the bytes of images are. [any thread]
class ImageBytes {
 public:
  explicit ImageBytes(ImagePlaces places) : places_(std::move(places)) {}

  fs::path path(const ImageFile& file) const {
    return file.archive < 0 ? places_.folder / file.name
                            : places_.archives[static_cast<std::size_t>(file.archive)];
  }
  /// For messages.
  std::string place(const ImageFile& file) const {
    if (file.archive < 0) return path(file).string();
    return (path(file).parent_path() / file.name).string();
  }
  std::string read(const ImageFile& file) const {
    if (file.archive < 0) return read_file(path(file));
    constexpr std::int64_t kMost = std::int64_t{1} << 31;  // read_file()'s
    if (file.size > kMost) throw unreadable_image(place(file), "it is larger than 2 GiB");
    const auto archive = open_archive(file);
    std::string bytes(static_cast<std::size_t>(file.size), '\0');
    for (std::size_t done = 0; done < bytes.size();) {
      const auto got = ::pread(archive->fd, bytes.data() + done, bytes.size() - done,
                               file.offset + static_cast<std::int64_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0)
        throw unreadable_image(place(file),
                               got < 0 ? std::strerror(errno) : "the archive has become shorter");
      done += static_cast<std::size_t>(got);
    }
    return bytes;
  }
  const ImagePlaces& places() const { return places_; }

 private:
  struct Archive {
    explicit Archive(int descriptor) : fd(descriptor) {}
    ~Archive() { ::close(fd); }
    Archive(const Archive&) = delete;
    Archive& operator=(const Archive&) = delete;
    const int fd;
  };
  /// Rows are mostly read in order: the archives read last stay open.
  std::shared_ptr<const Archive> open_archive(const ImageFile& file) const {
    constexpr std::size_t kOpen = 16;
    const std::lock_guard<std::mutex> guard(lock_);
    for (const auto& [index, archive] : open_)
      if (index == file.archive) return archive;
    const int fd = ::open(path(file).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw unreadable_image(place(file), std::strerror(errno));
    if (open_.size() == kOpen) open_.pop_front();
    open_.emplace_back(file.archive, std::make_shared<const Archive>(fd));
    return open_.back().second;
  }

  ImagePlaces places_;
  mutable std::mutex lock_;
  mutable std::deque<std::pair<std::int32_t, std::shared_ptr<const Archive>>> open_;
};

/// Size and time of last change, without opening the file. What is in an archive is known by its
/// place in there, once the archives are (stamp_archives()).
Scan look_at(const ImageFile& file, const ImageBytes& bytes) {
  struct stat status {};
  Scan scan;
  if (file.archive >= 0) {
    if (file.size == 0)
      scan.failure = unreadable_image(bytes.place(file), "the file is empty").what();
    scan.stamp = std::to_string(file.archive) + ":" + std::to_string(file.offset);
    return scan;
  }
  const fs::path path = bytes.path(file);
  if (::stat(path.c_str(), &status) != 0)
    scan.failure = std::strerror(errno);
  else if (!S_ISREG(status.st_mode))  // opening a pipe would wait for its writer
    scan.failure = "not a regular file";
  else if (status.st_size == 0)
    scan.failure = "the file is empty";
  if (!scan.failure.empty()) scan.failure = unreadable_image(path.string(), scan.failure).what();
  scan.stamp = file.name + "\n" + size_and_time(status);
  return scan;
}

/// Names, sizes and times of the archives.
std::string stamp_archives(const ImagePlaces& places) {
  std::string stamp;
  for (const auto& archive : places.archives) {
    struct stat status {};
    ::stat(archive.c_str(), &status);
    stamp += archive.filename().string() + "\n" + size_and_time(status) + "\n";
  }
  return stamp;
}

/// Reads the file: its content becomes the stamp, its structure is verified or its pixels decoded.
Scan read_through(const ImageFile& file, const ImageBytes& bytes, bool decode) {
  Scan scan = look_at(file, bytes);
  if (!scan.failure.empty()) return scan;
  try {
    const std::string content = bytes.read(file);
    scan.stamp = Sha256().add(content).hex();
    if (decode)
      decode_image(as_bytes(content), content.size(), bytes.place(file));
    else
      read_image_header(as_bytes(content), content.size(), bytes.place(file));
  } catch (const Error& error) {
    scan.failure = error.what();
  }
  return scan;
}

class FileDataSet final : public ListedDataSet {
 public:
  FileDataSet(std::vector<ImageFile> files, std::shared_ptr<const ImageBytes> bytes,
              Listing listing, std::vector<std::string> class_names, std::string fingerprint)
      : ListedDataSet(std::move(listing)),
        files_(std::move(files)),
        bytes_(std::move(bytes)),
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
    const ImageFile& file = files_.at(static_cast<std::size_t>(row));
    try {
      const std::string content = bytes_->read(file);
      return decode_image(as_bytes(content), content.size(), bytes_->place(file));
    } catch (const Error& error) {
      throw input_error(std::string(error.what()) + kAdvice);
    }
  }

 private:
  std::vector<ImageFile> files_;
  std::shared_ptr<const ImageBytes> bytes_;
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
                      kAdvice);
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

/// Decodes every file that seemed sound, and says which are not. They are remembered in the cache,
/// so that the same files are decoded once.
void find_unreadable(const std::vector<ImageFile>& files, const ImageBytes& bytes,
                     std::vector<Scan>& scans, const DataOptions& options) {
  Sha256 digest;
  if (const std::string stamp = stamp_archives(bytes.places()); !stamp.empty()) digest.add(stamp);
  for (const auto& scan : scans) digest.add(scan.stamp);
  const fs::path known =
      options.cache.empty() ? fs::path() : options.cache / "unreadable" / (digest.hex() + ".csv");
  std::error_code ignored;
  if (!known.empty() && fs::exists(known, ignored)) {
    const CsvTable table = read_csv(known);
    std::map<std::string, std::string> failure_of;
    for (const auto& row : table.rows) failure_of[row.front()] = row.back();
    for (std::size_t i = 0; i < files.size(); ++i)
      if (const auto found = failure_of.find(files[i].name); found != failure_of.end())
        scans[i].failure = found->second;
    return;
  }
  parallel_for(static_cast<std::int64_t>(files.size()), options.threads, [&](std::int64_t i) {
    Scan& scan = scans[static_cast<std::size_t>(i)];
    if (scan.failure.empty())
      scan.failure =
          read_through(files[static_cast<std::size_t>(i)], bytes, /*decode=*/true).failure;
  });
  if (known.empty()) return;
  std::string table = "name,failure\n";
  for (std::size_t i = 0; i < files.size(); ++i)
    if (!scans[i].failure.empty()) table += csv_record({files[i].name, scans[i].failure});
  fs::create_directories(known.parent_path(), ignored);
  try {
    write_file_atomic(known, table);
  } catch (const Error& error) {
    if (options.log) options.log->warning(error.what());
  }
}

}  // namespace

std::shared_ptr<DataSet> make_file_data_set(std::vector<ImageFile> files, ImagePlaces places,
                                            std::vector<std::string> class_names,
                                            const DataOptions& options) {
  const auto bytes = std::make_shared<const ImageBytes>(std::move(places));
  Listing listing{{}, static_cast<std::int64_t>(files.size())};
  files = sampled(std::move(files), !class_names.empty(), options, listing.rows);
  std::vector<Scan> scans(files.size());
  const auto scan_all = [&](const std::function<Scan(const ImageFile&)>& look) {
    parallel_for(static_cast<std::int64_t>(files.size()), options.threads, [&](std::int64_t i) {
      scans[static_cast<std::size_t>(i)] = look(files[static_cast<std::size_t>(i)]);
    });
  };
  if (options.verify_content)
    scan_all([&](const auto& file) { return read_through(file, *bytes, options.skip_unreadable); });
  else
    scan_all([&](const auto& file) { return look_at(file, *bytes); });
  if (options.skip_unreadable && !options.verify_content)
    find_unreadable(files, *bytes, scans, options);
  settle_failures(files, listing.rows, scans, options);
  if (files.empty()) throw input_error("no readable image under " + options.root.string());

  Sha256 digest;
  for (const auto& name : class_names) digest.add(name);
  if (const std::string stamp = stamp_archives(bytes->places());
      !stamp.empty() && !options.verify_content)
    digest.add(stamp);
  for (std::size_t i = 0; i < files.size(); ++i) {
    digest.add(scans[i].stamp);
    digest.add(class_names.empty() ? "" : std::to_string(files[i].label));
  }
  return std::make_shared<FileDataSet>(std::move(files), bytes, std::move(listing),
                                       std::move(class_names), digest.hex());
}

}  // namespace linex
