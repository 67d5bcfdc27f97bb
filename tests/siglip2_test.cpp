// SigLIP 2: Gemma's vocabulary in both of its forms, and the labeler over it, against transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "linex/labeler.hpp"
#include "tests/folder_test.hpp"
#include "tests/sentencepiece_loaded.hpp"
#include "tests/test_models.hpp"
#include "tests/test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/concepts/vision_text_model.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/text/tokenizer.hpp"

namespace linex {
namespace {

using nlohmann::json;
using test::fixtures;
using test::input_error_of;
using torch::Tensor;
namespace fs = std::filesystem;

const json& expected() {
  static const json all = json::parse(read_file(fixtures("siglip2/expected.json")));
  return all;
}

Tensor matrix(const json& rows) {
  std::vector<Tensor> all;
  for (const auto& row : rows) all.push_back(torch::tensor(row.get<std::vector<float>>()));
  return at::stack(all);
}

Tensor unit_rows(const Tensor& rows) { return rows / rows.norm(2, 1, true); }

void expect_ids(const Tokenizer& tokens, const char* rule, bool control_tokens) {
  const auto texts = expected().at("texts").get<std::vector<std::string>>();
  const Tensor found = tokens.encode_batch(texts, 16);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    // SentencePiece takes "<bos>" in a text for text.
    if (!control_tokens && texts[i].find("<bos>") != std::string::npos) continue;
    const auto wanted = expected().at(rule)[i].get<std::vector<std::int64_t>>();
    EXPECT_TRUE(found[static_cast<std::int64_t>(i)].equal(torch::tensor(wanted)))
        << rule << " " << texts[i] << "\n"
        << found[static_cast<std::int64_t>(i)];
  }
}

TEST(GemmaTokens, AreThoseOfTransformers) {
  for (const char* rule : {"canonical", "lower"}) {
    const GemmaText text = rule == std::string("lower") ? GemmaText::lower : GemmaText::canonical;
    const auto from_json = open_gemma_json(fixtures("siglip2/tokenizer.json"), text);
    EXPECT_EQ(from_json->size(), 400);
    expect_ids(*from_json, rule, true);
    if (!test::kSentencePiece) continue;
    const auto from_model = open_sentencepiece_model(fixtures("siglip2/tokenizer.model"), text);
    EXPECT_EQ(from_model->size(), 400);
    expect_ids(*from_model, rule, text == GemmaText::canonical);
    EXPECT_NE(from_model->fingerprint(), "");
  }
  const auto lower = open_gemma_json(fixtures("siglip2/tokenizer.json"), GemmaText::lower);
  const auto canonical = open_gemma_json(fixtures("siglip2/tokenizer.json"), GemmaText::canonical);
  EXPECT_NE(lower->fingerprint(), canonical->fingerprint());
  // Merging takes time that grows with the length of a text, not with its square.
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "word ";
  EXPECT_GT(lower->encode(text).size(), 40000u);
}

TEST(GemmaTokens, WrongVocabularyIsOneLine) {
  const TemporaryFolder temporary;
  const fs::path& folder = temporary.path();
  const auto problem = [&](const std::string& content) {
    write_file_atomic(folder / "tokenizer.json", content);
    const std::string text =
        input_error_of([&] { open_gemma_json(folder / "tokenizer.json", GemmaText::lower); });
    EXPECT_NE(text.find("tokenizer.json"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text;
  };
  const std::string whole = read_file(fixtures("siglip2/tokenizer.json"));
  const auto with = [&](const std::function<void(json&)>& change) {
    json changed = json::parse(whole);
    change(changed);
    return problem(changed.dump());
  };
  EXPECT_NE(problem("").find("byte-pair"), std::string::npos);
  EXPECT_NE(problem("{").find("byte-pair"), std::string::npos);
  EXPECT_NE(problem(whole.substr(0, whole.size() / 2)).find("byte-pair"), std::string::npos);
  EXPECT_NE(problem(std::string(100000, '[')).find("nested"), std::string::npos);
  EXPECT_NE(problem(R"({"model": {"type": "Unigram"}})").find("spiece.model"), std::string::npos);
  EXPECT_NE(with([](json& all) { all["model"]["vocab"]["dog"] = -1; }).find("proper id"),
            std::string::npos);
  EXPECT_NE(with([](json& all) { all["model"]["vocab"]["dog"] = 1ULL << 40; }).find("proper id"),
            std::string::npos);
  EXPECT_NE(with([](json& all) {
              all["model"]["merges"][0] = {"a", "no such"};
            }).find("no token"),
            std::string::npos);
  EXPECT_NE(with([](json& all) { all["model"]["merges"][0] = "a"; }).find("two tokens"),
            std::string::npos);
  EXPECT_NE(with([](json& all) { all["model"]["merges"][0] = 7; }).find("two tokens"),
            std::string::npos);
  EXPECT_NE(with([](json& all) { all["added_tokens"][0] = "x"; }).find("added token"),
            std::string::npos);
  EXPECT_NE(with([](json& all) {
              all["model"]["vocab"].erase("<eos>");
              all["added_tokens"] = json::array();
            }).find("<eos>"),
            std::string::npos);
}

TEST(Siglip2, EmbeddingsEqualTransformers) {
  const VisionText model = VisionText::load(fixtures("siglip2"), {});
  DataOptions options;
  options.root = fixtures("clip/images");
  const auto pictures = open_data_set(options);
  const Tensor images = load_batch(*pictures, {0, 1, 2}, model.preprocess(), 1);
  EXPECT_LT(test::relative_difference(model.embed_images(images), matrix(expected().at("images"))),
            1e-5);
  const auto tokens = open_gemma_json(fixtures("siglip2/tokenizer.json"), GemmaText::lower);
  const auto texts = expected().at("texts").get<std::vector<std::string>>();
  EXPECT_LT(test::relative_difference(model.embed_texts(tokens->encode_batch(texts, 16)),
                                      matrix(expected().at("embeddings"))),
            1e-5);
}

TEST(VisionTextStates, OneOfSeveralIsChosen) {
  const StateDict plain = load_weights(fixtures("siglip2"));
  std::map<std::string, torch::Tensor> both;
  for (const auto& [name, tensor] : plain.tensors) {
    both["student." + name] = tensor;
    both["teacher." + name] = tensor.is_floating_point() ? tensor * 2 : tensor;
  }
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "model.safetensors";
  write_safetensors(file, both);
  fs::copy_file(fixtures("siglip2/config.json"), folder.path() / "config.json");
  const auto towers = [&](const std::string& state) {
    VisionTextOverrides overrides;
    overrides.state = state;
    return VisionText::load(file, overrides).fingerprint();
  };
  EXPECT_EQ(towers(""), VisionText::load(fixtures("siglip2"), {}).fingerprint());
  EXPECT_EQ(towers("student"), towers(""));
  EXPECT_NE(towers("teacher"), towers(""));
  const std::string problem = input_error_of([&] { towers("tutor"); });
  EXPECT_NE(problem.find(": state=tutor is no state"), std::string::npos) << problem;
  EXPECT_NE(problem.find("student, teacher"), std::string::npos) << problem;
}

TEST(Siglip2, TheLabelerFindsTheVocabularyInTheFolder) {
  const TemporaryFolder temporary;
  const fs::path& folder = temporary.path();
  fs::create_directories(folder / "model");
  // Without SentencePiece's file, the one of Hugging Face is read.
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    fs::copy_file(fixtures("siglip2") / name, folder / "model" / name);
  write_file_atomic(folder / "concepts.txt", "A photo of a zebra.\nHot  dog\n");
  test::Plugins plugins;
  const auto labeler = plugins.make<ConceptLabeler>(
      "siglip", test::given({{"weights", (folder / "model").string()},
                             {"concepts", (folder / "concepts.txt").string()},
                             {"a", std::string("10")},
                             {"b", std::string("-0.05")}}));
  DataOptions options;
  options.root = fixtures("clip/images");
  labeler->attach(open_data_set(options));
  const auto presence = labeler->presence();
  Tensor found = torch::empty({3, 2});
  const Rows rows{0, 1, 2};
  presence->read(rows, Columns::all(), found.data_ptr<float>());
  const auto texts = expected().at("texts").get<std::vector<std::string>>();
  const auto row = [&](const std::string& text) {
    return std::find(texts.begin(), texts.end(), text) - texts.begin();
  };
  const Tensor embedded = unit_rows(matrix(expected().at("embeddings")));
  const Tensor words = at::stack({embedded[row("A photo of a zebra.")], embedded[row("Hot  dog")]});
  const Tensor wanted =
      at::sigmoid(10 * (unit_rows(matrix(expected().at("images"))).matmul(words.t()) - 0.05));
  EXPECT_LT((found - wanted).abs().max().item<float>(), 1e-5);
}

}  // namespace
}  // namespace linex
