// The linex binary as outside scripts call it: exit codes, one-line errors, files of a run.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>

#include "folder_test.hpp"
#include "linex/error.hpp"
#include "run_linex.hpp"
#include "shared_file.hpp"
#include "toolkit/base/csv.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Outcome {
  int code;
  std::string out, error;
};

/// A folder of its own for each test, with small recorded matrices of known truth in it.
class Cli : public FolderTest {
 protected:
  static constexpr std::int64_t kRows = 600, kConcepts = 12, kUnits = 6;

  void SetUp() override {
    torch::manual_seed(3);
    presence_ = (torch::rand({kRows, kConcepts}) < 0.3).to(torch::kFloat32);
    activations_ = 0.05 * torch::randn({kRows, kUnits});
    activations_.select(1, 0) += 2 * presence_.select(1, 3) + presence_.select(1, 7);
    activations_.select(1, 1) += 1.5 * presence_.select(1, 0);
    activations_.select(1, 2) += presence_.select(1, 5) + 0.8 * presence_.select(1, 6) + 3;
    activations_.select(1, 3).zero_();      // dead
    activations_.select(1, 4).fill_(0.25);  // constant
    activations_.select(1, 5) += 4 * presence_.select(1, 11);
    write_npy(folder_ / "A.npy", activations_);
    write_npy(folder_ / "P.npy", presence_);
    std::string names;
    for (int j = 0; j < kConcepts; ++j) names += "thing " + std::to_string(j) + "\n";
    write("names.txt", names);
  }

  Outcome run(const std::string& arguments) const {
    const int code = run_linex(folder_, arguments);
    return {code, read_file(folder_ / "stdout.txt"), read_file(folder_ / "stderr.txt")};
  }

  /// `arguments` must end in `code` with one line on stderr that holds `part`.
  void expect_error(const std::string& arguments, int code, const std::string& part) const {
    const Outcome outcome = run(arguments + " --run.log-level=off");
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << arguments << "\n" << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }

  Json summary(const std::string& out) const {
    return Json::parse(read_file(folder_ / out / "summary.json"));
  }

  const std::string recorded_ =
      "--model.plugin=recorded --model.activations=A.npy --labeler.plugin=recorded "
      "--labeler.concepts=P.npy "
      "--labeler.names=names.txt ";
  torch::Tensor presence_, activations_;
};

TEST_F(Cli, QuestionMarkForALayerTellsWhatThereIs) {
  for (const char* command : {"activations", "explain"}) {
    const Outcome outcome = run(std::string(command) +
                                " --model.plugin=recorded --model.activations=A.npy "
                                "--labeler.plugin=recorded --labeler.concepts=P.npy "
                                "--labeler.names=names.txt --model.layer=? --run.out=out");
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    EXPECT_NE(outcome.out.find("600 rows, 6 units"), std::string::npos) << outcome.out;
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }
}

