// Files and processes for tests of plugins.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "run_command.hpp"

namespace linex {

/// A plugin of tests/fixtures/bad_plugins.cpp as it was built.
inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(LINEX_FIXTURE_DIR) / (name + ".so");
}

/// A fresh folder that only this user may write to, whatever the umask.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::filesystem::path(LINEX_TEST_DIR) / "plugin_files" / name) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
    ::chmod(path_.c_str(), 0755);
  }
  const std::filesystem::path& path() const { return path_; }

  /// A copy of a fixture under its own or another name.
  std::filesystem::path add(const std::string& name, const std::string& as = "") const {
    const std::filesystem::path file = path_ / (as.empty() ? name + ".so" : as);
    std::filesystem::create_directories(file.parent_path());
    ::chmod(file.parent_path().c_str(), 0755);
    std::filesystem::copy_file(fixture(name), file);
    ::chmod(file.c_str(), 0755);
    return file;
  }
  std::filesystem::path write(const std::string& name, const std::string& content) const {
    std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary) << content;
    ::chmod(file.c_str(), 0755);
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace linex
