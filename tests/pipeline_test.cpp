// Explanation files, the resume journal, unit ranges and simulation.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "core/run/journal.hpp"
#include "core/run/units.hpp"
#include "folder_test.hpp"
#include "linex/error.hpp"
#include "shared_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

using Pipeline = FolderTest;

Explanation linear(std::int64_t unit, std::vector<Term> terms, double bias = 0) {
  Explanation explanation;
  explanation.unit = unit;
  explanation.terms = std::move(terms);
  explanation.bias = bias;
  return explanation;
}

TEST_F(Pipeline, ExplanationsRoundTrip) {
  ExplanationFile file;
  file.explanations = {linear(3, {{"a, \"b\"", 1.0 / 3}, {"0", 0.25}}, -0.1), linear(7, {}),
                       linear(9, std::vector<Term>(12, {"many", 2.0}))};
  file.explanations[0].val_correlation = 0.123456789012345;
  file.explanations[1].status = Status::dead;
  file.layers = {"layer4", "layer4", "layer3"};
  file.scores = {
      {"sim correlation", true, {0.5, kNone, 1.0 / 7}, std::vector<Status>(3, Status::ok), {}, {}}};
  write_explanations(folder_ / "e.csv", file);
  const auto back = read_explanations(folder_ / "e.csv");
  ASSERT_EQ(back.explanations.size(), 3U);
  EXPECT_EQ(back.layers, file.layers);
  EXPECT_EQ(back.explanations[0].terms[0].concept_name, "a, \"b\"");
  EXPECT_EQ(back.explanations[0].terms[0].weight, 1.0 / 3);
  EXPECT_EQ(back.explanations[0].terms[1].concept_name, "0");  // a concept really called 0
  EXPECT_EQ(back.explanations[0].bias, -0.1);
  EXPECT_EQ(back.explanations[0].val_correlation, 0.123456789012345);
  EXPECT_EQ(back.explanations[1].status, Status::dead);
  EXPECT_EQ(back.explanations[2].terms.size(), 12U);
  EXPECT_EQ(back.scores[0].value[2], 1.0 / 7);
  EXPECT_TRUE(std::isnan(back.scores[0].value[1]));
  write_explanations(folder_ / "f.csv", back);
  EXPECT_EQ(read_file(folder_ / "e.csv"), read_file(folder_ / "f.csv"));
}

TEST_F(Pipeline, PublishedLayoutsAreRead) {
  const auto slots = read_explanations(
      write("s.csv",
            "unit,val correlation,weight0,concept0,weight1,concept1,bias,sim correlation\n"
            "5,0.3,2.5,0,0.0,0,0.1,-\n6,0.2,1,nan,0,0,0,0.25\n"));
  EXPECT_EQ(slots.explanations[0].terms.size(), 1U);
  EXPECT_EQ(slots.explanations[0].terms[0].concept_name, "0");
  EXPECT_EQ(slots.explanations[1].terms[0].concept_name, "nan");
  EXPECT_EQ(slots.layers[0], "");
  EXPECT_TRUE(std::isnan(slots.scores[0].value[0]));
  EXPECT_EQ(slots.scores[0].value[1], 0.25);
  const auto simple = read_explanations(write("d.csv", "unit,description\n0,kitchen\n1,\n"));
  EXPECT_EQ(simple.explanations[0].terms[0].weight, 1.0);
  EXPECT_EQ(simple.explanations[1].status, Status::empty);
}

