// Runs whose disk fails: every n-th call of a kind goes wrong, and the run is started again.
#include <dlfcn.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/run/journal.hpp"
#include "linex/error.hpp"
#include "small_run.hpp"
#include "toolkit/base/random.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

class Faults : public SmallRun {
 public:
  struct Count {
    int faults = 0, failed = 0, tolerated = 0, torn = 0, different = 0;
  };

  /// Lets the n-th call go wrong; the shim's log is in fault.log. This process has the shim loaded.
  std::vector<std::string> fault(const std::string& operation, int n,
                                 const std::string& action) const {
    return {"LINEX_FAULT=" + operation + ":" + std::to_string(n) + ":" + action,
            "LINEX_FAULT_ROOT=" + folder_.string(), "LINEX_FAULT_LOG=" + log().string()};
  }
  fs::path log() const { return folder_.string() + ".fault"; }
  bool dealt_out() const { return fs::exists(log()); }

  /// No file is half: what a finished run leaves is there with its bytes, or not at all. Returns
  /// how many are.
  int torn_files(const std::string& where) const {
    int torn = 0;
    for (const auto& file : fs::recursive_directory_iterator(folder_ / "o")) {
      const fs::path name = fs::relative(file.path(), folder_ / "o");
      if (!file.is_regular_file() || !fs::exists(folder_ / "reference" / name)) continue;
      const std::string content = read_file(file.path());
      const bool whole = holds_times(name)
                             ? name.extension() != ".json" || nlohmann::json::accept(content)
                             : content == read_file(folder_ / "reference" / name);
      EXPECT_TRUE(whole) << where << name;
      torn += whole ? 0 : 1;
    }
    return torn;
  }

  /// Of a benchmark's, the pages have times of their runs in them, too.
  static bool holds_times(const fs::path& name) {
    const std::string file = name.filename().string();
    return file == "summary.json" || file == "benchmark.json" || file == "index.html";
  }

  /// What is there is what the reference has, and nothing that it has is missing but caches.
  int differing_files(const std::string& where) const {
    int different = 0;
    for (const auto& file : fs::recursive_directory_iterator(folder_ / "reference")) {
      const fs::path name = fs::relative(file.path(), folder_ / "reference");
      if (!file.is_regular_file() || *name.begin() == "cache") continue;
      const fs::path made = folder_ / "o" / name;
      const bool same =
          fs::exists(made) && (holds_times(name) || read_file(made) == read_file(file.path()));
      EXPECT_TRUE(same) << where << name;
      different += same ? 0 : 1;
    }
    for (const auto& file : fs::recursive_directory_iterator(folder_ / "o"))
      EXPECT_EQ(file.path().string().find(".tmp"), std::string::npos) << where << file.path();
    return different;
  }

  /// `command` writes into o; what it leaves undisturbed goes to reference.
  void make_reference(const std::string& command) {
    for (const char* folder : {"reference", "o"}) fs::remove_all(folder_ / folder);
    const Ended whole = run(command);
    ASSERT_EQ(whole.code, 0) << command << "\n" << whole.error;
    fs::rename(folder_ / "o", folder_ / "reference");
  }

  struct Kind {
    std::string operation, action, variable;  ///< variable: "NAME=value", or none
  };
  /// Lets call 1, 1 + step, ... of each kind go wrong until a run makes no more of them. A failing
  /// run ends in one of `codes`, and another one in the reference's bytes.
  void every_fault(const std::string& name, const std::string& command,
                   const std::vector<Kind>& kinds, int step, const std::vector<int>& codes) {
    make_reference(command);
    if (HasFatalFailure()) return;
    for (const Kind& kind : kinds) {
      Count count;
      int n = 1;
      for (;; n += step) {
        ASSERT_LT(n, 2000000);
        fs::remove(log());
        fs::remove_all(folder_ / "o");
        std::vector<std::string> variables = fault(kind.operation, n, kind.action);
        if (!kind.variable.empty()) variables.push_back(kind.variable);
        const Ended broken = run_with(command, variables);
        if (!dealt_out()) {
          EXPECT_EQ(broken.code, 0) << broken.error;
          break;
        }
        const std::string where =
            name + ": " + read_file(log()) + kind.action + ": " + broken.error + "\n";
        ++count.faults;
        ++(broken.code == 0 ? count.tolerated : count.failed);
        check_end(kind.action, broken, codes, where);
        if (fs::exists(folder_ / "o")) count.torn += torn_files(where);
        if (broken.code != 0) {
          const Ended again = run(command);
          EXPECT_EQ(again.code, 0) << where << again.error;
          count.torn += torn_files(where);
        }
        count.different += differing_files(where);
      }
      std::printf(
          "%-11s %-6s %-5s %4d faults up to call %d: %3d ended the run, %3d did not; "
          "%d torn, %d different\n",
          name.c_str(), kind.operation.c_str(), kind.action.c_str(), count.faults, n - step,
          count.failed, count.tolerated, count.torn, count.different);
      EXPECT_GT(count.faults, 0) << name << " " << kind.operation;
    }
  }

