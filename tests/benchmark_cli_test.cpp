// linex benchmark, report and analyse as users call them.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>

#include "folder_test.hpp"
#include "run_linex.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

/// Two recorded "networks" of known truth, each with a dead unit.
class Benchmark : public FolderTest {
 protected:
  void SetUp() override {
    torch::manual_seed(5);
    const auto presence = (torch::rand({500, 8}) < 0.3).to(torch::kFloat32);
    std::string names;
    for (int j = 0; j < 8; ++j) names += "thing " + std::to_string(j) + "\n";
    write_npy(folder_ / "P.npy", presence);
    write("names.txt", names);
    for (const char* network : {"one", "two"}) {
      auto activations = 0.3 * torch::randn({500, 5});
      for (int unit = 0; unit < 4; ++unit)
        activations.select(1, unit) +=
            2 * presence.select(1, unit) + presence.select(1, (unit + 3) % 8);
      activations.select(1, 4).zero_();
      write_npy(folder_ / (std::string(network) + ".npy"), activations);
    }
    for (const char* network : {"first", "second"})
      write(std::string("given-") + network + ".csv",
            "unit,description\n0,thing 0\n1,thing 1\n2,thing 5\n3,thing 3\n");
    write("benchmark.ini", kConfiguration);
  }

  int run(const std::string& arguments) {
    const int code = run_linex(folder_, arguments, "out.txt", "error.txt");
    out_ = read_file(folder_ / "out.txt");
    error_ = read_file(folder_ / "error.txt");
    return code;
  }
  std::string command(const std::string& arguments) const {
    return "cd '" + folder_.string() + "' && exec '" LINEX_BINARY "' " + arguments;
  }
  std::string table(const std::string& out) const {
    std::string text;
    for (const char* name : {"benchmark.md", "benchmark.csv", "benchmark.json"})
      text += read_file(folder_ / out / name);
    return text;
  }

  static constexpr const char* kConfiguration = R"([model]
plugin = recorded
[network first]
activations = one.npy
[network second]
activations = two.npy
[labeler]
plugin = recorded
concepts = P.npy
names = names.txt
[evaluator]
plugin = simulation_correlation
[method single]
solver = linear
solver.max_length = 1
[method LE]
solver = linear
[method published]
file = given-{network}.csv
)";
  std::string out_, error_;
};

TEST_F(Benchmark, OneTableForAllMethodsAndNetworks) {
  ASSERT_EQ(run("benchmark --config benchmark.ini --run.out=b"), 0) << error_;
  const auto json = nlohmann::json::parse(read_file(folder_ / "b/benchmark.json"));
  ASSERT_EQ(json["cells"].size(), 6U);
  const char* order[] = {"single", "LE", "published"};  // that of the file
  for (std::size_t m = 0; m < 3; ++m) EXPECT_EQ(json["cells"][2 * m]["method"], order[m]);
  EXPECT_EQ(json["paired"].size(), 6U);
  const auto mean = [&](const std::string& method, const std::string& network) {
    for (const auto& cell : json["cells"])
      if (cell["method"] == method && cell["network"] == network) return cell["mean"].get<double>();
    return 0.0;
  };
  for (const char* network : {"first", "second"}) {
    EXPECT_GT(mean("LE", network), 0.93);
    EXPECT_GT(mean("LE", network), mean("single", network) + 0.05);
    EXPECT_GT(mean("single", network), mean("published", network) + 0.05);
  }
  for (const auto& cell : json["cells"]) {
    EXPECT_EQ(cell["n"], 4);
    EXPECT_EQ(cell["dead"], cell["method"] == "published" ? 0 : 1);
  }
  EXPECT_NE(out_.find("dead 1"), std::string::npos);
  EXPECT_NE(read_file(folder_ / "b/benchmark.md").find("| LE | **"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "b/first/report/index.html"));
  EXPECT_NE(read_file(folder_ / "b/index.html").find("href=\"second/report/index.html\""),
            std::string::npos);
  EXPECT_EQ(read_explanations(folder_ / "b/second/single/explanations.csv").explanations.size(),
            5U);

  // What it wrote down runs again to the same bytes.
  ASSERT_EQ(run("benchmark --config b/benchmark.ini --run.out=again"), 0) << error_;
  EXPECT_EQ(table("again"), table("b"));
}

