// The reverse question, and a finished run in the formats of others.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/run/export.hpp"
#include "core/run/find.hpp"
#include "tests/small_run.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;

ExplanationFile file_of(std::vector<std::vector<Term>> terms) {
  ExplanationFile file;
  ScoreColumn score{"sim correlation", true, {}, {}, {}, {}};
  for (std::size_t i = 0; i < terms.size(); ++i) {
    Explanation explanation;
    explanation.unit = static_cast<std::int64_t>(i);
    explanation.terms = std::move(terms[i]);
    explanation.val_correlation = 0.9;
    file.explanations.push_back(explanation);
    file.layers.emplace_back("layer");
    score.value.push_back(0.8);
    score.status.push_back(Status::ok);
  }
  file.scores.push_back(std::move(score));
  return file;
}

TEST(Find, WordsMeanTheSameWhateverTheirForm) {
  const auto likeness = like_words("Red_stripes");
  const auto found = likeness({"red stripe", "stripes", "red", "blue dot", "striped red shirt"});
  EXPECT_EQ(found[0], 1);
  EXPECT_EQ(found[1], 0.5);
  EXPECT_EQ(found[2], 0.5);
  EXPECT_EQ(found[3], 0);
  EXPECT_NEAR(found[4], 0.25, 1e-12);
  EXPECT_EQ(like_words("bus")({"bus", "glass"}), (std::vector<double>{1, 0}));
  EXPECT_EQ(like_words("...")({"red"}), (std::vector<double>{0}));
}

TEST(Find, ScoresAreLikenessTimesShareTimesCorrelation) {
  auto file = file_of({{{"red", 3}, {"round", 1}}, {{"red", 1}}, {{"blue", 1}, {"red", -5}}});
  file.scores[0].value = {0.5, 0.9, 0.7};
  const auto found = find_units(file, like_words("red"), 10);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0], (FoundUnit{"layer", 1, 0.9, "red"}));
  EXPECT_EQ(found[1], (FoundUnit{"layer", 0, 0.375, "red"}));
  EXPECT_EQ(find_units(file, like_words("red"), 1).size(), 1U);
  Explanation sentence;
  sentence.unit = 7;
  sentence.text = "red cars at night";
  file.explanations.push_back(sentence);
  file.layers.emplace_back("layer");
  EXPECT_EQ(find_units(file, like_words("cars"), 10).front().unit, 7);
}

TEST(Find, PlantedTextsComeFirst) {
  Random random(3);
  const std::int64_t units = 400, concepts = 120;
  std::vector<std::vector<Term>> terms;
  for (std::int64_t u = 0; u < units; ++u) {
    std::vector<Term> own{{"concept " + std::to_string(u % concepts), 2}};
    for (int t = 0; t < 2; ++t)
      own.push_back(
          {"concept " + std::to_string(static_cast<std::int64_t>(random.below(concepts))), 0.5});
    terms.push_back(own);
  }
  const auto file = file_of(terms);
  double reciprocal = 0;
  for (std::int64_t c = 0; c < concepts; ++c) {
    const auto found = find_units(file, like_words("concept_" + std::to_string(c)), 50);
    for (std::size_t rank = 0; rank < found.size(); ++rank)
      if (found[rank].unit % concepts == c) {
        reciprocal += 1.0 / static_cast<double>(rank + 1);
        break;
      }
  }
  EXPECT_GE(reciprocal / static_cast<double>(concepts), 0.95);
}

/// A text encoder for which "synonym N" is nearly concept N: an own direction each, a common one,
/// and noise.
class Synonyms final : public ImageTextEmbeddings {
 public:
  torch::Tensor text_embeddings(const std::vector<std::string>& texts) const override {
    constexpr std::int64_t kWidth = 64;
    std::vector<torch::Tensor> rows;
    for (const auto& text : texts) {
      const bool synonym = text.rfind("synonym", 0) == 0;
      const auto id = static_cast<std::uint64_t>(std::stoll(text.substr(text.rfind(' ') + 1)));
      Random own = Random::stream(17, id), noise = Random::stream(18, 2 * id + synonym);
      auto row = torch::empty({kWidth});
      for (std::int64_t i = 0; i < kWidth; ++i) row[i] = 1 + own.normal() + 0.5 * noise.normal();
      rows.push_back(row / row.norm());
    }
    return torch::stack(rows);
  }
  torch::Tensor image_embeddings() const override { return {}; }
};

