// Everything that reads bytes from outside, one function each, under libFuzzer. The environment
// variable LINEX_FUZZ_READER names the one to run; tests/fuzz/drive.py runs all of them. What may
// come out of a reader is a value or linex::Error; anything else, memory beyond the limit or a run
// of ten seconds is a finding. Where linex writes a format, too, what was read is written, and must
// be read back the same.
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
#include "linex/context.hpp"
#include "linex/error.hpp"
#include "plugins/labelers/segmentation/segmentation.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/mojibake.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/arrays.hpp"
#include "toolkit/checkpoint/config_file.hpp"
#include "toolkit/checkpoint/pickle.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/checkpoint/weight_reader.hpp"
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

/// Of a run without options, files of its own, or other processes.
class Alone final : public PluginContext {
 public:
  explicit Alone(const fs::path& cache) { run_.cache = cache; }
  const OptionValues& options() const override { return options_; }
  const RunSettings& run() const override { return run_; }
  Logger& log() const override { return g_log; }
  std::unique_ptr<Progress> progress(const std::string&, std::int64_t,
                                     const std::string&) const override {
    struct Nothing final : Progress {
      void advance(std::int64_t) override {}
    };
    return std::make_unique<Nothing>();
  }
  bool cancelled() const noexcept override { return false; }

 private:
  OptionValues options_;
  RunSettings run_;
};

void must_hold(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

/// Goes on after what a reader refuses.
void attempt(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

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
  if (!out) std::abort();
  if (!content.empty() && std::fwrite(content.data(), 1, content.size(), out) != content.size())
    std::abort();
  std::fclose(out);
  return path;
}

/// `bytes` up to the first line "---", and what follows it.
std::pair<std::string_view, std::string_view> two_files(std::string_view bytes) {
  const auto at = bytes.find("\n---\n");
  if (at == std::string_view::npos) return {bytes, {}};
  return {bytes.substr(0, at), bytes.substr(at + 5)};
}

/// Files of a folder, in the order of `names`, with such lines between them.
fs::path folder_of(const char* place, std::vector<std::string> names, std::string_view bytes) {
  fs::remove_all(folder() / place);
  fs::create_directories(folder() / place);
  for (const std::string& name : names) {
    const auto [content, rest] = two_files(bytes);
    file((std::string(place) + "/" + name).c_str(), content);
    bytes = rest;
  }
  return folder() / place;
}

void touch(const torch::Tensor& tensor) {
  if (tensor.defined() && tensor.numel() > 0) (void)tensor.to(torch::kFloat64).sum().item<double>();
}

/// As a network of one layer takes them.
void take_weights(const StateDict& weights) {
  for (const auto& [key, tensor] : weights.tensors) touch(tensor);
  (void)first_name(weights);
  const StateDict network = find_network(weights, {{"conv1.weight"}, {"a", "b"}});
  for (const bool share : {false, true}) {
    WeightReader reader(network, share);
    attempt([&] {
      touch(reader.parameter("conv1.weight", {2, 3}));
      reader.skip("a");
      reader.check("net", "give another");
      reader.finish("net", "give another");
    });
  }
}

void read_weights(const char* name, std::string_view bytes) {
  const fs::path path = file(name, bytes);
  attempt([&] { touch(load_tensor(path)); });
  attempt([&] { take_weights(load_weights(path, "model")); });
  take_weights(load_weights(path));
}

/// An index of shards, and one of them.
void read_index(std::string_view bytes) {
  take_weights(
      load_weights(folder_of("shards", {"model.safetensors.index.json", "a.safetensors"}, bytes)));
}

bool same(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.nbytes() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0);
}