  static void check_end(const std::string& action, const Ended& broken,
                        const std::vector<int>& codes, const std::string& where) {
    if (action == "kill") {
      EXPECT_EQ(broken.code, 128 + SIGKILL) << where;
    } else if (action == "short") {
      EXPECT_EQ(broken.code, 0) << where;
    } else if (action == "term") {
      EXPECT_TRUE(broken.code == 130 || broken.code == 0) << where;
    } else if (broken.code != 0) {
      EXPECT_NE(std::find(codes.begin(), codes.end(), broken.code), codes.end())
          << broken.code << " " << where;
      EXPECT_EQ(std::count(broken.error.begin(), broken.error.end(), '\n'), 1) << where;
      // An external command says itself what went wrong with it, and so does a lack of memory.
      if (broken.code == 3 && std::stoi(action) != ENOMEM) {
        EXPECT_NE(broken.error.find(std::strerror(std::stoi(action))), std::string::npos) << where;
      }
    }
  }

  /// Kills `command` at `moments` moments drawn over its time, and starts it again.
  void kill_anywhere(const std::string& name, const std::string& command, int moments) {
    const auto begin = std::chrono::steady_clock::now();
    make_reference(command);
    if (HasFatalFailure()) return;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Random random(17);
    int killed = 0, different = 0, torn = 0;
    for (int i = 0; i < moments; ++i) {
      fs::remove_all(folder_ / "o");
      const double after = 0.02 + random.uniform() * seconds;
      const std::string where = name + ": killed after " + std::to_string(after) + " s\n";
      const Ended ended = run(command, "timeout -s KILL " + std::to_string(after));
      EXPECT_TRUE(ended.code == 128 + SIGKILL || ended.code == 0) << where << ended.error;
      killed += ended.code == 0 ? 0 : 1;
      if (fs::exists(folder_ / "o")) torn += torn_files(where);
      const Ended again = run(command);
      EXPECT_EQ(again.code, 0) << where << again.error;
      different += differing_files(where);
    }
    std::printf("%-11s killed %d times of %d; %d torn, %d different\n", name.c_str(), killed,
                moments, torn, different);
  }

  void SetUp() override {
    ASSERT_TRUE(::dlsym(RTLD_DEFAULT, "linex_read_fault")) << "LD_PRELOAD the shim, as ctest does";
    SmallRun::SetUp();
  }
  void TearDown() override {
    fs::remove(log());
    SmallRun::TearDown();
  }

  void write_network() const {
    const fs::path fixtures = LINEX_SOURCE_DIR "/tests/fixtures";
    fs::copy(fixtures / "clip/images", folder_ / "images");
    fs::copy_file(fixtures / "models/resnet_basic.pth", folder_ / "weights.pth");
  }
  void write_benchmark() const {
    write("b.ini",
          "[model]\nplugin = recorded\nactivations = A.npy\n[labeler]\nplugin = recorded\n"
          "concepts = P.npy\nnames = names.txt\n[run]\nlog-level = warning\nreport = none\n"
          "[network n]\nlayer = recorded\n[method one]\nsolver = linear\n"
          "solver.max_length = 1\n[method le]\nsolver = linear\n");
  }