TEST_F(Cli, RecordedMatricesAreExplained) {
  const Outcome outcome = run("explain " + recorded_ + "--run.out=out");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const auto file = read_explanations(folder_ / "out/explanations.csv");
  ASSERT_EQ(file.explanations.size(), 6U);
  EXPECT_EQ(file.explanations[0].terms.at(0).concept_name, "thing 3");
  EXPECT_NEAR(file.explanations[0].terms.at(0).weight, 2, 0.05);
  EXPECT_EQ(file.explanations[0].terms.at(1).concept_name, "thing 7");
  EXPECT_NEAR(file.explanations[2].bias, 3, 0.05);
  EXPECT_EQ(file.explanations[3].status, Status::dead);
  EXPECT_NE(file.explanations[4].status, Status::ok);
  EXPECT_TRUE(file.explanations[3].terms.empty() && file.explanations[4].terms.empty());

  const Json json = summary("out");
  EXPECT_EQ(json["units"], 6);
  EXPECT_EQ(json["status_counts"]["ok"], 4);
  EXPECT_EQ(json["scored_units"], 4);  // the dead and the constant one are left out of the mean
  EXPECT_GT(json["mean_test_correlation"].get<double>(), 0.95);
  EXPECT_GT(json["mean_val_correlation"].get<double>(), 0.95);
  for (const char* stage :
       {"activations", "concepts", "moments", "solve", "evaluate", "report", "total"})
    EXPECT_TRUE(json["timings_s"][stage].is_number()) << stage;
  EXPECT_GT(json["peak_rss_mb"].get<double>(), 1);
  EXPECT_EQ(json["plugins"][0]["sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(json["options"]["run"]["seed"], "0");
  EXPECT_TRUE(fs::exists(folder_ / "out/report/index.html"));

  const std::string first = read_file(folder_ / "out/explanations.csv");
  EXPECT_EQ(first.substr(0, first.find('\n')).substr(0, 46),
            "layer,unit,val correlation,weight0,concept0,we");
  fs::remove(folder_ / "out/explanations.csv");
  ASSERT_EQ(run("explain --config out/run.ini").code, 0);
  EXPECT_EQ(read_file(folder_ / "out/explanations.csv"), first);
  ASSERT_EQ(run("explain --config out/run.ini --run.threads=1 --run.out=one").code, 0);
  EXPECT_EQ(read_file(folder_ / "one/explanations.csv"), first);
}

TEST_F(Cli, KilledRunResumesToTheSameBytes) {
  const auto presence = torch::rand({1500, 300});
  write_npy(folder_ / "bigP.npy", presence);
  write_npy(folder_ / "bigA.npy",
            presence.matmul(torch::rand({300, 4000}).pow(40)) + 0.1 * torch::randn({1500, 4000}));
  const std::string arguments =
      "explain --model.plugin=recorded --model.activations=bigA.npy --labeler.plugin=recorded "
      "--labeler.concepts=bigP.npy --run.cache=none --run.out=";
  ASSERT_EQ(run(arguments + "whole").code, 0);

  const fs::path journal = folder_ / "broken/explanations.recorded.journal";
  bool killed = false;
  for (int attempt = 0; attempt < 5 && !killed; ++attempt) {
    fs::remove_all(folder_ / "broken");
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string command = std::string("cd '") + folder_.string() +
                                  "' && exec '" LINEX_BINARY "' " + arguments +
                                  "broken >/dev/null 2>&1";
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(child, &status, WNOHANG)) == 0) {
      // A key and a first block, both whole.
      const std::string text = fs::exists(journal) ? read_file(journal) : "";
      if (std::count(text.begin(), text.end(), '\n') > 1) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        break;
      }
      ::usleep(500);
    }
    killed = WIFSIGNALED(status) && fs::exists(journal);
  }
  ASSERT_TRUE(killed) << "the run was over before it could be killed";
  const Outcome resumed = run(arguments + "broken");
  ASSERT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_NE(resumed.error.find("resuming"), std::string::npos) << resumed.error;
  EXPECT_EQ(read_file(folder_ / "broken/explanations.csv"),
            read_file(folder_ / "whole/explanations.csv"));
  EXPECT_FALSE(fs::exists(journal));
}

TEST_F(Cli, EvaluateScoresTheFileExplainWrote) {
  ASSERT_EQ(
      run("explain " + recorded_ + "--run.out=out --evaluator.plugin=none --run.units=0:3,5").code,
      0);
  EXPECT_EQ(read_explanations(folder_ / "out/explanations.csv").scores.size(), 0U);
  ASSERT_EQ(
      run("evaluate --explanations out/explanations.csv " + recorded_ + "--run.out=scored").code,
      0);
  const auto scored = read_explanations(folder_ / "scored/explanations.csv");
  ASSERT_EQ(scored.scores.size(), 1U);
  EXPECT_EQ(scored.explanations.size(), 4U);
  for (const double value : scored.scores[0].value) EXPECT_GT(value, 0.95);
}

TEST_F(Cli, EvaluateGivesOddExplanationsAStatus) {
  write("odd.csv",
        "unit,weight0,concept0,weight1,concept1,bias\n0,1,thing 3,,,0\n0,1,thing 7,,,0\n77,1,thing "
        "3,,,0\n"
        "1,1,thing 99,,,0\n2,,,,,\n3,1,thing 3,,,0\n");
  const Outcome outcome = run("evaluate --explanations odd.csv " + recorded_ + "--run.out=o");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const auto file = read_explanations(folder_ / "o/explanations.csv");
  const std::vector<Status> expected{Status::ok,           Status::ok,
                                     Status::unknown_unit, Status::unknown_concept,
                                     Status::empty,        Status::constant};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(file.explanations[i].status, expected[i]) << i;
  EXPECT_EQ(summary("o")["scores"]["sim correlation"]["n"], 2);
  EXPECT_NE(outcome.error.find("1 rows explain a unit that has a row already"), std::string::npos)
      << outcome.error;
  EXPECT_EQ(summary("o")["scores"]["sim correlation"]["left_out"]["unknown_unit"], 1);
}

