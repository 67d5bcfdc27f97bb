// Images in tar archives, as WebDataset writes and reads them (github.com/webdataset/webdataset):
// what stands before the first dot of a name is a sample's key, what is behind it the kind.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/formats.hpp"
#include "toolkit/data/ground_truth.hpp"
#include "toolkit/data/tar.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMostLabel = std::int64_t{1} << 20;
constexpr std::size_t kMostShards = 1000000;
const char* const kIndexHead = "linex shard index 1";

/// Which entry of a sample tells its class.
struct LabelChoice {
  std::string kind;  ///< "cls", "json", "txt", "none", or "" for the first of them that does
  std::string key;   ///< of "json:KEY"
};

LabelChoice parse_choice(const std::string& text) {
  LabelChoice choice{text, ""};
  if (text.compare(0, 5, "json:") == 0 && text.size() > 5) choice = {"json", text.substr(5)};
  static const std::set<std::string> kKinds{"", "cls", "json", "txt", "none"};
  if (kKinds.count(choice.kind) == 0)
    throw usage_error("data.label=" + text + ": give cls, json, json:KEY, txt or none");
  return choice;
}

struct Sample {
  std::string key, image;             ///< name before the first dot, and of the image
  std::int64_t offset = 0, size = 0;  ///< of the image
  std::string label;                  ///< as written; "" where there is none
  char from = '-';                    ///< 'c'ls, 'j'son, 't'xt, '-' none
};

struct Shard {
  std::vector<Sample> samples;
  std::int64_t without_image = 0;
  std::int64_t passed_over = 0;  ///< hidden files
  std::int64_t unread = 0;       ///< TarReader::unread()
};

/// One line without blanks around it.
std::string one_line(const std::string& text) {
  std::string line = trim(text);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line;
}

/// The class that a sample's JSON tells: "" for none.
std::string label_in(const std::string& text, const std::string& key) {
  using Json = nlohmann::json;
  const Json json = json_nests_at_most(text) ? Json::parse(text, nullptr, false) : Json();
  const auto scalar = [](const Json& value) {
    if (value.is_number_integer()) return std::to_string(value.get<std::int64_t>());
    return value.is_string() ? one_line(value.get<std::string>()) : std::string();
  };
  if (!json.is_object()) return key.empty() ? scalar(json) : "";
  if (!key.empty()) return json.contains(key) ? scalar(json[key]) : "";
  for (const char* name : {"label", "class", "cls", "class_id", "label_id", "target", "category",
                           "class_name", "label_name"})
    if (json.contains(name)) return scalar(json[name]);
  return "";
}

std::string base_of(const std::string& name) { return name.substr(name.find_last_of('/') + 1); }

/// Reads the samples of one archive.
class ShardScan {
 public:
  ShardScan(const fs::path& path, const LabelChoice& choice)
      : path_(path), choice_(choice), tar_(path) {}

  Shard scan() {
    TarEntry entry;
    while (tar_.next(entry)) {
      const std::string base = base_of(entry.name);
      if (base.empty() || base.front() == '.' || entry.name.compare(0, 9, "__MACOSX/") == 0) {
        ++shard_.passed_over;
        continue;
      }
      const auto dot = base.find('.');
      const std::size_t key_size = entry.name.size() - base.size() + std::min(dot, base.size());
      const std::string key = entry.name.substr(0, key_size);
      if (key != sample_.key) finish_sample();
      sample_.key = key;
      take(entry, dot == std::string::npos ? "" : lower_case(base.substr(dot + 1)));
    }
    finish_sample();
    shard_.unread = tar_.unread();
    return std::move(shard_);
  }

