// Everything that reads bytes from outside, one function each, under libFuzzer. The environment
// variable LINEX_FUZZ_READER names the one to run; tests/fuzz/drive.py runs all of them. What may
// come out of a reader is a value or linex::Error; anything else, memory beyond the limit or a run
// of ten seconds is a finding.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/plugin/plugin_note.hpp"
#include "core/run/ini.hpp"
#include "core/run/journal.hpp"
#include "linex/error.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/mojibake.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/config_file.hpp"
#include "toolkit/checkpoint/pickle.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/checkpoint/weights.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/data/cifar_records.hpp"
#include "toolkit/data/formats.hpp"
#include "toolkit/data/ground_truth.hpp"
#include "toolkit/data/image.hpp"
#include "toolkit/data/image_header.hpp"
#include "toolkit/data/row_store.hpp"
#include "toolkit/data/tar.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/command_words.hpp"
#include "toolkit/external/free_options.hpp"
#include "toolkit/text/clean_text.hpp"
#include "toolkit/text/gzip.hpp"
#include "toolkit/text/html_unescape.hpp"
#include "toolkit/text/tokenizer.hpp"
#include "toolkit/text/unicode.hpp"
#include "toolkit/text/vocabulary.hpp"
#include "toolkit/units/basis_file.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Silence final : Logger {
  void write(LogLevel, std::string_view) override {}
};
Silence g_log;

/// Of this process, in memory.
const fs::path& folder() {
  static const fs::path made = [] {
    std::string path = "/dev/shm/linex_fuzz_XXXXXX";
    if (!::mkdtemp(path.data())) std::abort();
    std::atexit([] {
      std::error_code ignored;
      fs::remove_all(folder(), ignored);
    });
    return fs::path(path);
  }();
  return made;
}

fs::path file(const char* name, std::string_view content) {
  const fs::path path = folder() / name;
  std::FILE* out = std::fopen(path.c_str(), "wb");
  if (!out || std::fwrite(content.data(), 1, content.size(), out) != content.size()) std::abort();
  std::fclose(out);
  return path;
}

/// `bytes` up to the first line "---", and what follows it.
std::pair<std::string_view, std::string_view> two_files(std::string_view bytes) {
  const auto at = bytes.find("\n---\n");
  if (at == std::string_view::npos) return {bytes, {}};
  return {bytes.substr(0, at), bytes.substr(at + 5)};
}

void touch(const torch::Tensor& tensor) {
  if (tensor.defined() && tensor.numel() > 0) (void)tensor.to(torch::kFloat64).sum().item<double>();
}

void read_weights(const char* name, std::string_view bytes) {
  const StateDict weights = load_weights(file(name, bytes));
  for (const auto& [key, tensor] : weights.tensors) touch(tensor);
  (void)find_network(weights, {{"conv1.weight"}, {"a", "b"}});
}

void read_text(std::string_view bytes) {
  const std::string text(bytes);
  (void)repair_mojibake(text);
  (void)decode_text(text);
  (void)printable(text);
  (void)is_utf8(text);
  (void)tokenize(text);
  if (!is_utf8(text)) return;
  (void)clean_lower(text);
  (void)clean_canonical(text);
  (void)unescape_html(to_code_points(text));
  (void)unescape_html_strictly(to_code_points(text));
  static const auto tokenizer =
      open_clip_vocabulary(LINEX_SOURCE_DIR "/tests/fixtures/clip/vocabulary.txt.gz");
  (void)tokenizer->encode(text);
}

void read_vocabulary(const fs::path& path) {
  const auto tokenizer = open_clip_vocabulary(path);
  (void)tokenizer->encode("a photo of a striped horse's leg, 12!");
}

/// A shard of rows; its digest is made right, or nothing behind it would ever be read.
void read_shard(std::string_view bytes) {
  RowStoreOptions options;
  options.cache = folder();
  options.kind = "rows";
  options.key = "key";
  options.rows = 4;
  options.shard_rows = 4;
  const RowStore store(options, g_log);
  std::string content(bytes);
  constexpr std::size_t kHeader = 40, kDigest = 64;
  if (content.size() >= kHeader + kDigest && content[0] == 'L') {
    const std::string digest =
        Sha256()
            .add(content.data(), kHeader)
            .add(content.data() + kHeader + kDigest, content.size() - kHeader - kDigest)
            .hex();
    content.replace(kHeader, kDigest, digest);
  }
  file(("rows/" + store.id() + "/0-4.f32").c_str(), content);
  touch(store.read(0));
}

/// Lines of a journal; their digests are made right, as above.
void read_journal(std::string_view bytes) {
  std::string content;
  for (const auto& line : split_lines(bytes))
    content += Sha256().add(line).hex().substr(0, 16) + " " + line + "\n";
  const Journal journal(file("journal", content), "key", true);
  (void)journal.finished();
}

void read_answer(std::string_view bytes) {
  const std::string text(bytes);
  try {
    (void)split_command(text);
  } catch (const Error&) {
  }
  try {
    (void)parse_free_options(text);
  } catch (const Error&) {
  }
  const Json message = Json::parse(text, nullptr, false);
  if (!message.is_object()) return;
  static const std::vector<std::string> concepts{"red", "striped", "red"};
  const auto tried = [&](const std::function<void()>& read) {
    try {
      read();
    } catch (const Error&) {
    } catch (const std::invalid_argument&) {  // what the session makes a line of
    }
  };
  tried([&] { (void)ExplanationReader(concepts).read(message, 7); });
  tried([&] { (void)read_score(message, 2); });
  tried([&] { (void)read_names(message, "names", 1); });
  tried([&] { (void)read_preprocess(message); });
}