TEST_F(Cli, EvaluateNamesWhatIsWrongWithAFile) {
  // What evaluate reads first; through the binary below.
  const auto fails = [&](const std::string& content, const std::string& part) {
    const fs::path file = write("bad.csv", content);
    try {
      read_explanations(file);
      ADD_FAILURE() << "no error for " << content;
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_NE(line.find(part), std::string::npos) << line;
      EXPECT_NE(line.find("bad.csv"), std::string::npos) << line;
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    }
  };
  fails("", "bad.csv");
  fails("layer,weight0,concept0,bias\nl,1,thing 3,0\n", "no column 'unit'");
  fails("unit,weight0,bias\n0,1,0\n", "only one of the columns");
  fails("unit,concept0\n0,thing 3\n", "only one of the columns");
  fails("unit,score\n0,1\n", "description");
  fails("unit,weight0,concept0,bias\n0,one,thing 3,0\n", "'one' is not a number");
  fails("unit,weight0,concept0,bias\n0,,thing 3,0\n", "has no weight");
  fails("unit,weight0,concept0,bias\n-1,1,thing 3,0\n", "not a unit number");
  fails("unit,weight0,concept0,bias\n1e30,1,thing 3,0\n", "not a unit number");
  fails("unit,weight0,concept0,bias\n0,1,thing 3\n", "record 2");
  fails("unit,weight0,concept0,bias\n0,1,\"thing 3,0\n", "bad.csv");
  fails("unit,description,status\n0,thing 3,fine\n", "record 2, column 'status'");
  fails(std::string("PK\x03\x04\0\0\xff\xfe", 8), "bad.csv");
  expect_error("evaluate --explanations bad.csv " + recorded_ + "--run.out=bad", 3, "bad.csv");
  EXPECT_FALSE(fs::exists(folder_ / "bad"));
  write("none.csv", "unit,weight0,concept0,bias\n");
  expect_error("evaluate --explanations none.csv " + recorded_, 3, "no explanation");
  expect_error("evaluate --explanations missing.csv " + recorded_, 3, "missing.csv");
  expect_error("evaluate " + recorded_, 2, "--explanations");
  expect_error("evaluate --explanations . " + recorded_, 3, "regular file");
}

TEST_F(Cli, EvaluateLeavesOutOtherLayers) {
  write("two.csv", "layer,unit,description\nrecorded,0,thing 3\nlayer9,1,thing 3\n");
  const Outcome outcome = run("evaluate --explanations two.csv " + recorded_ + "--run.out=two");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("1 of 2 explanations are of other layers"), std::string::npos)
      << outcome.error;
}

TEST_F(Cli, ConceptsAndActivationsAreWritten) {
  ASSERT_EQ(run("concepts " + recorded_ + "--run.out=c").code, 0);
  EXPECT_TRUE(torch::equal(map_npy(folder_ / "c/concepts.npy"), presence_));
  EXPECT_EQ(read_file(folder_ / "c/concept_names.txt"), read_file(folder_ / "names.txt"));
  ASSERT_EQ(run("activations " + recorded_ + "--run.out=a").code, 0);
  EXPECT_TRUE(torch::equal(map_npy(folder_ / "a/activations.npy"), activations_));
  const CsvTable top = read_csv(folder_ / "a/top_images.csv");
  ASSERT_EQ(top.rows.size(), static_cast<std::size_t>(10 * activations_.size(1)));
  const auto order = std::get<1>(activations_.select(1, 2).sort(/*stable=*/true, 0, true));
  for (std::size_t rank = 0; rank < 10; ++rank) {
    const auto& row = top.rows[20 + rank];
    EXPECT_EQ(row[1], "2");
    EXPECT_EQ(row[2], std::to_string(rank + 1));
    EXPECT_EQ(row[3], std::to_string(order[static_cast<std::int64_t>(rank)].item<std::int64_t>()));
  }
}

