// Several ranks on this machine give the bytes of one process.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <random>

#include "small_run.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

/// Without mpirun or the module there is nothing to test.
class Mpi : public SmallRun {
 protected:
  void SetUp() override {
    if (std::system("command -v mpirun >/dev/null") != 0 || !fs::exists(LINEX_MPI_MODULE))
      GTEST_SKIP() << "built without MPI, or there is no mpirun";
    SmallRun::SetUp();
    write_matrices(1100, 40, 9);
  }

  /// `a` and `p`.npy: presence in [0, 1], units that are sums of some of it.
  void write_matrices(std::int64_t rows, std::int64_t concepts, std::int64_t units,
                      const std::string& a = "A", const std::string& p = "P") const {
    torch::manual_seed(rows + units);
    const auto presence = torch::rand({rows, concepts}).pow(3);
    auto activations = 0.1 * torch::randn({rows, units});
    for (std::int64_t unit = 0; unit < units; ++unit)
      activations.select(1, unit) +=
          2 * presence.select(1, unit % concepts) + presence.select(1, (3 * unit + 1) % concepts);
    write_npy(folder_ / (a + ".npy"), activations);
    write_npy(folder_ / (p + ".npy"), presence);
    std::string names;
    for (std::int64_t j = 0; j < concepts; ++j) names += "thing " + std::to_string(j) + "\n";
    write("names.txt", names);
  }

  static std::string launcher(int ranks) {
#ifdef __SANITIZE_ADDRESS__
    // Open MPI's modules are gone when leaks are looked for, so no suppression knows what is
    // theirs.
    const std::string sanitizer = "ASAN_OPTIONS=\"$ASAN_OPTIONS:detect_leaks=0\" ";
#else
    const std::string sanitizer;
#endif
    return sanitizer +
           "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 "
           "OMPI_MCA_hwloc_base_binding_policy=none mpirun --allow-run-as-root -q -n " +
           std::to_string(ranks) + " ";
  }
  Ended run_ranks(int ranks, const std::string& arguments) const {
    return run(arguments + " --run.threads=1", launcher(ranks));
  }
  /// Blocks that a run's journal holds.
  int explained(const std::string& out) const {
    std::ifstream journal(folder_ / out / "explanations.recorded.journal");
    const std::string text((std::istreambuf_iterator<char>(journal)), {});
    return std::max(0, static_cast<int>(std::count(text.begin(), text.end(), '\n')) - 1);
  }
  std::string bytes(const std::string& file) const { return read_file(folder_ / file); }

  /// One process and R of them, `arguments` ending in the folder's name.
  void expect_same(const std::string& arguments, const std::vector<std::string>& files,
                   const std::vector<int>& ranks = {1, 2, 3, 7}) const {
    const Ended alone = run(arguments + "alone");
    ASSERT_EQ(alone.code, 0) << alone.error;
    for (const int r : ranks) {
      const std::string out = "ranks" + std::to_string(r);
      fs::remove_all(folder_ / out);
      const Ended ended = run_ranks(r, arguments + out);
      ASSERT_EQ(ended.code, 0) << r << " ranks: " << ended.error;
      for (const auto& file : files)
        EXPECT_TRUE(bytes("alone/" + file) == bytes(out + "/" + file)) << r << " ranks: " << file;
      EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'),
                std::count(alone.out.begin(), alone.out.end(), '\n'))
          << r << " ranks print once: " << ended.out;
    }
  }
};

TEST_F(Mpi, RecordedMatricesOfUnevenSize) {
  expect_same("explain " + recorded_ + "--run.out=", {"explanations.csv"});
  const auto json = nlohmann::json::parse(bytes("ranks3/summary.json"));
  EXPECT_EQ(json["ranks"], 3);
  EXPECT_EQ(json["hosts"].size(), 1U);
  EXPECT_EQ(nlohmann::json::parse(bytes("alone/summary.json"))["ranks"], 1);
}

