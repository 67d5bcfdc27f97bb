#include "core/plugin/mapped_files.hpp"

#include <link.h>

#include <system_error>

namespace linex {

std::vector<std::filesystem::path> mapped_files() {
  // What ldconfig writes: a package that brings or takes a library away changes it.
  std::vector<std::filesystem::path> files{"/etc/ld.so.cache"};
  std::error_code failed;
  files.push_back(std::filesystem::read_symlink("/proc/self/exe", failed));
  const auto add = [](dl_phdr_info* library, std::size_t, void* all) {
    // The program itself and the kernel's part have no path.
    if (library->dlpi_name && *library->dlpi_name == '/')
      static_cast<decltype(files)*>(all)->emplace_back(library->dlpi_name);
    return 0;
  };
  ::dl_iterate_phdr(add, &files);
  return files;
}

}  // namespace linex