TEST_F(Benchmark, KilledAndResumedGivesTheSameBytes) {
  ASSERT_EQ(run("benchmark --config benchmark.ini --run.out=whole"), 0) << error_;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const std::string line =
        command("benchmark --config benchmark.ini --run.out=broken >/dev/null 2>&1");
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  // Right after the first method of the first network is done.
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (fs::exists(folder_ / "broken/first/single/done")) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      break;
    }
    ::usleep(200);
  }
  ASSERT_TRUE(WIFSIGNALED(status)) << "the run was over before it could be killed";
  ASSERT_FALSE(fs::exists(folder_ / "broken/benchmark.json"));
  const auto finished = fs::last_write_time(folder_ / "broken/first/single/explanations.csv");
  ASSERT_EQ(run("benchmark --config benchmark.ini --run.out=broken"), 0) << error_;
  EXPECT_EQ(table("broken"), table("whole"));
  EXPECT_EQ(fs::last_write_time(folder_ / "broken/first/single/explanations.csv"), finished);
}

TEST_F(Benchmark, MistakesAreFoundBeforeWork) {
  const auto fails = [&](const std::string& more, const std::string& part) {
    write("bad.ini", kConfiguration + more);
    EXPECT_EQ(run("benchmark --config bad.ini --run.out=bad"), 2) << error_;
    EXPECT_NE(error_.find(part), std::string::npos) << error_;
    EXPECT_FALSE(fs::exists(folder_ / "bad/first"));
  };
  fails("[method x]\nsolver = linear\nsolver.lambada = 1\n", "lambada");
  fails("[method x]\nfile = given-first.csv\nsolver = linear\n", "either a file");
  fails("[method ../x]\nsolver = linear\n", "becomes a folder");
  fails("[method x]\nsolver = liner\n", "linear");
}

TEST_F(Benchmark, ReportAndAnalyseWorkOnARunsFolder) {
  const std::string recorded =
      "--model.plugin=recorded --model.activations=one.npy --labeler.plugin=recorded "
      "--labeler.concepts=P.npy --labeler.names=names.txt ";
  ASSERT_EQ(run("explain " + recorded + "--run.out=r --evaluator.interval=bootstrap"), 0) << error_;
  const std::string page = read_file(folder_ / "r/report/index.html");
  const std::string csv = read_file(folder_ / "r/explanations.csv");
  EXPECT_NE(csv.find("sim correlation low"), std::string::npos);
  fs::remove_all(folder_ / "r/report");
  ASSERT_EQ(run("report r"), 0) << error_;
  EXPECT_TRUE(read_file(folder_ / "r/report/index.html") == page);
  EXPECT_EQ(run("report nowhere"), 3);
  EXPECT_EQ(run("report"), 2);

  ASSERT_EQ(run("analyse " + recorded + "--run.out=a --explanations r/explanations.csv"), 0)
      << error_;
  const auto json = nlohmann::json::parse(read_file(folder_ / "a/analysis.json"));
  const auto& layer = *json["dead"].begin();
  EXPECT_EQ(layer["units"], nlohmann::json::array({4}));
  EXPECT_DOUBLE_EQ(layer["share"], 0.2);
}

TEST_F(Benchmark, RecordedActivationsOfADataSetShowItsImagesAndSanityStays) {
  for (int i = 0; i < 60; ++i) {
    const fs::path folder = folder_ / "images" / (i < 30 ? "dark" : "light");
    fs::create_directories(folder);
    const cv::Mat image(8, 8, CV_8UC3, cv::Scalar::all(i < 30 ? 2 * i : 140 + i));
    ASSERT_TRUE(cv::imwrite((folder / (std::to_string(100 + i) + ".png")).string(), image));
  }
  auto activations = torch::rand({60, 2});
  activations.slice(0, 30).select(1, 0) += 2;
  activations.slice(0, 0, 30).select(1, 1) += 2;
  write_npy(folder_ / "small.npy", activations);
  ASSERT_EQ(run("explain --data.root=images --model.plugin=recorded --model.activations=small.npy "
                "--labeler.plugin=label --evaluator.plugin=simulation_correlation,concept_metrics "
                "--evaluator.sanity=true --run.out=r"),
            0)
      << error_;
  const std::string page = read_file(folder_ / "r/report/index.html");
  EXPECT_NE(page.find("id=\"image-"), std::string::npos);
  EXPECT_NE(page.find("images (60 images)"), std::string::npos);
  EXPECT_NE(page.find("42 train, 6 validation, 12 test"), std::string::npos);
  const auto sanity = nlohmann::json::parse(read_file(folder_ / "r/summary.json"))["sanity"];
  ASSERT_EQ(sanity.size(), 1U);
  for (const char* name : {"missing labels", "extra labels", "reliable"})
    EXPECT_TRUE((*sanity.begin())["f1"].contains(name)) << sanity;
  // The page built again tells of them too.
  ASSERT_EQ(run("report r"), 0) << error_;
  EXPECT_TRUE(read_file(folder_ / "r/report/index.html") == page);
  EXPECT_NE(page.find("\"sanity\":[{"), std::string::npos);
}

}  // namespace
}  // namespace linex