TEST_F(Mpi, MoreRowsThanOneShardASide) {
  write_matrices(9000, 300, 70);
  expect_same("explain " + recorded_ + "--run.out=", {"explanations.csv"}, {2, 3});
  const std::string alone = bytes("alone/explanations.csv");
  // What docs/cluster.md says is exchanged: the moments, and little beside them.
  const auto json = nlohmann::json::parse(bytes("ranks2/summary.json"));
  const double concepts = json["figures"]["concepts_kept"], units = 70;
  const double moments = 8 * (concepts * concepts / 2 + units * concepts);
  EXPECT_GT(json["exchanged_bytes"].get<double>(), moments);
  EXPECT_LT(json["exchanged_bytes"].get<double>(), 2 * moments);
  const auto of_one = nlohmann::json::parse(bytes("alone/summary.json"));
  EXPECT_EQ(of_one["exchanged_bytes"], 0);
  // Files are read for their digests by one rank each.
  EXPECT_EQ(json["provenance"]["digests"], of_one["provenance"]["digests"]);
  // Neither threads nor tiles nor memory matter.
  for (const char* other : {"--run.threads=2", "--solver.tile_rows=64", "--solver.tile_rows=1000",
                            "--run.memory=0.01"}) {
    ASSERT_EQ(run("explain " + recorded_ + other + " --run.out=other").code, 0);
    EXPECT_TRUE(bytes("other/explanations.csv") == alone) << other;
    fs::remove_all(folder_ / "other");
  }
}

TEST_F(Mpi, FewerRowsThanRanksAndOneUnit) {
  write_matrices(12, 4, 3);
  expect_same(
      "explain " + recorded_ + "--data.split=0.5,0.25,0.25 --run.out=", {"explanations.csv"}, {7});
  write_matrices(700, 1500, 2);  // one unit, many concepts: rows of the Gram matrix on demand
  fs::remove_all(folder_ / "alone");
  expect_same("explain " + recorded_ + "--run.units=1 --run.out=", {"explanations.csv"}, {2, 3});
}

TEST_F(Mpi, LabelsAndSolversThatKnowNoCluster) {
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 1100; ++i) labels.push_back(i * 7 % 40);
  write_npy(folder_ / "labels.npy", torch::tensor(labels));
  const std::string start =
      "explain --model.plugin=recorded --model.activations=A.npy --run.report=none "
      "--run.log-level=warning --labeler.plugin=label --labeler.names=names.txt "
      "--labeler.labels=labels.npy ";
  expect_same(start + "--run.out=", {"explanations.csv"}, {3});
  fs::remove_all(folder_ / "alone");
  expect_same("explain " + recorded_ + "--solver.plugin=glm_saga --run.out=", {"explanations.csv"},
              {3});
}

TEST_F(Mpi, EvaluateActivationsAndConcepts) {
  expect_same("explain " + recorded_ + "--run.out=", {"explanations.csv"}, {});
  fs::rename(folder_ / "alone/explanations.csv", folder_ / "given.csv");
  fs::remove_all(folder_ / "alone");
  expect_same("evaluate --explanations given.csv " + recorded_ + "--run.out=", {"explanations.csv"},
              {2});
  fs::remove_all(folder_ / "alone");
  expect_same(
      "concepts --labeler.plugin=recorded --labeler.concepts=P.npy --labeler.names=names.txt "
      "--run.log-level=warning --run.out=",
      {"concepts.npy", "concept_names.txt"}, {3});
}