TEST(Find, PlantedSynonymsComeFirst) {
  Random random(5);
  const std::int64_t units = 400, concepts = 120;
  std::vector<std::vector<Term>> terms;
  for (std::int64_t u = 0; u < units; ++u)
    terms.push_back(
        {{"concept " + std::to_string(u % concepts), 2},
         {"concept " + std::to_string(static_cast<std::int64_t>(random.below(concepts))), 0.5}});
  const auto file = file_of(terms);
  const Synonyms encoder;
  double reciprocal = 0;
  for (std::int64_t c = 0; c < concepts; ++c) {
    const auto found = find_units(file, like_meaning("synonym " + std::to_string(c), encoder), 50);
    for (std::size_t rank = 0; rank < found.size(); ++rank)
      if (found[rank].unit % concepts == c) {
        reciprocal += 1.0 / static_cast<double>(rank + 1);
        break;
      }
  }
  EXPECT_GE(reciprocal / static_cast<double>(concepts), 0.95);
}

/// Texts lie at angles; "far" ones share the common direction alone.
class Angles final : public ImageTextEmbeddings {
 public:
  torch::Tensor text_embeddings(const std::vector<std::string>& texts) const override {
    std::vector<torch::Tensor> rows;
    for (const auto& text : texts) {
      auto row = torch::zeros({4});
      row[0] = 1;
      if (text == "stripes" || text == "zebra") row[1] = 1;
      if (text == "zebra") row[2] = 0.3;
      rows.push_back(row / row.norm());
    }
    return torch::stack(rows);
  }
  torch::Tensor image_embeddings() const override { return {}; }
};

TEST(Find, OtherTextsAreFoundByTheirMeaning) {
  const auto file = file_of({{{"sky", 1}}, {{"stripes", 1}}, {{"grass", 1}}});
  EXPECT_TRUE(find_units(file, like_words("zebra"), 5).empty());
  const auto found = find_units(file, like_meaning("zebra", Angles()), 5);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].unit, 1);
  EXPECT_EQ(found[0].term, "stripes");
  EXPECT_GT(found[0].score, 0.5);
  EXPECT_EQ(found.size(), 1U);
}

TEST(Export, EachFormatIsWellFormed) {
  auto file = file_of({{{"red & \"50%\"", 3}, {"r\xc3\xb6und_1", 1}}, {}});
  file.explanations[1].status = Status::dead;
  file.explanations[1].val_correlation = kNone;
  file.scores[0].value[1] = kNone;
  const auto lines = split_lines(to_jsonl(file));
  ASSERT_EQ(lines.size(), 2U);
  const auto first = Json::parse(lines[0]), second = Json::parse(lines[1]);
  EXPECT_EQ(first["terms"][0]["concept"], "red & \"50%\"");
  EXPECT_EQ(first["terms"][1]["weight"], 1.0);
  EXPECT_EQ(first["scores"]["sim correlation"], 0.8);
  EXPECT_EQ(second["status"], "dead");
  EXPECT_TRUE(second["val_correlation"].is_null());
  EXPECT_TRUE(second["scores"]["sim correlation"].is_null());

  const auto rows = split_lines(to_neuronpedia(file, "resnet", "linear over siglip"));
  ASSERT_EQ(rows.size(), 1U);
  const auto row = Json::parse(rows[0]);
  EXPECT_EQ(row["index"], "0");
  EXPECT_EQ(row["modelId"], "resnet");
  EXPECT_EQ(row["description"], "red & \"50%\" (75 %), r\xc3\xb6und_1 (25 %)");

  const std::string latex = to_latex(file);
  EXPECT_NE(latex.find("red \\& \"50\\%\""), std::string::npos) << latex;
  EXPECT_NE(latex.find("r\xc3\xb6und\\_1"), std::string::npos);
  EXPECT_NE(latex.find("dead"), std::string::npos);
  const auto count = [&](const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = latex.find(part); at != std::string::npos; at = latex.find(part, at + 1))
      ++n;
    return n;
  };
  EXPECT_EQ(count("\\begin{"), count("\\end{"));
}