void read_arrays(const char* name, std::string_view bytes) {
  const fs::path path = file(name, bytes);
  attempt([&] { touch(finite_float32(read_matrix(path.string()), path.string())); });
  (void)fingerprint_of_array(path.string());
  const torch::Tensor array = read_array(path.string()).contiguous();
  touch(array);
  if (array.numel() == 0) return;
  for (const bool scratch : {false, true}) {
    const fs::path copy = folder() / "copy.npy";
    scratch ? write_scratch_npy(copy, array) : write_npy(copy, array);
    must_hold(same(array, map_npy(copy)), "an array that is written is read back");
    must_hold(same(array, read_npy(copy, 1 << 20)), "and so without a map");
  }
  if (array.dim() == 0 || array.scalar_type() != torch::kFloat32) return;
  NpyWriter writer(folder() / "rows.npy", array.sizes().vec(), false);
  writer.append(array);
  writer.finish();
  const torch::Tensor rows = map_npy(folder() / "rows.npy");
  must_hold(same(rows, array), "rows that are appended are read back");
  must_hold(same(copy_rows(rows, {array.size(0) - 1}), array.slice(0, array.size(0) - 1)),
            "a row is the row of that number");
}

bool same(const Explanation& a, const Explanation& b) {
  const auto equal = [](const Term& x, const Term& y) {
    return x.concept_name == y.concept_name && x.weight == y.weight;
  };
  return a.unit == b.unit && a.bias == b.bias && a.text == b.text && a.status == b.status &&
         std::equal(a.terms.begin(), a.terms.end(), b.terms.begin(), b.terms.end(), equal);
}

void read_csv_file(std::string_view bytes) {
  ReadOptions options;
  const fs::path path = file("table.csv", bytes);
  attempt([&] { (void)read_explanations(path); });
  options.repair_text = false;
  const ExplanationTable given = read_explanation_table(path, options);
  write_in_layout(folder() / "again.csv", given, given.content.scores);
  const CsvTable again = read_csv(folder() / "again.csv");
  must_hold(again.header == given.table.header && again.rows == given.table.rows,
            "a file with the scores that it has is the same file");
  if (given.content.explanations.empty()) return;
  write_explanations(folder() / "ours.csv", given.content);
  const ExplanationFile ours = read_explanations(folder() / "ours.csv", options);
  must_hold(std::equal(ours.explanations.begin(), ours.explanations.end(),
                       given.content.explanations.begin(), given.content.explanations.end(),
                       [](const auto& a, const auto& b) { return same(a, b); }),
            "explanations that are written are read back");
}

void read_ini_file(std::string_view bytes) {
  const std::vector<IniEntry> entries = parse_ini(bytes, "file.ini");
  std::string written;
  for (const IniEntry& entry : entries)
    written += ini_section(entry.section) + ini_entry(entry.key, entry.value);
  const std::vector<IniEntry> again = read_ini(file("again.ini", written));
  must_hold(std::equal(entries.begin(), entries.end(), again.begin(), again.end(),
                       [](const IniEntry& a, const IniEntry& b) {
                         return a.section == b.section && a.key == b.key && a.value == b.value;
                       }),
            "entries that are written are read back");
}

void read_names_of_concepts(std::string_view bytes) {
  attempt([&] { (void)read_concept_list(file("names.csv", bytes), g_log); });
  (void)read_concept_list(file("names.txt", bytes), g_log);
}

void read_config(std::string_view bytes) {
  const fs::path path = file("config.json", bytes);
  (void)ConfigFile::beside(path, {"open_clip_config.json", "config.json"}).number("scale");
  const auto config = ConfigFile::open(path).section("vision_config");
  (void)config.count("hidden_size", 1);
  (void)config.counts("depths");
  (void)config.triple("mean");
  (void)config.number("layer_norm_eps");
  (void)config.flag("use_head");
  (void)config.text("model_type");
}

void read_note(std::string_view bytes) {
  const PluginNote note = read_plugin_note(file("linex_solver_x.so", bytes));
  must_hold(plugin_kind_from_string(to_string(note.kind)) == note.kind, "a kind has one word");
  (void)incompatibility(note);
  (void)toolkit_text(note.raw.toolkit_version);
}

