// bin/linex: what it says itself, and what it hands over.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "folder_test.hpp"
#include "run_command.hpp"
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
  const Output output = run_command(environment + " OPENBLAS_VERBOSE=2 " + kLinex + "list 2>&1");
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

}  // namespace
}  // namespace linex