TEST_F(Mpi, ScoresOfUnits) {
  // More ranks than units, and a memory that holds the predictions of two of them.
  write_matrices(1100, 40, 5);
  expect_same("explain " + recorded_ +
                  "--run.memory=0.0005 --evaluator.plugin=simulation_correlation,concept_metrics "
                  "--evaluator.interval=bootstrap --evaluator.resamples=100 "
                  "--evaluator.frontier=true --evaluator.sanity=true --run.out=",
              {"explanations.csv"});
  const auto of = [&](const std::string& out) {
    return nlohmann::json::parse(bytes(out + "/summary.json"))["sanity"];
  };
  EXPECT_FALSE(of("alone").empty());
  EXPECT_EQ(of("ranks3"), of("alone"));
  // A unit that is not there, a concept that nobody knows, and nothing at all.
  write("given.csv",
        "layer,unit,weight0,concept0,bias,status\nrecorded,3,1,thing 3,0,ok\n"
        "recorded,99,1,thing 3,0,ok\nrecorded,2,1,nothing,0,ok\nrecorded,1,,,0,empty\n");
  fs::remove_all(folder_ / "alone");
  expect_same("evaluate --explanations given.csv " + recorded_ +
                  "--evaluator.plugin=simulation_correlation,concept_metrics --run.out=",
              {"explanations.csv"}, {2, 5});
}

/// Pictures of two classes in `images`.
void write_pictures(const fs::path& images, int count) {
  std::mt19937 random(3);
  for (int i = 0; i < count; ++i) {
    const fs::path folder = images / (i % 2 ? "cat" : "dog");
    fs::create_directories(folder);
    cv::Mat image(32, 32, CV_8UC3);
    for (int at = 0; at < 32 * 32 * 3; ++at)
      image.data[at] = static_cast<unsigned char>((random() % 128) + (i % 2) * 100);
    cv::imwrite((folder / (std::to_string(1000 + i) + ".png")).string(), image);
  }
}

TEST_F(Mpi, ScoresThatRunTheNetwork) {
  write_pictures(folder_ / "images", 130);
  // layer3 goes straight into the logits; of layer2 the rest of the network is run, batch by batch.
  expect_same("explain --data.root=images --model.plugin=resnet --model.weights=" LINEX_SOURCE_DIR
              "/tests/fixtures/models/resnet_cifar.safetensors --model.layer=layer2,layer3 "
              "--run.log-level=warning --run.report=none --run.batch=8 --run.units=0:4 "
              "--labeler.plugin=label --evaluator.plugin=simulation_ablation --evaluator.nodes=3 "
              "--evaluator.steps=10 --evaluator.calibrate=true --run.out=",
              {"explanations.csv"}, {2, 3});
}

TEST_F(Mpi, SeveralLayersOfANetwork) {
  write_pictures(folder_ / "images", 530);
  const std::string network =
      "--data.root=images --model.plugin=resnet --model.weights=" LINEX_SOURCE_DIR
      "/tests/fixtures/models/resnet_cifar.safetensors --model.layer=layer2,layer3 "
      "--run.log-level=warning ";
  for (const char* cache : {"", "--run.cache=none "}) {
    fs::remove_all(folder_ / "alone");
    expect_same(
        "explain " + network + cache + "--labeler.plugin=label --run.report=none --run.out=",
        {"explanations.csv"}, {3});
  }
  fs::remove_all(folder_ / "alone");
  expect_same("activations " + network + "--run.out=",
              {"activations.layer2.npy", "activations.layer3.npy", "logits.npy", "top_images.csv"},
              {2});
  for (const char* batch : {"1", "24"}) {
    ASSERT_EQ(
        run("activations " + network + "--run.out=batch --run.cache=none --run.batch=" + batch)
            .code,
        0);
    EXPECT_TRUE(bytes("batch/activations.layer3.npy") == bytes("alone/activations.layer3.npy"))
        << batch;
  }
  // What only one rank sees, it tells with its name.
  write("images/dog/1528.png", bytes("images/dog/1528.png").substr(0, 200));
  const Ended one =
      run_ranks(2, "activations " + network.substr(0, network.find("--run.log-level")) +
                       "--run.log-level=off --run.cache=none --run.out=broken");
  EXPECT_EQ(one.code, 3) << one.error;
  EXPECT_NE(one.error.find("linex: rank 1 on "), std::string::npos) << one.error;
  EXPECT_NE(one.error.find("1528.png"), std::string::npos) << one.error;
  EXPECT_EQ(std::count(one.error.begin(), one.error.end(), '\n'), 1) << one.error;
}