/// Of paths to images that are there: a.png, b.png.
void read_paths(std::string_view bytes) {
  static const bool made = [] {
    for (const char* name : {"images/a.png", "images/b.png"}) {
      fs::create_directories(folder() / "images");
      fs::copy_file(LINEX_SOURCE_DIR "/tests/fixtures/pillow/one_pixel.png", folder() / name);
    }
    return true;
  }();
  (void)made;
  DataOptions options;
  options.root = file("images/list.csv", bytes);
  options.log = &g_log;
  (void)open_path_csv(options)->fingerprint();
}

void use_tokenizer(const Tokenizer& tokenizer, const std::string& text) {
  constexpr std::int64_t kContext = 8;
  const torch::Tensor ids = tokenizer.encode_batch({text, ""}, kContext);
  must_hold(
      ids.min().item<std::int64_t>() >= 0 && ids.max().item<std::int64_t>() < tokenizer.size(),
      "ids are those of the vocabulary");
  (void)tokenizer.is_cut(text, kContext);
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
  use_tokenizer(*tokenizer, text);
  (void)each_lower(text);
  (void)upper_case(to_code_points(text));
  const Vocabulary words = Vocabulary::of({text, "a horse"});
  (void)words.decode(words.encode(text, 12));
}

void read_vocabulary(const fs::path& path) {
  use_tokenizer(*open_clip_vocabulary(path), "a photo of a striped horse's leg, 12!");
}

void read_gemma(std::string_view bytes) {
  const fs::path path = file("tokenizer.json", bytes);
  for (const GemmaText rule : {GemmaText::canonical, GemmaText::lower})
    use_tokenizer(*open_gemma_json(path, rule), "a photo of a striped horse's <eos> \xc3\xa9 leg");
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
  torch::Tensor values = store.read(0);
  touch(values);
  const torch::Tensor stored = stored_rows(options, Alone(folder()), "rows", "row",
                                           [](std::int64_t first, std::int64_t end) {
                                             return torch::ones({end - first, 3});
                                           });
  if (!values.defined()) values = torch::ones({4, 3});
  must_hold(same(stored, values), "rows that are stored are those that were read, or computed");
}

/// Lines of a journal; their digests are made right, as above.
void read_journal(std::string_view bytes) {
  std::string content;
  for (const auto& line : split_lines(bytes))
    content += Sha256().add(line).hex().substr(0, 16) + " " + line + "\n";
  const fs::path path = file("journal", content);
  const std::vector<Explanation> before = Journal(path, "key", true).finished();
  Journal(path, "key", true).append(before);
  Journal journal(path, "key", true);
  must_hold(journal.finished().size() == 2 * before.size(), "a block that is appended is read");
  for (std::size_t i = 0; i < before.size(); ++i)
    must_hold(same(journal.finished()[i], before[i]) &&
                  same(journal.finished()[before.size() + i], before[i]),
              "an explanation that is appended is read back");
  journal.remove();
}

void read_answer(std::string_view bytes) {
  const std::string text(bytes);
  attempt([&] { (void)split_command(text); });
  attempt([&] { (void)parse_free_options(text); });
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
  tried([&] {
    const ExplanationReader reader(concepts);
    const Explanation explanation = reader.read(message, 7);
    must_hold(same(reader.read(to_json(explanation), 7), explanation),
              "an explanation that is sent is the one that came");
  });
  tried([&] { (void)read_score(message, 2); });
  tried([&] { (void)read_names(message, "names", 1); });
  tried([&] { (void)read_preprocess(message); });
}

/// Whether a header is one of a picture that is worth its time: a few bytes may say a million
/// pixels that are all the same.
bool is_small_image(std::string_view bytes) {
  try {
    const ImageHeader header = read_image_header(
        reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), "image");
    return header.width * header.height <= 512 * 512;
  } catch (const Error&) {
    return false;
  }
}

void read_image(std::string_view bytes) {
  if (!is_small_image(bytes)) return;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  attempt([&] { (void)decode_label_map(data, bytes.size(), "image"); });
  (void)decode_image(data, bytes.size(), "image");
}