TEST_F(Pipeline, BadExplanationFilesNameRecordAndColumn) {
  const auto message = [&](const std::string& content) {
    try {
      read_explanations(write("b.csv", content));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(message("neuron,description\n0,x\n").find("no column 'unit'"), std::string::npos);
  EXPECT_NE(message("unit,weight0,concept0,bias\nx,1,a,0\n").find("column 'unit': 'x'"),
            std::string::npos);
  EXPECT_NE(message("unit,weight0,concept0,bias\n0,1,a,0\n1,heavy,a,0\n")
                .find("record 3, column 'weight0'"),
            std::string::npos);
  EXPECT_NE(message("unit,other\n0,1\n").find("neither"), std::string::npos);
}

TEST_F(Pipeline, UnitRanges) {
  EXPECT_EQ(parse_units("", 3), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(parse_units("4,0:2, 3:,1", 5), (std::vector<std::int64_t>{0, 1, 3, 4}));
  for (const char* bad : {"5", "0:6", "-1", "2:2", "a", "1,,2", "99999999999999999999"})
    EXPECT_THROW(parse_units(bad, 5), Error) << bad;
}

TEST_F(Pipeline, JournalKeepsWholeBlocksOfTheSameRunOnly) {
  const fs::path path = folder_ / "j";
  {
    Journal journal(path, "key", true);
    auto unit = linear(0, {{"caf\xc3\xa9", 0.1}}, 1.0 / 3);
    unit.duality_gap = 1e-9;
    journal.append({unit, linear(1, {})});
    journal.append({linear(2, {})});
  }
  const std::string whole = read_file(path);
  {  // killed in the middle of a write: the half line goes, the rest stays
    write("j", whole.substr(0, whole.size() - 5));
    Journal journal(path, "key", true);
    ASSERT_EQ(journal.finished().size(), 2U);
    EXPECT_EQ(journal.finished()[0].terms[0].concept_name, "caf\xc3\xa9");
    EXPECT_EQ(journal.finished()[0].bias, 1.0 / 3);
    EXPECT_EQ(journal.finished()[0].duality_gap, 1e-9);
    EXPECT_TRUE(std::isnan(journal.finished()[0].val_correlation));
    journal.append({linear(2, {})});
  }
  EXPECT_EQ(read_file(path), whole);
  EXPECT_TRUE(Journal(path, "another key", true).finished().empty());
  write("j", whole);
  EXPECT_TRUE(Journal(path, "key", false).finished().empty());
  std::string flipped = whole;
  flipped[flipped.size() - 8] ^= 1;
  write("j", flipped);
  EXPECT_EQ(Journal(path, "key", true).finished().size(), 2U);
}

TEST_F(Pipeline, JournalOfForeignContentEndsWhereItBegins) {
  const fs::path path = folder_ / "j";
  const auto line = [](const std::string& body) {
    return Sha256().add(body).hex().substr(0, 16) + " " + body + "\n";
  };
  Journal(path, "key", true).append({linear(0, {{"red", 1}})});
  const std::string whole = read_file(path);
  const std::string grey = R"([{"unit":3,"terms":[["red",1.5]],"bias":0.1,"text":"",)"
                           R"("status":"grey","val":null,"objective":null,"gap":0.1,)"
                           R"("iterations":3}])";
  for (const std::string& foreign : {std::string("[3]"), std::string("3"), std::string("{}x"),
                                     std::string(R"([{"unit":"one"}])"), grey}) {
    write("j", whole + line(foreign));
    EXPECT_EQ(Journal(path, "key", true).finished().size(), 1U) << foreign;
    EXPECT_EQ(read_file(path), whole) << foreign;
  }
  write("j", whole + line(std::string(100000, '[')));
  EXPECT_EQ(Journal(path, "key", true).finished().size(), 1U);
  for (const char* foreign : {R"({"key":5})", R"({"kei":"key"})", "[]"}) {
    write("j", line(foreign));
    EXPECT_TRUE(Journal(path, "key", true).finished().empty()) << foreign;
  }
}

/// Presence of concept j on row i is i + j/10.
class Ramp final : public ConceptLabeler {
 public:
  class Rows final : public Presence {
   public:
    std::int64_t rows() const override { return 100; }
    std::int64_t cols() const override { return 3; }

   private:
    void do_read(Ids rows, const Columns& cols, float* out) const override {
      for (const std::int64_t row : rows)
        for (std::int64_t j = 0; j < cols.count(3); ++j)
          *out++ = static_cast<float>(row) + static_cast<float>(cols[j]) / 10;
    }
  };
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return {"a", "b", "c"}; }
  std::shared_ptr<const Presence> presence() override { return std::make_shared<Rows>(); }
};

TEST_F(Pipeline, SimulationIsTheWeightedSumAndNamesWhatItCannotSay) {
  Ramp ramp;
  std::vector<Explanation> explanations{linear(0, {{"c", 2.0}, {"a", -1.0}}, 0.5),
                                        linear(1, {{"zebra", 1.0}}), linear(2, {}),
                                        linear(3, {{"b", 1.0}})};
  explanations[3].status = Status::dead;
  Explanation sentence;
  sentence.unit = 4;
  sentence.text = "b";
  explanations.push_back(sentence);
  const Simulation simulation(explanations, ramp);
  EXPECT_EQ(simulation.status(), (std::vector<Status>{Status::ok, Status::unknown_concept,
                                                      Status::empty, Status::dead, Status::ok}));
  EXPECT_EQ(simulation.unknown()[1], "zebra");
  Rows rows(60);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i) + 40;
  for (const std::int64_t memory :
       {std::int64_t{1}, std::int64_t{1} << 20}) {  // one row a tile, all at once
    const auto predicted = simulation.predict(rows, 2, memory);
    for (int i = 0; i < 60; ++i) {
      EXPECT_NEAR(predicted[i][0].item<float>(), 2 * (i + 40.2F) - (i + 40) + 0.5, 1e-4);
      EXPECT_NEAR(predicted[i][4].item<float>(), i + 40.1F, 1e-4);
    }
    EXPECT_TRUE(std::isnan(predicted[0][1].item<float>()) &&
                std::isnan(predicted[0][3].item<float>()));
  }
}

TEST_F(Pipeline, EveryPublishedFileIsRead) {
  const fs::path published = shared_file("data/published/le_siglip_resnet50_imagenet_layer4.csv");
  if (published.empty()) GTEST_SKIP() << "no published files";
  const auto file = read_explanations(published);
  ASSERT_EQ(file.explanations.size(), 2048U);
  double sum = 0;
  for (const double value : file.scores[0].value) sum += value;
  EXPECT_NEAR(sum / 2048, 0.377238, 1e-6);  // docs/methods.md §6.1
}

}  // namespace
}  // namespace linex
