// Published explanation files: read, written again, and the figures they are known by.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>

#include "folder_test.hpp"
#include "linex/error.hpp"
#include "shared_file.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/mojibake.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/explanations/broden_label.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

class Published : public FolderTest {
 protected:
  const fs::path published_ = shared_file("data/published");
};

const ScoreColumn& score(const ExplanationFile& file, const std::string& name) {
  for (const auto& column : file.scores)
    if (column.name == name) return column;
  throw std::runtime_error("no column " + name);
}

TEST_F(Published, EveryFileIsWrittenAgainByteForByte) {
  if (published_.empty()) GTEST_SKIP() << "no published files";
  int files = 0;
  for (const auto& entry : fs::directory_iterator(published_)) {
    const auto file = read_explanation_table(entry.path());
    EXPECT_FALSE(file.content.scores.empty()) << entry.path();
    write_in_layout(folder_ / "again.csv", file, file.content.scores);
    EXPECT_EQ(read_file(folder_ / "again.csv"), read_file(entry.path())) << entry.path();
    // Our own layout keeps the meaning too.
    write_explanations(folder_ / "ours.csv", file.content);
    const auto ours = read_explanations(folder_ / "ours.csv");
    ASSERT_EQ(ours.explanations.size(), file.content.explanations.size());
    for (std::size_t i = 0; i < ours.explanations.size(); ++i) {
      const Explanation &a = ours.explanations[i], &b = file.content.explanations[i];
      EXPECT_EQ(a.unit, b.unit);
      EXPECT_EQ(a.bias, b.bias);
      ASSERT_EQ(a.terms.size(), b.terms.size());
      for (std::size_t t = 0; t < a.terms.size(); ++t) {
        EXPECT_EQ(a.terms[t].concept_name, b.terms[t].concept_name);
        EXPECT_EQ(a.terms[t].weight, b.terms[t].weight);
      }
    }
    ++files;
  }
  EXPECT_EQ(files, 6);
}

TEST_F(Published, MeansAreThoseOfTheReference) {
  if (published_.empty()) GTEST_SKIP() << "no published files";
  struct Row {
    const char *file, *column;
    double mean, sem, val, length;  // docs/methods.md §6.1
  };
  for (const Row& row : {
           Row{"clip_dissect_resnet18_places365_layer4", "sim correlation", .220770, .005205, 0, 1},
           Row{"milan_resnet18_places365_layer4", "sim correlation", .155650, .005433, 0, 1},
           Row{"le_label_vgg16_bn_cifar100_classifier[4]", "sim correlation", .433035, .004051,
               .607234, 7.5996},
           Row{"le_siglip_resnet18_places365_layer4", "sim correlation", .437158, .003259, .467093,
               4.2520},
           Row{"le_siglip_resnet50_imagenet_layer4", "sim correlation", .377238, .001720, .416163,
               4.6763},
           Row{"le_siglip_resnet50_imagenet_layer4", "sim ablation(optim)", .072671, .000844,
               .416163, 4.6763},
           Row{"le_siglip_resnet50_imagenet_layer4", "sim ablation(norm)", .060166, .000868,
               .416163, 4.6763},
       }) {
    const auto file = read_explanations(published_ / (std::string(row.file) + ".csv"));
    const auto mean = mean_sem(score(file, row.column).value);
    EXPECT_NEAR(mean.mean, row.mean, 1e-6) << row.file;
    EXPECT_NEAR(mean.sem, row.sem, 1e-6) << row.file;
    double length = 0, val = 0;
    for (const auto& explanation : file.explanations) {
      length += static_cast<double>(explanation.terms.size());
      val += explanation.val_correlation;
    }
    const double n = static_cast<double>(file.explanations.size());
    EXPECT_NEAR(length / n, row.length, 1e-4) << row.file;
    if (row.val > 0) {
      EXPECT_NEAR(val / n, row.val, 1e-6) << row.file;
    }
  }
}

TEST_F(Published, TallyHasTheIdentitiesOfNetworkDissection) {
  if (published_.empty()) GTEST_SKIP() << "no published files";
  const auto file =
      read_explanation_table(published_ / "net_dissect_tally_resnet18_places365_layer4.csv");
  ASSERT_EQ(file.layout, ExplanationLayout::tally);
  const auto number = [&](const std::vector<std::string>& row, const std::string& column) {
    return std::stod(row[static_cast<std::size_t>(file.table.column(column))]);
  };
  std::set<std::string> labels;
  std::set<std::int64_t> units;
  int detectors = 0;
  const auto& scores = score(file.content, "score").value;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto& row = file.table.rows[i];
    double best = 0;
    for (const char* category : {"color", "object", "part", "material", "scene", "texture"}) {
      const std::string prefix = std::string(category) + "-";
      const double intersect = number(row, prefix + "intersect");
      const double either =
          number(row, prefix + "activation") + number(row, prefix + "truth") - intersect;
      EXPECT_NEAR(number(row, prefix + "iou"), intersect / (either + 1e-10), 2e-8);
      best = std::max(best, number(row, prefix + "iou"));
    }
    EXPECT_EQ(best, scores[i]);
    units.insert(file.content.explanations[i].unit);
    if (scores[i] < .04) continue;
    ++detectors;
    labels.insert(row[static_cast<std::size_t>(file.table.column("label"))]);
  }
  EXPECT_EQ(detectors, 434);
  EXPECT_EQ(labels.size(), 187U);
  EXPECT_NEAR(mean_sem(scores).mean, .0742, 5e-5);
  EXPECT_EQ(units.size(), 512U);
  EXPECT_EQ(*units.begin(), 0);  // 1-based in the file
  EXPECT_EQ(file.content.explanations[0].terms[0].concept_name, "reception");
}