/// Names of labels, and the map of an image.
void read_masks(std::string_view bytes) {
  if (!is_small_image(two_files(bytes).second)) return;
  const fs::path place = folder_of("masks", {"names.txt", "a.png"}, bytes);
  const auto masks = open_label_maps({place, place}, place / "names.txt", {"unlabelled"});
  (void)masks->label_maps("a.jpg");
  (void)masks->complaint();
}

/// Broden's tables, and a label map of it.
void read_broden(std::string_view bytes) {
  const fs::path place =
      folder_of("broden", {"category.csv", "label.csv", "c_object.csv", "index.csv"}, bytes);
  fs::create_directories(place / "images");
  fs::copy_file(LINEX_SOURCE_DIR "/tests/fixtures/pillow/one_pixel.png", place / "images/a.png");
  for (const std::vector<std::string>& categories :
       {std::vector<std::string>(), std::vector<std::string>{"object"}})
    attempt([&] { (void)open_broden(place, categories)->label_maps("images/a.jpg"); });
}

void read_basis_files(std::string_view bytes) {
  const auto [first, second] = two_files(bytes);
  units::BasisOptions options;
  if (second.empty()) {
    options.file = file("latents.pt", first);
  } else {  // a folder with both files, as SAELens and dictionary_learning write them
    const bool lens = first.find("hook") != std::string_view::npos;
    options.file = lens ? folder_of("sae", {"cfg.json", "sae_weights.safetensors"}, bytes)
                        : folder_of("sae", {"config.json", "ae.pt"}, bytes);
  }
  for (const char* activation : {"identity", "relu", "jumprelu", "topk"}) {
    attempt([&] {
      units::BasisOptions other = options;
      other.kind = units::Kind::directions;
      other.activation = activation;
      other.k = activation == std::string("topk") ? 2 : 0;
      (void)units::read_basis(other);
    });
    attempt([&] {
      units::BasisOptions other = options;
      other.kind = units::Kind::sae;
      other.activation = activation;
      other.components = 2;
      (void)units::read_basis(other);
    });
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
  attempt([&] { (void)open_shards(options)->fingerprint(); });
  TarReader tar(path);
  for (TarEntry entry; tar.next(entry);)
    if (entry.size <= 4096) (void)tar.read(entry, 4096);
}

void read_ids(std::string_view bytes) {
  const auto [truth, classes] = two_files(bytes);
  const std::vector<std::string> images{"a.jpg", "b.jpg", "c.jpg"};
  const fs::path names = classes.empty() ? fs::path() : file("classes.txt", classes);
  const fs::path path = file("truth.txt", truth);
  attempt([&] { (void)read_ground_truth(path, names, images); });
  (void)called({"n01440764", "cat"}, names);
}

const std::map<std::string, std::function<void(std::string_view)>>& readers() {
  static const std::map<std::string, std::function<void(std::string_view)>> all{
      {"pickle", [](auto bytes) { (void)PickleTree(bytes, "file").root(); }},
      {"checkpoint", [](auto bytes) { read_weights("weights.pth", bytes); }},
      {"safetensors", [](auto bytes) { read_weights("weights.safetensors", bytes); }},
      {"index", read_index},
      {"npy", [](auto bytes) { read_arrays("array.npy", bytes); }},
      {"npz", [](auto bytes) { read_arrays("array.npz", bytes); }},
      {"cifar",
       [](auto bytes) { (void)read_cifar_file(file("data_batch_1", bytes), CifarLabels::ten); }},
      {"basis", read_basis_files},
      {"image", read_image},
      {"masks", read_masks},
      {"broden", read_broden},
      {"csv", read_csv_file},
      {"ini", read_ini_file},
      {"list", read_names_of_concepts},
      {"paths", read_paths},
      {"config", read_config},
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
      {"gemma", read_gemma},
      {"text", read_text},
      {"note", read_note},
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
