#include "toolkit/base/library_folder.hpp"

#include <dlfcn.h>

namespace linex {

namespace {
// An object of this library: the address of a function could be that of its caller's stub.
constexpr char kHere = 0;
}  // namespace

std::filesystem::path library_folder() {
  Dl_info self{};
  if (!::dladdr(&kHere, &self) || !self.dli_fname) return {};
  return std::filesystem::canonical(self.dli_fname).parent_path();
}

}  // namespace linex