 private:
  void take(const TarEntry& entry, const std::string& kind) {
    const bool image = is_image_name("x." + kind) && kind.find('.') == std::string::npos;
    const bool label = kind == "cls" || kind == "json" || kind == "txt";
    if (!image && !label) return;
    const std::string slot = image ? "image" : kind;
    if (!seen_.insert(slot).second)
      throw input_error(path_.string() + ": the sample '" + printable(sample_.key) + "' has two " +
                        (image ? "images" : "labels ." + kind) + "; the second is " +
                        printable(entry.name));
    if (image) {
      sample_.image = entry.name;
      sample_.offset = entry.offset;
      sample_.size = entry.size;
      return;
    }
    const char from = kind.front();
    static const std::string kOrder = "cjt-";
    if (choice_.kind == "none" || (!choice_.kind.empty() && choice_.kind != kind) ||
        kOrder.find(from) > kOrder.find(sample_.from))
      return;
    const std::string content = tar_.read(entry, kMostLabel);
    const std::string text = kind == "json" ? label_in(content, choice_.key) : one_line(content);
    if (text.empty()) return;
    if (!is_utf8(text))
      throw input_error(path_.string() + ": " + printable(entry.name) + " is not UTF-8");
    sample_.label = text;
    sample_.from = from;
  }

  void finish_sample() {
    if (sample_.key.empty()) return;
    if (sample_.image.empty())
      ++shard_.without_image;
    else
      shard_.samples.push_back(std::move(sample_));
    sample_ = {};
    seen_.clear();
  }

  const fs::path& path_;
  const LabelChoice& choice_;
  TarReader tar_;
  Shard shard_;
  Sample sample_;
  std::set<std::string> seen_;
};

std::string write_index(const Shard& shard) {
  std::string text = std::string(kIndexHead) + "\n";
  for (const auto& sample : shard.samples)
    text += std::to_string(sample.offset) + "\t" + std::to_string(sample.size) + "\t" +
            sample.from + "\t" + sample.label + "\t" + sample.image + "\n";
  return text + "end\t" + std::to_string(shard.samples.size()) + "\t" +
         std::to_string(shard.without_image) + "\t" + std::to_string(shard.passed_over) + "\t" +
         std::to_string(shard.unread) + "\n";
}

/// Nothing for a file that is not such an index, whole.
std::optional<Shard> read_index(const fs::path& file) {
  std::error_code failure;
  if (file.empty() || !fs::exists(file, failure)) return std::nullopt;
  const std::string text = read_file(file);
  const std::string_view all = text;
  std::size_t begin = 0;
  std::array<std::string_view, 5> cells;
  const auto next_line = [&]() -> std::size_t {
    const std::size_t end = all.find('\n', begin);
    if (end == std::string_view::npos) return 0;
    std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    for (std::size_t count = 0; count < cells.size();) {
      const std::size_t tab = count + 1 < cells.size() ? line.find('\t') : std::string_view::npos;
      cells[count++] = line.substr(0, tab);
      if (tab == std::string_view::npos) return count;
      line.remove_prefix(tab + 1);
    }
    return cells.size();
  };
  const auto number = [](std::string_view cell, std::int64_t& value) {
    const auto [stop, wrong] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    return wrong == std::errc() && stop == cell.data() + cell.size() && value >= 0;
  };
  if (next_line() != 1 || cells[0] != kIndexHead) return std::nullopt;
  Shard shard;
  while (next_line() == cells.size()) {
    if (cells[0] == "end") {
      std::int64_t count = 0;
      const bool sound = number(cells[1], count) && number(cells[2], shard.without_image) &&
                         number(cells[3], shard.passed_over) && number(cells[4], shard.unread) &&
                         count == static_cast<std::int64_t>(shard.samples.size());
      return sound ? std::optional<Shard>(std::move(shard)) : std::nullopt;
    }
    Sample sample;
    if (!number(cells[0], sample.offset) || !number(cells[1], sample.size) || cells[2].size() != 1)
      return std::nullopt;
    sample.from = cells[2].front();
    sample.label = cells[3];
    sample.image = cells[4];
    shard.samples.push_back(std::move(sample));
  }
  return std::nullopt;
}