TEST_F(Cli, WrongOptionsAreNamedWithASuggestion) {
  expect_error("explain " + recorded_ + "--solver.lamda=0.1", 2, "solver.lambda");
  expect_error("explain " + recorded_ + "--solver.lambda=-1", 2, "solver.lambda");
  expect_error("explain " + recorded_ + "--solver.lambda=nan", 2, "solver.lambda");
  expect_error("explain " + recorded_ + "--run.seed=x", 2, "run.seed");
  expect_error("explain " + recorded_ + "--solver.plugin=liner", 2, "linear");
  expect_error("explain " + recorded_ + "--run.units=0:99", 2, "run.units");
  expect_error("explain " + recorded_ + "--data.split=0.5,0.5", 2, "data.split");
  expect_error("explain " + recorded_ + "stray", 2, "stray");
  expect_error("explain", 2, "model.plugin");
  write("c.ini", "[solver]\nlamda = 1\n");
  expect_error("explain " + recorded_ + "--config c.ini", 2, "c.ini");
  EXPECT_EQ(run("explian").code, 2);
  EXPECT_NE(run("explian").error.find("explain"), std::string::npos);
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("--help").code, 0);
  EXPECT_NE(run("explain --help --solver.plugin=linear").out.find("solver.lambda"),
            std::string::npos);
}

TEST_F(Cli, WrongMatricesAreNamed) {
  const auto matrices = [](const std::string& a, const std::string& p, const std::string& names) {
    return "explain --model.plugin=recorded --model.activations=" + a +
           " --labeler.plugin=recorded --labeler.concepts=" + p + " --labeler.names=" + names;
  };
  expect_error(matrices("none.npy", "P.npy", "names.txt"), 3, "none.npy");
  write("garbage.npy", "not a matrix");
  expect_error(matrices("garbage.npy", "P.npy", "names.txt"), 3, "garbage.npy");
  write("short.npy", read_file(folder_ / "P.npy").substr(0, 3000));
  expect_error(matrices("A.npy", "short.npy", "names.txt"), 3, "truncated");
  write_npy(folder_ / "rows.npy", presence_.slice(0, 0, 500));
  expect_error(matrices("A.npy", "rows.npy", "names.txt"), 3, "500");
  write("few.txt", "a\nb\n");
  expect_error(matrices("A.npy", "P.npy", "few.txt"), 3, "few.txt");
  auto nan = activations_.clone();
  nan[17][2] = std::nan("");
  write_npy(folder_ / "nanA.npy", nan);
  expect_error(matrices("nanA.npy", "P.npy", "names.txt"), 3, "row 17");
  auto inf = presence_.clone();
  inf[20][4] = INFINITY;
  write_npy(folder_ / "infP.npy", inf);
  expect_error(matrices("A.npy", "infP.npy", "names.txt"), 3, "row 20, column 4");
  write("latin1.txt", "jalape\xf1o\n");
  expect_error(matrices("A.npy", "P.npy", "latin1.txt"), 3, "UTF-8");
}

TEST_F(Cli, BadSplitsAreNamed) {
  fs::create_directories(folder_ / "ids");
  const auto ids = [&](const std::string& part, const std::vector<std::int64_t>& values) {
    write_npy(folder_ / "ids" / (part + "_ids.npy"), torch::tensor(values, torch::kInt64));
  };
  ids("train", {0, 1, 2});
  ids("val", {3});
  expect_error("explain " + recorded_ + "--data.split=ids", 3, "test_ids");
  ids("test", {600});
  expect_error("explain " + recorded_ + "--data.split=ids", 3, "600");
  ids("test", {1});
  expect_error("explain " + recorded_ + "--data.split=ids", 3, "1");
}

class CliImages : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    for (const char* name : {"cat", "dog"})
      for (int i = 0; i < 4; ++i) {
        fs::create_directories(folder_ / "images" / name);
        cv::imwrite((folder_ / "images" / name / (std::to_string(i) + ".png")).string(),
                    cv::Mat(32, 32, CV_8UC3, cv::Scalar(20 * i, 90, name[0])));
      }
  }
  const std::string data_ = "--data.kind=image_folder --data.root=images ";
};