  const std::string explain_ = "explain " + with_report_ + "--run.out=o --run.report=plain";
  // A network on images, so that shards of the activation store are written.
  const std::string activations_ =
      "activations --data.root=images --model.plugin=resnet --model.weights=weights.pth "
      "--model.layer=layer2 --model.resize=32 --model.crop=32 --run.log-level=error --run.out=o";
  const std::string benchmark_ = "benchmark --config b.ini --run.out=o";
#ifdef LINEX_PYTHON
  const std::string external_ =
      "explain " + recorded_ +
      "--run.out=o --solver.plugin=external --solver.command='" LINEX_PYTHON " " LINEX_SOURCE_DIR
      "/tests/fixtures/external/solver.py' --solver.fault=none";
#endif
};

const std::string kFull = std::to_string(ENOSPC), kBroken = std::to_string(EIO),
                  kMany = std::to_string(EMFILE), kMemory = std::to_string(ENOMEM);

std::vector<Faults::Kind> all_kinds() {
  return {{"write", kFull, ""},   {"write", "short", ""}, {"write", "kill", ""},
          {"fsync", kBroken, ""}, {"rename", kFull, ""},  {"open", kMany, ""},
          {"read", kBroken, ""},  {"mmap", kMemory, ""},  {"mkdir", kFull, ""},
          {"fsync", "term", ""}};
}

/// LINEX_FAULTS=all: every call instead of some, and a hundred kills of each command.
bool all_faults() {
  const char* wish = std::getenv("LINEX_FAULTS");
  return wish && std::string(wish) == "all";
}

TEST_F(Faults, EveryFailingCallEndsInOneLineAndTheNextStartInTheSameBytes) {
  every_fault("explain", explain_, all_kinds(), all_faults() ? 1 : 5, {3});
}

TEST_F(Faults, ActivationsAreRecordedWholeOrNotAtAll) {
  write_network();
  every_fault("activations", activations_, all_kinds(), all_faults() ? 1 : 19, {3});
}

TEST_F(Faults, ABenchmarkEndsInTheSameBytes) {
  write_benchmark();
  every_fault("benchmark", benchmark_, all_kinds(), all_faults() ? 1 : 61, {3});
}