class FinishedRuns : public SmallRun {
 protected:
  void SetUp() override {
    SmallRun::SetUp();
    const Ended ended = run("explain " + recorded_ + "--run.out=out --export=jsonl");
    ASSERT_EQ(ended.code, 0) << ended.error;
  }
};

TEST_F(FinishedRuns, AreAskedWhichUnitsSayAText) {
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/export/explanations.jsonl"));
  const Ended json = run("find out Green --top=2 --json");
  ASSERT_EQ(json.code, 0) << json.error;
  const auto list = Json::parse(json.out);
  ASSERT_FALSE(list.empty());
  EXPECT_LE(list.size(), 2U);
  EXPECT_EQ(list[0]["unit"], 1);
  EXPECT_EQ(list[0]["term"], "green");
  EXPECT_EQ(list[0]["layer"], "recorded");
  EXPECT_GT(list[0]["score"], 0.3);
  EXPECT_NE(run("find out green").out.find("green"), std::string::npos);
  EXPECT_EQ(run("find out elephant --json").out, "[]\n");
  EXPECT_NE(run("find out gren").out.find("did you mean"), std::string::npos);
  expect_error("find out", 2, "a text");
  expect_error("find out ' '", 2, "empty");
  expect_error("find out red --top=0", 2, "--top=0");
  expect_error("find nothing red", 3, "no finished run");
}

TEST_F(FinishedRuns, AreExported) {
  const Ended ended = run("export out neuronpedia,latex,svg");
  ASSERT_EQ(ended.code, 0) << ended.error;
  for (const char* name : {"neuronpedia.jsonl", "explanations.tex", "svg/scores.svg"})
    EXPECT_TRUE(std::filesystem::exists(folder_ / "out/export" / name)) << name;
  expect_error("export out jsonnl", 2, "did you mean 'jsonl'");
  expect_error("export out exemplars", 3, "recorded activations");
  expect_error("export out", 2, "a format");
  expect_error("explain " + recorded_ + "--run.out=two --export=png", 2, "no format 'png'");
}

TEST_F(FinishedRuns, FiguresBecomePdfByAConverter) {
  // One that copies: what becomes of its file, its failure and its absence is ours.
  const auto converter = [&](const std::string& body) {
    std::filesystem::create_directories(folder_ / "bin");
    write("bin/rsvg-convert", "#!/bin/sh\n" + body + "\n");
    std::filesystem::permissions(folder_ / "bin/rsvg-convert", std::filesystem::perms::owner_all);
  };
  const std::string path = "PATH='" + (folder_ / "bin").string() + ":/bin:/usr/bin'";
  converter("[ \"$1\" = --version ] || cat \"$5\" >\"$4\"");
  const Ended ended = run("export out pdf", path);
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_EQ(read_file(folder_ / "out/export/pdf/scores.pdf"),
            read_file(folder_ / "out/export/svg/scores.svg"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/export/pdf/scores.pdf.tmp"));

  converter("[ \"$1\" = --version ] && exit; echo half >\"$4\"; echo no such font >&2; exit 1");
  const Ended broken = run("export out pdf", path);
  EXPECT_EQ(broken.code, 3);
  EXPECT_EQ(broken.error, "linex: export pdf: out/export/svg/scores.svg: no such font\n");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/export/pdf/scores.pdf.tmp"));
  EXPECT_NE(read_file(folder_ / "out/export/pdf/scores.pdf"), "half\n");

  const Ended absent = run("export out pdf", "PATH='" + (folder_ / "none").string() + "'");
  EXPECT_EQ(absent.code, 3);
  EXPECT_NE(absent.error.find("apt install librsvg2-bin"), std::string::npos) << absent.error;
}

}  // namespace
}  // namespace linex
