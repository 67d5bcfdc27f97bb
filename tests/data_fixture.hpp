// A folder to write data sets into, and what tests of them share.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <utility>
#include <vector>

#include "folder_test.hpp"
#include "linex/error.hpp"
#include "toolkit/data/dataset.hpp"

namespace linex::test {

namespace fs = std::filesystem;

struct Lines : Logger {
  void write(LogLevel level, std::string_view message) override {
    (level == LogLevel::warning ? warnings : told).emplace_back(message);
  }
  std::vector<std::string> warnings, told;
};

class DataTest : public FolderTest {
 protected:
  void SetUp() override {
    options_.threads = 2;
    options_.log = &log_;
  }

  /// A PNG of one colour.
  fs::path paint(const fs::path& name, int grey, int height = 8, int width = 8) {
    fs::create_directories((folder_ / name).parent_path());
    cv::imwrite((folder_ / name).string(),
                cv::Mat(height, width, CV_8UC3, cv::Scalar(grey, grey, grey)));
    return folder_ / name;
  }
  std::shared_ptr<DataSet> open(const fs::path& root, const std::string& kind = "image_folder",
                                bool skip = false) {
    options_.kind = kind;
    options_.root = root;
    options_.skip_unreadable = skip;
    return open_data_set(options_);
  }

  Lines log_;
  DataOptions options_;
};

/// What of Error, in one line; "no error" where there was none.
inline std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

inline std::vector<std::string> names_of(const DataSet& data) {
  std::vector<std::string> names;
  for (std::int64_t row = 0; row < data.size(); ++row) names.push_back(data.name(row));
  return names;
}

}  // namespace linex::test