void read_image(std::string_view bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  try {
    const ImageHeader header = read_image_header(data, bytes.size(), "image");
    // Time, not a fault: a few bytes may say a million pixels that are all the same.
    if (header.width * header.height > 512 * 512) return;
  } catch (const Error&) {
    return;
  }
  try {
    (void)decode_label_map(data, bytes.size(), "image");
  } catch (const Error&) {
  }
  (void)decode_image(data, bytes.size(), "image");
}

void read_basis_files(std::string_view bytes) {
  const auto [first, second] = two_files(bytes);
  units::BasisOptions options;
  if (second.empty()) {
    options.file = file("latents.pt", first);
  } else {  // a folder with both files, as SAELens and dictionary_learning write them
    const fs::path place = folder() / "sae";
    fs::remove_all(place);
    fs::create_directories(place);
    const bool lens = first.find("hook") != std::string_view::npos;
    file(lens ? "sae/cfg.json" : "sae/config.json", first);
    file(lens ? "sae/sae_weights.safetensors" : "sae/ae.pt", second);
    options.file = place;
  }
  (void)units::read_basis(options);
}

/// An archive; checksums of its headers are made right, as above.
void read_tar(std::string_view bytes) {
  std::string content(bytes);
  constexpr std::size_t kBlock = 512, kSum = 148, kMagic = 257;
  for (std::size_t at = 0; at + kBlock <= content.size(); at += kBlock) {
    if (content.compare(at + kMagic, 5, "ustar") != 0) continue;
    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at + kSum), 8, ' ');
    unsigned sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(content[at + i]);
    char digits[9];
    std::snprintf(digits, sizeof digits, "%06o", sum);
    content.replace(at + kSum, 7, digits, 7);
  }
  const fs::path path = file("shard.tar", content);
  DataOptions options;
  options.root = path;
  options.log = &g_log;
  try {
    (void)open_shards(options)->fingerprint();
  } catch (const Error&) {
  }
  TarReader tar(path);
  for (TarEntry entry; tar.next(entry);)
    if (entry.size <= 4096) (void)tar.read(entry, 4096);
}

void read_ids(std::string_view bytes) {
  const auto [truth, classes] = two_files(bytes);
  const std::vector<std::string> images{"a.jpg", "b.jpg", "c.jpg"};
  const fs::path names = classes.empty() ? fs::path() : file("classes.txt", classes);
  try {
    (void)read_ground_truth(file("truth.txt", truth), names, images);
  } catch (const Error&) {
  }
  (void)called({"n01440764", "cat"}, names);
}

const std::map<std::string, std::function<void(std::string_view)>>& readers() {
  static const std::map<std::string, std::function<void(std::string_view)>> all{
      {"pickle", [](auto bytes) { (void)PickleTree(bytes, "file").root(); }},
      {"checkpoint", [](auto bytes) { read_weights("weights.pth", bytes); }},
      {"safetensors", [](auto bytes) { read_weights("weights.safetensors", bytes); }},
      {"npy", [](auto bytes) { touch(read_array(file("array.npy", bytes).string())); }},
      {"npz", [](auto bytes) { touch(read_array(file("array.npz", bytes).string())); }},
      {"cifar",
       [](auto bytes) { (void)read_cifar_file(file("data_batch_1", bytes), CifarLabels::ten); }},
      {"basis", read_basis_files},
      {"image", read_image},
      {"csv", [](auto bytes) { (void)read_explanation_table(file("table.csv", bytes)); }},
      {"ini", [](auto bytes) { (void)parse_ini(bytes, "file.ini"); }},
      {"list", [](auto bytes) { (void)read_concept_list(file("names.txt", bytes), g_log); }},
      {"config",
       [](auto bytes) {
         const auto config = ConfigFile::open(file("config.json", bytes)).section("vision_config");
         (void)config.count("hidden_size", 1);
         (void)config.counts("depths");
         (void)config.triple("mean");
         (void)config.text("model_type");
       }},
      {"ids", read_ids},
      {"tar", read_tar},
      {"gzip", [](auto bytes) { (void)read_maybe_gzip(file("text.gz", bytes), 1 << 24); }},
      {"vocabulary", [](auto bytes) { read_vocabulary(file("bpe.txt", bytes)); }},
      {"merges",
       [](auto bytes) {
         const auto [ids, merges] = two_files(bytes);
         file("merges.txt", merges);
         read_vocabulary(file("vocab.json", ids));
       }},
      {"text", read_text},
      {"note", [](auto bytes) { (void)read_plugin_note(file("linex_solver_x.so", bytes)); }},
      {"shard", read_shard},
      {"journal", read_journal},
      {"answer", read_answer},
  };
  return all;
}

const std::function<void(std::string_view)>& chosen() {
  static const auto& reader = []() -> const std::function<void(std::string_view)>& {
    const char* name = std::getenv("LINEX_FUZZ_READER");
    const auto found = readers().find(name ? name : "");
    if (found != readers().end()) return found->second;
    std::string names;
    for (const auto& entry : readers()) names += " " + entry.first;
    std::fprintf(stderr, "LINEX_FUZZ_READER is one of%s\n", names.c_str());
    std::exit(2);
  }();
  return reader;
}

}  // namespace
}  // namespace linex

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
  if (*count == 2 && std::strcmp((*words)[1], "--list") == 0) {
    for (const auto& entry : linex::readers()) std::printf("%s\n", entry.first.c_str());
    std::exit(0);
  }
  (void)linex::chosen();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    linex::chosen()({reinterpret_cast<const char*>(data), size});
  } catch (const linex::Error&) {
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "not a linex::Error: %s\n", failure.what());
    std::abort();
  }
  return 0;
}
