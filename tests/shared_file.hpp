// Real data and golden files, where this machine has them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace linex {

/// `name` in the folder that LINEX_SHARED names; empty where that is not set or has no such file,
/// and there is nothing to compare with.
inline std::filesystem::path shared_file(const std::string& name) {
  const char* folder = std::getenv("LINEX_SHARED");
  if (!folder) return {};
  const std::filesystem::path path = std::filesystem::absolute(folder) / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

}  // namespace linex