TEST_F(Published, DefectsOfPublishedFiles) {
  const auto file =
      read_explanation_table(write("d.csv",
                                   "unit,weight0,concept0,weight1,concept1,bias,sim correlation\n"
                                   "0,2.5,jalape\xc3\x83\xc2\xb1o,0.0,0,0.1,0.5\n"  // mojibake
                                   "1,2.5,jalape\xf1o,0,0,0.1,-\n"  // Windows-1252 bytes
                                   "2,1.5,null,0.5,0,0,nan\n"));    // words pandas loses
  const auto& e = file.content.explanations;
  EXPECT_EQ(e[0].terms[0].concept_name, "jalape\xc3\xb1o");
  EXPECT_EQ(e[0].terms.size(), 1U);
  EXPECT_EQ(e[1].terms[0].concept_name, "jalape\xc3\xb1o");
  EXPECT_EQ(e[2].terms[0].concept_name, "null");
  ASSERT_EQ(e[2].terms.size(), 2U);  // a concept really called "0" has a weight
  EXPECT_EQ(e[2].terms[1].concept_name, "0");
  EXPECT_TRUE(std::isnan(file.content.scores[0].value[1]));
  const auto kept = read_explanations(folder_ / "d.csv", {false});
  EXPECT_EQ(kept.explanations[0].terms[0].concept_name, "jalape\xc3\x83\xc2\xb1o");
}

TEST_F(Published, ScoresAreReplacedAndAddedInTheirLayout) {
  const auto file = read_explanation_table(
      write("s.csv", "layer,unit,description,similarity\nfc,1,\"a, b\",0.50\nfc,0,c,-\n"));
  EXPECT_EQ(file.layout, ExplanationLayout::description);
  EXPECT_EQ(file.content.layers[0], "fc");
  ScoreColumn changed = file.content.scores[0], added;
  changed.value[1] = 0.25;
  added.name = "sim correlation";
  added.value = {kNone, 1.0 / 3};
  write_in_layout(folder_ / "t.csv", file, {changed, added});
  EXPECT_EQ(read_file(folder_ / "t.csv"),
            "layer,unit,description,similarity,sim correlation\nfc,1,\"a, b\",0.50,\n"
            "fc,0,c,0.25,0.3333333333333333\n");
}

TEST_F(Published, TallyUnitsStartAtOne) {
  EXPECT_THROW(read_explanations(write("z.csv", "unit,category,label,score\n0,object,x,0.1\n")),
               Error);
}

TEST(BrodenLabel, SuffixesAreSuffixesOnly) {
  EXPECT_EQ(plain_label("black-c"), "black color");
  EXPECT_EQ(plain_label("apse-indoor-s"), "apse, indoor");
  EXPECT_EQ(plain_label("aqueduct-s", {"aqueduct"}), "aqueduct(scene)");
  EXPECT_EQ(plain_label("field-cultivated-s"), "field, cultivated");
  EXPECT_EQ(plain_label("plastic-clear"), "plastic, clear");
  EXPECT_EQ(plain_label("door_frame"), "door frame");
}

TEST(Mojibake, IsUndoneOnlyWhereItHappened) {
  EXPECT_EQ(repair_mojibake("jalape\xc3\x83\xc2\xb1o"), "jalape\xc3\xb1o");
  EXPECT_EQ(repair_mojibake("jalape\xc3\xb1o"), "jalape\xc3\xb1o");
  EXPECT_EQ(repair_mojibake("\xc3\x83\xc6\x92\xc3\x82\xc2\xb1"), "\xc3\xb1");  // twice
  EXPECT_EQ(repair_mojibake("caf\xc3\xa9 \xe2\x82\xac"), "caf\xc3\xa9 \xe2\x82\xac");
  EXPECT_EQ(repair_mojibake("\xe5\xb1\xb1"), "\xe5\xb1\xb1");  // no Windows-1252 character
  EXPECT_EQ(decode_text("na\xefve \x96 \xc3"), "na\xc3\xafve \xe2\x80\x93 \xc3\x83");
}

}  // namespace
}  // namespace linex