TEST_F(Faults, AnExternalMethodEndsInTheSameBytes) {
#ifdef LINEX_PYTHON
  // The command's own calls fail, too: then it is the plugin that failed.
  every_fault("external", external_, all_kinds(), all_faults() ? 1 : 9, {3, 4});
#else
  GTEST_SKIP() << "no Python";
#endif
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(Faults, MemoryThatIsNotThereEndsInOneLine) {
  // What LibTorch cannot get it says in its own words, as a failure of the plugin that asked.
  const int step = all_faults() ? 1 : 41;
  write_network();
  every_fault("explain", explain_, {{"malloc", kMemory, "LINEX_FAULT_LEAST=4096"}}, step, {3, 4});
  every_fault("activations", activations_, {{"malloc", kMemory, "LINEX_FAULT_LEAST=65536"}}, step,
              {3, 4});
}
#endif

TEST_F(Faults, KilledAtAnyMoment) {
  const int moments = all_faults() ? 100 : 2;
  kill_anywhere("explain", explain_, moments);
  write_network();
  kill_anywhere("activations", activations_, moments);
  write_benchmark();
  kill_anywhere("benchmark", benchmark_, moments);
#ifdef LINEX_PYTHON
  kill_anywhere("external", external_, moments);
#endif
}

/// A disk full for good, not for one call.
TEST_F(Faults, AJournalOnAFullDiskNamesTheCause) {
  try {
    append_durably("/dev/full", "text");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot write /dev/full: No space left on device");
  }
}

TEST_F(Faults, StandardOutputThatTakesNothingIsAnError) {
  for (const std::string& command :
       {explain_, std::string("list"), std::string("list --json"), std::string("--help"),
        std::string("--version"), std::string("inspect solver/linear"),
        std::string("explain --help")}) {
    const Ended full = run(command, "", ">/dev/full");
    EXPECT_EQ(full.code, 3) << command;
    EXPECT_EQ(full.error, "linex: standard output: No space left on device\n") << command;
    const Ended closed = run(command, "", ">&-");
    EXPECT_EQ(closed.code, 3) << command;
    EXPECT_EQ(closed.error, "linex: standard output: Bad file descriptor\n") << command;
  }
  EXPECT_TRUE(fs::exists(folder_ / "o/explanations.csv"));
  // Nothing that was printed went into a file of the run.
  EXPECT_EQ(read_file(folder_ / "o/run.ini").find("written to"), std::string::npos);
  EXPECT_EQ(explanations("o").find("written to"), std::string::npos);
  EXPECT_EQ(run(explain_, "", ">stdout.txt 2>&-").code, 0) << "nobody has to listen to messages";
  EXPECT_EQ(run(explain_, "", ">stdout.txt <&-").code, 0);
}

TEST_F(Faults, AFolderThatCannotBeMadeIsNamedByItsOption) {
  write("file", "");
  const auto into = [&](const std::string& out) {
    return "explain " + recorded_ + "--run.out=" + out;
  };
  expect_error(into("file"), 3, "run.out: cannot make the folder file");
  expect_error(into("file/x"), 3, "run.out: cannot make the folder file/x");
  expect_error(explain_ + " --run.cache=file/x", 3, "run.cache: cannot make the folder file/x");
  fs::create_directories(folder_ / "o/explanations.csv/x");
  expect_error(explain_, 3, "o/explanations.csv: Is a directory");
  if (::geteuid() == 0) return;  // may write anywhere
  fs::create_directories(folder_ / "readonly");
  ::chmod((folder_ / "readonly").c_str(), 0555);
  expect_error(into("readonly"), 3, "readonly: Permission denied");
  expect_error(into("readonly/o"), 3, "run.out: cannot make the folder readonly/o");
}

TEST_F(Faults, ASecondRunIsRefusedAndAKilledOneIsNot) {
  fs::create_directories(folder_ / "o");
  const int fd = ::open((folder_ / "o/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::write(fd, "process 77 on elsewhere\n", 24), 24);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  for (const std::string& command : {explain_, "activations " + recorded_ + "--run.out=o",
                                     "concepts " + recorded_ + "--run.out=o"})
    expect_error(command, 3, "run.out o is in use by process 77 on elsewhere; wait for its end");
  EXPECT_FALSE(fs::exists(folder_ / "o/run.ini")) << "nothing was written";
  ::close(fd);  // as a killed process does; the file stays
  const Ended free = run(explain_);
  EXPECT_EQ(free.code, 0) << free.error;
  EXPECT_FALSE(fs::exists(folder_ / "o/.lock"));
}

TEST_F(Faults, TwoRealRunsAtOnce) {
  // The first is stopped inside its first write into run.out and so holds the lock.
  const auto presence = torch::rand({1500, 300});
  write_npy(folder_ / "bigP.npy", presence);
  write_npy(folder_ / "bigA.npy",
            presence.matmul(torch::rand({300, 6000}).pow(40)) + 0.1 * torch::randn({1500, 6000}));
  const std::string big =
      "explain --model.plugin=recorded --model.activations=bigA.npy --labeler.plugin=recorded "
      "--labeler.concepts=bigP.npy --run.report=none --run.log-level=error --run.out=big";
  const std::string command = "cd '" + folder_.string() + "' && exec '" LINEX_BINARY "' " + big +
                              " >/dev/null 2>&1 & echo $!";
  std::FILE* shell = ::popen(command.c_str(), "r");
  int pid = 0;
  ASSERT_EQ(std::fscanf(shell, "%d", &pid), 1);
  for (int i = 0; i < 600 && !fs::exists(folder_ / "big/run.ini"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Ended second = run(big);
  // Ended first on a fast machine: then there is nothing to refuse.
  if (::kill(pid, 0) == 0) {
    EXPECT_EQ(second.code, 3) << second.error;
    EXPECT_NE(second.error.find("in use by process " + std::to_string(pid) + " on "),
              std::string::npos)
        << second.error;
  }
  ::kill(pid, SIGTERM);
  ::pclose(shell);
  for (int i = 0; i < 600 && ::kill(pid, 0) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Ended third = run(big + " --run.units=0:4");
  EXPECT_EQ(third.code, 0) << third.error;
}

}  // namespace
}  // namespace linex