TEST_F(Mpi, ABenchmark) {
  write("benchmark.ini", R"([model]
plugin = recorded
[labeler]
plugin = recorded
concepts = P.npy
names = names.txt
[network one]
activations = A.npy
[method short]
solver = linear
solver.max_length = 1
[method long]
solver = linear
[method saga]
solver = glm_saga
)");
  expect_same("benchmark --config benchmark.ini --run.log-level=warning --run.out=",
              {"benchmark.csv", "benchmark.json", "one/long/explanations.csv"}, {2});
}

TEST_F(Mpi, MistakesAreToldOnceAndByAll) {
  for (const char* wrong : {"--solver.max_length=x", "--solver.max_lenght=3"}) {
    const Ended ended = run_ranks(3, "explain " + recorded_ + wrong + " --run.out=o");
    EXPECT_EQ(ended.code, 2) << ended.error;
    EXPECT_EQ(std::count(ended.error.begin(), ended.error.end(), '\n'), 1) << ended.error;
  }
  write("ids/notes.txt", "");
  const Ended ended = run_ranks(2, "explain " + recorded_ + "--data.split=ids --run.out=o");
  EXPECT_EQ(ended.code, 3) << ended.error;
  EXPECT_EQ(std::count(ended.error.begin(), ended.error.end(), '\n'), 1) << ended.error;
  const Ended forced = run("explain " + recorded_ + "--run.cluster=mpi --run.out=o");
  EXPECT_EQ(forced.code, 2);
  EXPECT_NE(forced.error.find("run.cluster"), std::string::npos);
}

/// Ids of the processes that mpirun with id `launcher` started, by rank.
std::vector<pid_t> ranks_of(pid_t launcher) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream status(entry.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(status)), {});
    const auto close = text.rfind(')');  // "id (name) state parent ..."
    int parent = 0;
    if (close == std::string::npos || std::sscanf(text.c_str() + close + 2, "%*c %d", &parent) != 1)
      continue;
    if (parent == launcher) found.push_back(std::stoi(name));
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST_F(Mpi, ARankThatDiesEndsAllInOneLineAndAnyNumberGoesOn) {
  write_matrices(3000, 200, 2100);  // five blocks of units
  const std::string command = "explain " + recorded_ + "--run.out=";
  ASSERT_EQ(run(command + "alone").code, 0);
  for (int round = 0; round < 4; ++round) {
    const int ranks = 2 + round % 2, victim = round % ranks;
    const int before = explained("out");
    const pid_t launched = ::fork();
    if (launched == 0) {
      ::chdir(folder_.c_str());
      const std::string line = "exec env " + launcher(ranks) + "'" LINEX_BINARY "' " + command +
                               "out --run.threads=1 </dev/null >stdout.txt 2>stderr.txt";
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(1);
    }
    std::vector<pid_t> processes;
    for (int tries = 0; tries < 200 && static_cast<int>(processes.size()) < ranks; ++tries) {
      ::usleep(10000);
      processes = ranks_of(launched);
    }
    ASSERT_EQ(static_cast<int>(processes.size()), ranks);
    // In the first rounds once another block is stored, in the last before MPI has started.
    if (round < 3)
      for (int tries = 0; tries < 4000 && explained("out") <= before; ++tries) ::usleep(5000);
    ::kill(processes[static_cast<std::size_t>(victim)], SIGKILL);
    int status = 0;
    const auto killed = std::chrono::steady_clock::now();
    ::waitpid(launched, &status, 0);
    EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(30));
    EXPECT_NE(status, 0);
    const std::string error = bytes("stderr.txt");
    if (round < 3) {
      EXPECT_NE(error.find("linex: rank " + std::to_string(victim) + " on "), std::string::npos)
          << error;
      EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
    }
  }
  const Ended resumed = run_ranks(3, command + "out");
  ASSERT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_TRUE(bytes("out/explanations.csv") == bytes("alone/explanations.csv"));
}

TEST_F(Mpi, OtherCommandsRunOnce) {
  const Ended ended = run("--version", launcher(3));
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 2) << ended.out;
}

}  // namespace
}  // namespace linex
