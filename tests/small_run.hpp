// A folder with small recorded matrices of known truth, and the linex binary run in it.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "folder_test.hpp"
#include "run_linex.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {

struct Ended {
  int code;
  std::string out, error;
};

class SmallRun : public FolderTest {
 protected:
  static constexpr std::int64_t kRows = 60, kConcepts = 5, kUnits = 3;

  void SetUp() override {
    torch::manual_seed(5);
    const auto presence = (torch::rand({kRows, kConcepts}) < 0.4).to(torch::kFloat32);
    auto activations = 0.05 * torch::randn({kRows, kUnits});
    for (std::int64_t unit = 0; unit < kUnits; ++unit)
      activations.select(1, unit) += 2 * presence.select(1, unit) + presence.select(1, unit + 1);
    write_npy(folder_ / "A.npy", activations);
    write_npy(folder_ / "P.npy", presence);
    write("names.txt", "red\ngreen\nblue\nround\nsquare\n");
  }

  /// `environment` stands before the binary, `redirections` after the arguments.
  Ended run(const std::string& arguments, const std::string& environment = "",
            const std::string& redirections = ">stdout.txt", const std::string& from = "") const {
    if (environment.empty() && redirections == ">stdout.txt" && from.empty())
      return run_with(arguments, {});
    const std::string command = "cd '" + (from.empty() ? folder_.string() : from) + "' && " +
                                environment + " '" LINEX_BINARY "' " + arguments +
                                " </dev/null 2>'" + folder_.string() + "/stderr.txt' " +
                                redirections;
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text("stdout.txt"),
            text("stderr.txt")};
  }

  /// `variables`: "NAME=value" each.
  Ended run_with(const std::string& arguments, const std::vector<std::string>& variables) const {
    const int code = run_linex(folder_, arguments, "stdout.txt", "stderr.txt", variables);
    return {code, text("stdout.txt"), text("stderr.txt")};
  }

  std::string text(const char* name) const {
    const std::filesystem::path file = folder_ / name;
    return std::filesystem::exists(file) ? read_file(file) : std::string();
  }

  /// Must end in `code` with one line on standard error that holds `part`.
  void expect_error(const std::string& arguments, int code, const std::string& part) const {
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.code, code) << arguments << "\n" << ended.error;
    EXPECT_NE(ended.error.find(part), std::string::npos) << arguments << "\n" << ended.error;
    EXPECT_EQ(std::count(ended.error.begin(), ended.error.end(), '\n'), 1) << ended.error;
  }

  std::string explanations(const std::string& out) const {
    return read_file(folder_ / out / "explanations.csv");
  }

  const std::string with_report_ =
      "--model.plugin=recorded --model.activations=A.npy --labeler.plugin=recorded "
      "--labeler.concepts=P.npy --labeler.names=names.txt --run.log-level=warning ";
  const std::string recorded_ = with_report_ + "--run.report=none ";
};

}  // namespace linex
