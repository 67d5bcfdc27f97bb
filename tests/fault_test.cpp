// Runs whose disk fails: every n-th call of a kind goes wrong, and the run is started again.
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/run/journal.hpp"
#include "linex/error.hpp"
#include "small_run.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

class Faults : public SmallRun {
 protected:
  struct Count {
    int faults = 0, failed = 0, tolerated = 0, torn = 0, different = 0;
  };

  /// Environment that lets the n-th call go wrong; the shim's log is in fault.log.
  std::string fault(const std::string& operation, int n, const std::string& action) const {
#ifdef __SANITIZE_ADDRESS__
    // The shim comes before the sanitizer's runtime, on purpose.
    const std::string sanitizer = "ASAN_OPTIONS=\"$ASAN_OPTIONS:verify_asan_link_order=0\" ";
#else
    const std::string sanitizer;
#endif
    return sanitizer + "LD_PRELOAD='" LINEX_FAULT_SHIM "' LINEX_FAULT=" + operation + ":" +
           std::to_string(n) + ":" + action + " LINEX_FAULT_ROOT='" + folder_.string() +
           "' LINEX_FAULT_LOG='" + log().string() + "'";
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
      // It holds times.
      const bool whole = name == "summary.json"
                             ? nlohmann::json::accept(content)
                             : content == read_file(folder_ / "reference" / name);
      EXPECT_TRUE(whole) << where << name;
      torn += whole ? 0 : 1;
    }
    return torn;
  }

  bool same_explanations(const std::string& where) const {
    EXPECT_EQ(explanations("o"), explanations("reference")) << where;
    return explanations("o") == explanations("reference");
  }

  void TearDown() override {
    fs::remove(log());
    SmallRun::TearDown();
  }

  const std::string explain_ = "explain " + with_report_ + "--run.out=o --run.report=plain";
};

TEST_F(Faults, EveryFailingCallEndsInOneLineAndTheNextStartInTheSameBytes) {
  ASSERT_EQ(run(explain_).code, 0);
  fs::rename(folder_ / "o", folder_ / "reference");
  const std::string full = std::to_string(ENOSPC), broken = std::to_string(EIO),
                    many = std::to_string(EMFILE), memory = std::to_string(ENOMEM);
  const std::vector<std::array<std::string, 2>> kinds{
      {"write", full}, {"write", "short"}, {"write", "kill"}, {"fsync", broken}, {"rename", full},
      {"open", many},  {"read", broken},   {"mmap", memory},  {"mkdir", full},   {"fsync", "term"}};
  for (const auto& [operation, action] : kinds) {
    Count count;
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 500);
      fs::remove(log());
      fs::remove_all(folder_ / "o");
      const Ended broken_run = run(explain_, fault(operation, n, action));
      if (!dealt_out()) {
        EXPECT_EQ(broken_run.code, 0) << broken_run.error;
        break;
      }
      const std::string where = read_file(log()) + action + ": " + broken_run.error + "\n";
      ++count.faults;
      ++(broken_run.code == 0 ? count.tolerated : count.failed);
      if (action == "kill") {
        EXPECT_EQ(broken_run.code, 128 + SIGKILL) << where;
      } else if (action == "short") {
        EXPECT_EQ(broken_run.code, 0) << where;
      } else if (action == "term") {
        EXPECT_TRUE(broken_run.code == 130 || broken_run.code == 0) << where;
      } else if (broken_run.code != 0) {
        EXPECT_EQ(broken_run.code, 3) << where;
        EXPECT_EQ(std::count(broken_run.error.begin(), broken_run.error.end(), '\n'), 1) << where;
        EXPECT_NE(broken_run.error.find(std::strerror(std::stoi(action))), std::string::npos)
            << where;
      }
      if (fs::exists(folder_ / "o")) count.torn += torn_files(where);
      if (broken_run.code == 0) {
        count.different += same_explanations(where) ? 0 : 1;
        continue;
      }
      const Ended again = run(explain_);
      EXPECT_EQ(again.code, 0) << where << again.error;
      count.torn += torn_files(where);
      count.different += same_explanations(where) ? 0 : 1;
      for (const auto& file : fs::directory_iterator(folder_ / "o"))
        EXPECT_EQ(file.path().string().find(".tmp"), std::string::npos) << where << file.path();
    }
    std::printf("%-6s %-5s %3d faults: %3d ended the run, %3d did not; %d torn, %d different\n",
                operation.c_str(), action.c_str(), count.faults, count.failed, count.tolerated,
                count.torn, count.different);
    EXPECT_GT(count.faults, 0) << operation;
  }
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
