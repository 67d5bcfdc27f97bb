// What compare_open_clip.py compares: token ids and embeddings as .npy files.
//   clip_embed tokens VOCABULARY CONTEXT TEXTS.json OUT.npy [canonical|lower]
//   clip_embed embed WEIGHTS VOCABULARY TEXTS.json IMAGES_FOLDER OUT_FOLDER [canonical|lower]
// The last word is what Gemma's vocabulary is given.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/net/vision_text.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace {

std::vector<std::string> read_texts(const std::string& path) {
  return nlohmann::json::parse(linex::read_file(path)).get<std::vector<std::string>>();
}

std::unique_ptr<linex::Tokenizer> open_vocabulary(const std::filesystem::path& path,
                                                  const std::string& rule) {
  const auto text = rule == "lower" ? linex::GemmaText::lower : linex::GemmaText::canonical;
  if (path.extension() == ".model") return linex::open_sentencepiece_model(path, text);
  return path.filename() == "tokenizer.json" ? linex::open_gemma_json(path, text)
                                             : linex::open_clip_vocabulary(path);
}

int run(std::vector<std::string> arguments) {
  std::string rule;
  if (!arguments.empty() && (arguments.back() == "lower" || arguments.back() == "canonical")) {
    rule = arguments.back();
    arguments.pop_back();
  }
  if (arguments.size() == 5 && arguments[0] == "tokens") {
    const auto ids = open_vocabulary(arguments[1], rule)
                         ->encode_batch(read_texts(arguments[3]), std::stoll(arguments[2]));
    linex::write_npy(arguments[4], ids);
    return 0;
  }
  if (arguments.size() == 6 && arguments[0] == "embed") {
    const auto model = linex::VisionText::load(arguments[1], {});
    std::cout << model.config().name() << '\n';
    const auto ids = open_vocabulary(arguments[2], rule)
                         ->encode_batch(read_texts(arguments[3]), model.config().context);
    const std::filesystem::path out = arguments[5];
    linex::write_npy(out / "texts.npy", model.embed_texts(ids));
    linex::DataOptions data;
    data.root = arguments[4];
    const auto images = linex::open_data_set(data);
    linex::Rows rows(static_cast<std::size_t>(images->size()));
    std::iota(rows.begin(), rows.end(), 0);
    const auto margin = model.crops_down() ? linex::Margin::down : linex::Margin::half_to_even;
    const auto pixels = linex::load_batch(*images, rows, model.preprocess(), 2, margin);
    linex::write_npy(out / "pixels.npy", pixels);
    linex::write_npy(out / "images.npy", model.embed_images(pixels));
    return 0;
  }
  std::cerr << "usage: see clip_embed.cpp\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << '\n';
    return 3;
  }
}
