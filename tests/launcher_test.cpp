// bin/linex: what it says itself, and what it hands over.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "folder_test.hpp"
#include "run_command.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

const std::string kLinex = "'" LINEX_BINARY "' ";

TEST(Launcher, AnswersAtOnceWhatNeedsNoLibrary) {
  for (const char* word : {"--version", "--help"}) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const Output output = run_command(kLinex + word);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::min(best, seconds.count());
      EXPECT_EQ(output.code, 0);
      EXPECT_EQ(output.text.rfind("linex ", 0), 0U) << output.text;
    }
    EXPECT_LT(best, 0.1) << word;
  }
}

TEST(Launcher, SaysTheSameAsTheProgram) {
  const fs::path program =
      fs::path(LINEX_BINARY).parent_path().parent_path() / LINEX_LIBDIR / "linex" / "linex-host";
  for (const char* word : {"--version", "--help", "-h", "help"})
    EXPECT_EQ(run_command(kLinex + word).text,
              run_command("'" + program.string() + "' " + word).text);
}

TEST(Launcher, AFullDiskIsNoSuccess) {
  for (const char* word : {"--version", "--help"}) {
    const Output output = run_command(kLinex + word + " 2>&1 >/dev/full");
    EXPECT_EQ(output.code, 3);
    EXPECT_NE(output.text.find("No space left on device"), std::string::npos) << output.text;
  }
}

TEST(Launcher, AMissingProgramIsNamed) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "bin");
  fs::copy_file(LINEX_BINARY, folder.path() / "bin/linex");
  const Output output = run_command("'" + (folder.path() / "bin/linex").string() + "' list 2>&1");
  EXPECT_EQ(output.code, 4);
  EXPECT_NE(output.text.find("linex-host cannot be started (No such file"), std::string::npos)
      << output.text;
}

/// Kernels of OpenBLAS as a process told of them last; "" where there is another BLAS.
std::string kernels(const std::string& environment) {
  // In its cache nothing can be kept: the program itself has to answer.
  const Output output = run_command(environment + " OPENBLAS_VERBOSE=2 XDG_CACHE_HOME=/dev/null " +
                                    kLinex + "list 2>&1");
  EXPECT_EQ(output.code, 0) << output.text;
  std::string core;
  for (const std::string& line : split_lines(output.text))
    if (line.rfind("Core: ", 0) == 0) core = line.substr(6);
  return core;
}

TEST(Launcher, ChoosesKernelsThatTheProcessorHas) {
  const std::string chosen = kernels("");
  if (chosen.empty()) GTEST_SKIP() << "no OpenBLAS";
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no AVX2";
  for (const char* old : {"Generic", "Prescott", "Core2", "Nehalem", "Sandybridge"})
    EXPECT_NE(chosen, old);
  EXPECT_EQ(kernels("OPENBLAS_CORETYPE=Nehalem"), "Nehalem");  // who asked for others gets them
}

/// What was asked before. The loader says in files of its own whether the program was started.
class KeptAnswer : public FolderTest {
 protected:
  Output ask(const std::string& words, const std::string& environment = "") const {
    return run_command("XDG_CACHE_HOME='" + cache_.string() + "' " + environment +
                       " LD_DEBUG=files LD_DEBUG_OUTPUT='" + (folder_ / "loads").string() + "' " +
                       kLinex + words + " 2>&1");
  }
  /// Whether LibTorch was loaded since the last call of this.
  bool program_ran() const {
    bool ran = false;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename().string().rfind("loads", 0) != 0) continue;
      ran = ran || read_file(entry.path()).find("libtorch_cpu") != std::string::npos;
      fs::remove(entry.path());
    }
    return ran;
  }
  std::vector<fs::path> kept() const {
    std::vector<fs::path> files;
    if (fs::exists(cache_ / "linex/answers"))
      for (const auto& entry : fs::directory_iterator(cache_ / "linex/answers"))
        files.push_back(entry.path());
    return files;
  }

  const fs::path cache_ = folder_ / "cache";
  const fs::path plugin_ = fs::path(LINEX_PLUGIN_DIR) / "solvers/linex_solver_linear.so";
};