TEST_F(CliImages, LabelsAndTheirHierarchyAreConcepts) {
  write("h.json", R"({"house_pet": [0, 1], "feline": [0]})");
  ASSERT_EQ(
      run("concepts " + data_ + "--labeler.plugin=label --labeler.hierarchy=h.json --run.out=c")
          .code,
      0);
  EXPECT_EQ(read_file(folder_ / "c/concept_names.txt"), "cat\ndog\nhouse pet\nfeline\n");
  const auto concepts = map_npy(folder_ / "c/concepts.npy");
  EXPECT_TRUE(torch::equal(concepts[0], torch::tensor({1.0F, 0.0F, 1.0F, 1.0F})));
  EXPECT_TRUE(torch::equal(concepts[7], torch::tensor({0.0F, 1.0F, 1.0F, 0.0F})));
  EXPECT_EQ(map_npy(folder_ / "c/labels.npy").sum().item<int>(), 4);
  write("bad.json", R"({"house_pet": [0, 9]})");
  expect_error("concepts " + data_ + "--labeler.plugin=label --labeler.hierarchy=bad.json", 3,
               "house_pet");
  write("three.txt", "a\nb\nc\n");
  expect_error("concepts " + data_ + "--labeler.plugin=label --labeler.names=three.txt", 3,
               "three.txt");
}

TEST_F(CliImages, WrongImagesAndCheckpointsAreNamed) {
  const std::string label =
      "--labeler.plugin=label --model.plugin=resnet --model.arch=cifar_resnet20 "
      "--model.layer=layer3 ";
  expect_error("explain " + data_ + label + "--model.weights=none.th", 3, "none.th");
  write("garbage.th", "this is no checkpoint at all");
  expect_error("explain " + data_ + label + "--model.weights=garbage.th", 3, "garbage.th");
  // A pickle that would run a command in Python is read as data, and refused.
  write("hostile.th", "cos\nsystem\n(S'touch PWNED'\ntR.");
  expect_error("explain " + data_ + label + "--model.weights=hostile.th", 3, "hostile.th");
  EXPECT_FALSE(fs::exists(folder_ / "PWNED"));
  write("absurd.th", std::string("\x80\x02X\xff\xff\xff\xff", 7) + "abc.");
  expect_error("explain " + data_ + label + "--model.weights=absurd.th", 3, "absurd.th");
  fs::create_directories(folder_ / "empty");
  expect_error("concepts --labeler.plugin=label --data.root=empty", 3, "empty");
  expect_error("concepts --labeler.plugin=label --data.root=nowhere", 3, "nowhere");
  write("images/cat/broken.png", "\x89PNG\r\n\x1a\nbroken");
  // Labels need no pixels, so only who asks for it has every file opened at the start.
  EXPECT_EQ(run("concepts " + data_ + "--labeler.plugin=label").code, 0);
  expect_error("concepts " + data_ + "--labeler.plugin=label --data.verify=content", 3,
               "broken.png");
}

TEST_F(CliImages, RealCheckpointOfAnotherArchOrLayer) {
  const std::string weights = shared_file("data/weights/resnet20-12fca82f.th").string();
  if (weights.empty()) GTEST_SKIP() << "no published weights";
  const std::string model =
      "--model.plugin=resnet --model.weights=" + weights + " --labeler.plugin=label ";
  expect_error("explain " + data_ + model + "--model.arch=cifar_resnet32 --model.layer=layer3", 3,
               "layer1.3");
  expect_error("explain " + data_ + model + "--model.arch=cifar_resnet20 --model.layer=layr3", 2,
               "layer3");
  expect_error("explain " + data_ + model +
                   "--model.arch=cifar_resnet20 --model.layer=layer3 --run.units=64",
               2, "run.units");
  std::string cut = read_file(weights);
  write("cut.th", cut.substr(0, cut.size() / 2));
  expect_error("explain " + data_ +
                   "--labeler.plugin=label --model.plugin=resnet --model.layer=layer3 "
                   "--model.arch=cifar_resnet20 --model.weights=cut.th",
               3, "cut.th");
}

}  // namespace
}  // namespace linex