/// The samples of an archive, from the index of an earlier run where that is in the cache.
Shard index_shard(const fs::path& path, const LabelChoice& choice, const DataOptions& options) {
  fs::path index;
  struct stat status {};
  if (!options.cache.empty() && ::stat(path.c_str(), &status) == 0) {
    Sha256 digest;
    digest.add(fs::absolute(path).string()).add(choice.kind).add(choice.key);
    digest.add(std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
               std::to_string(status.st_mtim.tv_nsec) + " " + std::to_string(status.st_ino));
    index = options.cache / "shards" / (digest.hex() + ".tsv");
    if (auto known = read_index(index)) return std::move(*known);
  }
  Shard shard = ShardScan(path, choice).scan();
  if (index.empty()) return shard;
  std::error_code ignored;
  fs::create_directories(index.parent_path(), ignored);
  try {
    write_file_atomic(index, write_index(shard));
  } catch (const Error& error) {
    if (options.log) options.log->warning(error.what());
  }
  return shard;
}

/// "{000..099}" and "{train,val}", as shells and WebDataset's braceexpand have them.
std::vector<std::string> expand_braces(const std::string& pattern) {
  const auto wrong = [&](const char* what) {
    return usage_error("data.root=" + pattern + ": " + what +
                       "; write shards-{000..099}.tar or {train,val}.tar");
  };
  const auto close = pattern.find('}');
  if (close == std::string::npos) {
    if (pattern.find('{') != std::string::npos) throw wrong("a brace is not closed");
    return {pattern};
  }
  const auto open = pattern.rfind('{', close);
  if (open == std::string::npos) throw wrong("a brace is not opened");
  const std::string head = pattern.substr(0, open), tail = pattern.substr(close + 1);
  const std::string inner = pattern.substr(open + 1, close - open - 1);
  std::vector<std::string> middles;
  if (const auto dots = inner.find(".."); dots != std::string::npos) {
    const std::string first = inner.substr(0, dots), last = inner.substr(dots + 2);
    const auto from = as_class_number(first), to = as_class_number(last);
    if (!from || !to || *from > *to) throw wrong("{FIRST..LAST} takes two ascending numbers");
    const bool padded = first.size() > 1 && first.front() == '0';
    const std::size_t width = padded ? std::max(first.size(), last.size()) : 0;
    for (std::int64_t i = *from; i <= *to; ++i) {
      const std::string digits = std::to_string(i);
      middles.push_back(std::string(width - std::min(width, digits.size()), '0') + digits);
    }
  } else {
    middles = split(inner, ',');
  }
  std::vector<std::string> all;
  for (const auto& middle : middles)
    for (auto& whole : expand_braces(head + middle + tail)) {
      all.push_back(std::move(whole));
      if (all.size() > kMostShards) throw wrong("these are more than a million shards");
    }
  return all;
}

/// The archives behind data.root, and the folder that they lie in.
std::vector<fs::path> find_shards(const fs::path& root) {
  std::error_code ignored;
  std::vector<fs::path> shards;
  if (fs::is_directory(root, ignored)) {
    std::error_code failure;
    for (fs::directory_iterator it(root, failure), end; !failure && it != end;
         it.increment(failure)) {
      const std::string name = it->path().filename().string();
      if (name.front() != '.' && lower_case(it->path().extension().string()) == ".tar")
        shards.push_back(it->path());
    }
    if (failure)
      throw input_error("cannot read folder " + root.string() + ": " + failure.message());
    std::sort(shards.begin(), shards.end());
    if (shards.empty())
      throw input_error("no .tar in " + root.string() +
                        "; data.kind=webdataset takes shards: a folder, a file or a pattern such "
                        "as shards-{000..099}.tar");
    return shards;
  }
  if (fs::exists(root, ignored)) return {root};
  for (const auto& name : expand_braces(root.string())) {
    if (!fs::exists(name, ignored))
      throw input_error("data.root " + root.string() + ": " +
                        (name == root.string() ? "it" : name) + " does not exist");
    shards.push_back(name);
  }
  return shards;
}