TEST_F(KeptAnswer, IsTheSameAndComesAtOnce) {
  for (const char* words :
       {"list", "inspect solver/linear", "inspect --markdown", "explain --help"}) {
    const Output first = ask(words);
    EXPECT_EQ(first.code, 0) << first.text;
    EXPECT_TRUE(program_ran()) << words;
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const Output again = ask(words);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::min(best, seconds.count());
      EXPECT_EQ(again.code, 0);
      EXPECT_EQ(again.text, first.text) << words;
    }
    EXPECT_FALSE(program_ran()) << words;
    EXPECT_LT(best, 0.1) << words;
  }
  EXPECT_EQ(kept().size(), 4U);
  const Output full =
      run_command("XDG_CACHE_HOME='" + cache_.string() + "' " + kLinex + "list 2>&1 >/dev/full");
  EXPECT_EQ(full.code, 3) << full.text;
}

TEST_F(KeptAnswer, EndsWithTheFilesItWasReadFrom) {
  const fs::path plugins = folder_ / "plugins", copy = plugins / "again.so";
  fs::create_directories(plugins);
  fs::permissions(plugins, fs::perms(0755));
  fs::copy_file(plugin_, copy);
  // An answer about files that have changed just now is not kept.
  const auto settle = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3100)); };
  const std::string path = "LINEX_PLUGIN_PATH='" + plugins.string() + "'";
  ask("list", path);
  EXPECT_TRUE(kept().empty());
  settle();
  program_ran();
  const std::string twice = ask("list", path).text;  // the same key in two files
  EXPECT_NE(twice.find("duplicate: solver/linear"), std::string::npos) << twice;
  EXPECT_TRUE(program_ran());
  EXPECT_EQ(ask("list", path).text, twice);
  EXPECT_FALSE(program_ran());
  // Asked of other plugins, or by another loader, it is another question.
  EXPECT_EQ(ask("list").text.find("duplicate"), std::string::npos);
  EXPECT_TRUE(program_ran());
  EXPECT_EQ(ask("list", path).text, twice);
  program_ran();
  fs::permissions(plugins, fs::perms(0775));
  ask("list", path);  // others may write there now
  EXPECT_TRUE(program_ran());
  fs::permissions(plugins, fs::perms(0755));
  fs::remove(copy);
  EXPECT_EQ(ask("list", path).text.find("cannot be used"), std::string::npos);
  // A file that comes, in a folder that was not there.
  settle();
  ask("list", path);
  program_ran();
  ask("list", path);
  EXPECT_FALSE(program_ran());
  fs::create_directory(plugins / "solvers");
  fs::copy_file(plugin_, plugins / "solvers/another.so");
  EXPECT_NE(ask("list", path).text.find("duplicate"), std::string::npos);
}

TEST_F(KeptAnswer, IsNotTakenFromAnybodyElse) {
  const std::string first = ask("list").text;
  ASSERT_EQ(kept().size(), 1U);
  const fs::path file = kept().front();
  const std::string content = read_file(file);
  const auto put = [&](const std::string& text) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
  };
  // One that others may write to, one that is a link, one that is cut off, one that is none.
  fs::permissions(file, fs::perms(0666));
  EXPECT_EQ(ask("list").text, first);
  EXPECT_TRUE(program_ran());
  EXPECT_EQ(fs::status(file).permissions(), fs::perms(0600));  // and was written anew
  for (const std::string& text :
       {content.substr(0, content.size() - 10), content + "more", std::string("\0\n", 2)}) {
    put(text);
    EXPECT_EQ(ask("list").text, first);
    EXPECT_TRUE(program_ran());
  }
  fs::rename(file, folder_ / "elsewhere");
  fs::create_symlink(folder_ / "elsewhere", file);
  EXPECT_EQ(ask("list").text, first);
  EXPECT_TRUE(program_ran());
  // Where nothing can be kept it is answered all the same.
  const Output none = run_command("XDG_CACHE_HOME=/proc/none " + kLinex + "list 2>&1");
  EXPECT_EQ(none.code, 0);
  EXPECT_EQ(none.text, first);
}

TEST_F(KeptAnswer, IsNoErrorAndNoQuestionAboutAFileOfOnesOwn) {
  const std::string file = plugin_.string();
  for (const std::string& words :
       {std::string("inspect solver/none"), std::string("inspect solver"), "list --plugin=" + file,
        "list --plugin " + file}) {
    ask(words);
    EXPECT_TRUE(kept().empty()) << words;
  }
  ask("list", "LINEX_PLUGIN_PATH=relative");
  EXPECT_TRUE(kept().empty());
}

}  // namespace
}  // namespace linex
