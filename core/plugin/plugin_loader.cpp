#include "core/plugin/plugin_loader.hpp"

#include <sys/stat.h>
#include <unistd.h>

// Boost.DLL then needs no Boost library.
#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/plugin/plugin_guard.hpp"
#include "linex/error.hpp"
#include "linex/option.hpp"

namespace linex {
namespace fs = std::filesystem;
namespace {

constexpr std::uint32_t kMaxOptions = 256;

Error load_error(const fs::path& file, const std::string& why) {
  return Error(ErrorKind::plugin, file.string() + ": " + why);
}

/// Keeps a library for the life of the process: the list is never destroyed.
void pin(boost::dll::shared_library library) {
  static std::mutex lock;
  static auto* const pinned = new std::vector<boost::dll::shared_library>;
  const std::lock_guard<std::mutex> hold(lock);
  pinned->push_back(std::move(library));
}

void check_owner(const fs::path& path, const fs::path& file, const char* what) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) throw load_error(file, std::strerror(errno));
  if (info.st_uid != 0 && info.st_uid != ::geteuid())
    throw load_error(file, std::string("not trusted: ") + what + " belongs to another user (uid " +
                               std::to_string(info.st_uid) + "); chown it to yours or root");
  if (info.st_mode & (S_IWGRP | S_IWOTH))
    throw load_error(file, std::string("not trusted: others may write to ") + what +
                               "; chmod go-w " + path.string());
}

}  // namespace

void check_plugin_trust(const fs::path& file) {
  // The real file: a link in a safe folder may point into an unsafe one.
  std::error_code failure;
  const fs::path real = fs::canonical(file, failure);
  if (failure) throw load_error(file, failure.message());
  check_owner(real, file, "the file");
  check_owner(real.parent_path(), file, "its folder");
}

const linex_plugin_descriptor& load_plugin(const fs::path& file, const PluginNote& note) {
  check_plugin_trust(file);
  const std::string why = incompatibility(note);
  if (!why.empty()) throw load_error(file, why);

  boost::dll::shared_library library;
  const std::string key = note.key();
  try {
    const PluginCall running(key, "load");  // constructors of its library
    // All symbols now: a missing one must not end the process hours later. Never global (plugins
    // would see each other's symbols), never by a bare name (the loader would search for it).
    library.load(fs::canonical(file), boost::dll::load_mode::rtld_now);
  } catch (const std::exception& failure) {
    throw load_error(file, "cannot be loaded: " + one_line(failure.what()));
  }
  if (!library.has(LINEX_PLUGIN_SYMBOL))
    throw load_error(file, "does not export " LINEX_PLUGIN_SYMBOL);
  const auto& descriptor = library.get<const linex_plugin_descriptor>(LINEX_PLUGIN_SYMBOL);
  pin(std::move(library));

  if (descriptor.struct_size != sizeof descriptor || !descriptor.note || !descriptor.create ||
      !descriptor.destroy || descriptor.option_count > kMaxOptions ||
      (descriptor.option_count > 0 && !descriptor.options))
    throw load_error(file, "its descriptor is malformed");
  if (std::memcmp(descriptor.note, &note.raw, sizeof note.raw) != 0)
    throw load_error(file, "its descriptor does not belong to the note in the file");
  if (const char* flaw = option::flaw(descriptor.options, descriptor.option_count))
    throw load_error(file, std::string("its options are badly declared: ") + flaw);
  return descriptor;
}

}  // namespace linex