void warn(const DataOptions& options, const std::string& message) {
  if (options.log) options.log->warning(message);
}

/// Which rows have classes, all or none, and what is written of them.
std::vector<std::string> settle_labels(std::vector<std::string> written,
                                       const std::vector<char>& from,
                                       const std::vector<ImageFile>& files,
                                       const LabelChoice& choice, const DataOptions& options) {
  const auto unlabelled = std::count(from.begin(), from.end(), '-');
  const auto n = static_cast<std::ptrdiff_t>(from.size());
  if (unlabelled == n) {
    if (!choice.kind.empty() && choice.kind != "none")
      throw input_error(options.root.string() + ": no sample has a class in its ." + choice.kind +
                        (choice.key.empty() ? "" : " under '" + choice.key + "'") +
                        "; see data.label");
    return {};
  }
  if (unlabelled > 0) {
    const auto first =
        static_cast<std::size_t>(std::find(from.begin(), from.end(), '-') - from.begin());
    throw input_error(options.root.string() + ": " + std::to_string(unlabelled) + " of " +
                      std::to_string(n) + " samples have no class, the first is " +
                      printable(files[first].name) +
                      "; repair the shards, or set data.label=none to do without classes");
  }
  // Captions are not classes.
  const bool texts =
      choice.kind.empty() && std::all_of(from.begin(), from.end(), [](char c) { return c == 't'; });
  constexpr std::ptrdiff_t kTold = 10;
  if (texts && n >= kTold) {
    const std::set<std::string> different(written.begin(), written.end());
    if (static_cast<std::ptrdiff_t>(different.size()) * 2 > n) {
      warn(options, options.root.string() + ": the .txt of " + std::to_string(n) + " samples are " +
                        std::to_string(different.size()) +
                        " different texts, captions and no classes; data.label=txt takes them");
      return {};
    }
  }
  return written;
}

}  // namespace

std::shared_ptr<DataSet> open_shards(const DataOptions& options) {
  const LabelChoice choice = parse_choice(options.label);
  ImagePlaces places;
  places.archives = find_shards(options.root);
  std::vector<Shard> shards(places.archives.size());
  parallel_for(static_cast<std::int64_t>(shards.size()), options.threads, [&](std::int64_t i) {
    const auto place = static_cast<std::size_t>(i);
    shards[place] = index_shard(places.archives[place], choice, options);
  });
  std::vector<ImageFile> files;
  std::vector<std::string> written;
  std::vector<char> from;
  std::int64_t without_image = 0, passed_over = 0;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    Shard& shard = shards[s];
    const std::string folder = places.archives[s].filename().string() + "/";
    for (Sample& sample : shard.samples) {
      files.push_back(
          {folder + sample.image, 0, static_cast<std::int32_t>(s), sample.offset, sample.size});
      written.push_back(std::move(sample.label));
      from.push_back(sample.from);
    }
    without_image += shard.without_image;
    passed_over += shard.passed_over;
    if (shard.unread > 0)
      warn(options, places.archives[s].string() + ": " + std::to_string(shard.unread) +
                        " bytes behind the end of the archive are not read; append shards with "
                        "tar --concatenate, or name each");
    shard = {};
  }
  if (files.empty())
    throw input_error(options.root.string() +
                      ": no image in its shards; a sample is KEY.jpg (png, webp, ...) beside "
                      "KEY.cls, .json or .txt, and KEY ends at the first dot");
  if (without_image > 0)
    warn(options, options.root.string() + ": " + std::to_string(without_image) +
                      " samples without an image are left out");
  if (passed_over > 0 && options.log)
    options.log->info(options.root.string() + ": " + std::to_string(passed_over) +
                      " hidden files passed over");
  written = settle_labels(std::move(written), from, files, choice, options);
  std::vector<std::string> class_names;
  if (!written.empty()) class_names = called(number_labels(written, files), options.classes);
  return make_file_data_set(std::move(files), std::move(places), std::move(class_names), options);
}

}  // namespace linex
