#include "core/plugin/plugin_note.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>

#include "linex/abi_tag.hpp"
#include "linex/error.hpp"
#include "linex/option.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace fs = std::filesystem;
namespace {

#if defined(__x86_64__)
constexpr std::uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t kMachine = EM_AARCH64;
#else
#error "plugin notes are read on x86-64 and AArch64"
#endif
constexpr std::uint64_t kMaxNames = 1 << 20;  ///< bytes of section names worth reading

Error note_error(const fs::path& file, const std::string& why) {
  return Error(ErrorKind::plugin, file.string() + ": " + why);
}

/// Reads by offset; anything outside the file is an error.
class BoundedFile {
 public:
  explicit BoundedFile(const fs::path& path) : path_(path) {
    // O_NONBLOCK: opening a named pipe must not wait for a writer.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) throw note_error(path, std::strerror(errno));
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(descriptor_);
      throw note_error(path, "not a regular file");
    }
    size_ = static_cast<std::uint64_t>(info.st_size);
  }
  ~BoundedFile() { ::close(descriptor_); }
  BoundedFile(const BoundedFile&) = delete;
  BoundedFile& operator=(const BoundedFile&) = delete;

  void read(std::uint64_t offset, void* out, std::uint64_t count) const {
    if (offset > size_ || count > size_ - offset)
      throw note_error(path_, "truncated or damaged: a part of it lies beyond its end at " +
                                  std::to_string(size_) + " bytes; build or copy it again");
    auto* at = static_cast<char*>(out);
    while (count > 0) {
      const ssize_t got = ::pread(descriptor_, at, count, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw note_error(path_, "cannot be read");
      at += got;
      offset += static_cast<std::uint64_t>(got);
      count -= static_cast<std::uint64_t>(got);
    }
  }

 private:
  fs::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

std::vector<Elf64_Shdr> read_sections(const BoundedFile& in, const fs::path& file,
                                      std::uint16_t& names_index) {
  unsigned char magic[SELFMAG];
  in.read(0, magic, sizeof magic);
  if (std::memcmp(magic, ELFMAG, SELFMAG) != 0) throw note_error(file, "not a shared library");
  Elf64_Ehdr header{};
  in.read(0, &header, sizeof header);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_type != ET_DYN || header.e_machine != kMachine)
    throw note_error(file, "not a shared library for this machine");
  if (header.e_shnum == 0 || header.e_shentsize != sizeof(Elf64_Shdr) ||
      header.e_shstrndx >= header.e_shnum)
    throw note_error(file, "its section table is missing or malformed");
  names_index = header.e_shstrndx;
  std::vector<Elf64_Shdr> sections(header.e_shnum);  // 16 bits: at most 4 MB
  in.read(header.e_shoff, sections.data(), sections.size() * sizeof(Elf64_Shdr));
  return sections;
}

linex_plugin_note read_raw_note(const fs::path& file) {
  const BoundedFile in(file);
  std::uint16_t names_index = 0;
  const std::vector<Elf64_Shdr> sections = read_sections(in, file, names_index);
  const Elf64_Shdr& names = sections[names_index];
  if (names.sh_type != SHT_STRTAB || names.sh_size == 0 || names.sh_size > kMaxNames)
    throw note_error(file, "its section names are malformed");
  std::string text(names.sh_size, '\0');
  in.read(names.sh_offset, text.data(), text.size());

  const std::string_view wanted(LINEX_PLUGIN_SECTION, sizeof LINEX_PLUGIN_SECTION);  // with its NUL
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_PROGBITS || section.sh_name >= text.size()) continue;
    if (std::string_view(text).substr(section.sh_name, wanted.size()) != wanted) continue;
    linex_plugin_note note{};
    if (section.sh_size != sizeof note)
      throw note_error(file, "its note has " + std::to_string(section.sh_size) +
                                 " bytes instead of " + std::to_string(sizeof note) +
                                 "; a file holds one plugin");
    in.read(section.sh_offset, &note, sizeof note);
    return note;
  }
  throw note_error(file, "not a linex plugin (no " LINEX_PLUGIN_SECTION " section)");
}

/// The text of a field. Notes are printed on terminals: no control characters get through.
template <std::size_t N>
std::string field_text(const fs::path& file, const char (&field)[N], const char* what) {
  const void* end = std::memchr(field, 0, N);
  if (!end) throw note_error(file, std::string("the ") + what + " in its note is not closed");
  std::string text(field, static_cast<const char*>(end));
  for (const char c : text)
    if (c < ' ' || c > '~')
      throw note_error(file, std::string("the ") + what + " in its note is not printable ASCII");
  return text;
}

std::map<std::string, std::string> tag_fields(const std::string& tag) {
  std::map<std::string, std::string> fields;
  for (const std::string& field : split(tag, ' '))
    if (!field.empty()) fields[field.substr(0, field.find('='))] = field;
  return fields;
}

std::uint32_t host_revision(PluginKind kind) {
  switch (kind) {
    case PluginKind::model:
      return LINEX_MODEL_REVISION;
    case PluginKind::labeler:
      return LINEX_LABELER_REVISION;
    case PluginKind::solver:
      return LINEX_SOLVER_REVISION;
    case PluginKind::evaluator:
      return LINEX_EVALUATOR_REVISION;
  }
  return 0;
}

}  // namespace

const char* to_string(PluginKind kind) noexcept {
  static const char* const kWords[] = {"model", "labeler", "solver", "evaluator"};
  return kWords[static_cast<int>(kind)];
}

PluginKind plugin_kind_from_string(const std::string& word) {
  std::vector<std::string> words;
  for (const PluginKind kind : kPluginKinds) {
    words.emplace_back(to_string(kind));
    if (word == words.back()) return kind;
  }
  throw usage_error("'" + word + "' is not a kind of plugin (model, labeler, solver, evaluator)" +
                    did_you_mean(word, words));
}

PluginNote read_plugin_note(const fs::path& file) {
  PluginNote note;
  note.raw = read_raw_note(file);
  if (std::memcmp(note.raw.magic, LINEX_PLUGIN_MAGIC, sizeof note.raw.magic) != 0 ||
      note.raw.struct_size != sizeof note.raw)
    throw note_error(file, "its note has a wrong magic or size: not made with this SDK");
  const std::string kind = field_text(file, note.raw.kind, "kind");
  note.name = field_text(file, note.raw.name, "name");
  note.version = field_text(file, note.raw.version, "version");
  note.summary = field_text(file, note.raw.summary, "summary");
  note.license = field_text(file, note.raw.license, "license");
  note.abi_tag = field_text(file, note.raw.abi_tag, "ABI tag");
  bool known = false;
  for (const PluginKind candidate : kPluginKinds) {
    if (kind != to_string(candidate)) continue;
    note.kind = candidate;
    known = true;
  }
  if (!known) throw note_error(file, "unknown kind of plugin '" + kind + "'");
  if (!option::detail::is_lower_snake(note.name.c_str()))
    throw note_error(file, "its name '" + note.name + "' is not [a-z][a-z0-9_]*");
  return note;
}

std::string abi_difference(const std::string& plugin_tag, const std::string& host_tag) {
  if (plugin_tag == host_tag) return "";
  const auto ours = tag_fields(host_tag);
  auto theirs = tag_fields(plugin_tag);
  std::vector<std::string> differences;
  for (const auto& [name, field] : ours) {
    const auto found = theirs.find(name);
    const std::string other = found == theirs.end() ? name + " not stated" : found->second;
    if (other != field) differences.push_back(other + " (host: " + field + ")");
    if (found != theirs.end()) theirs.erase(found);
  }
  for (const auto& [name, field] : theirs) differences.push_back(field + " (host: not stated)");
  return differences.empty() ? "the tags' order differs" : join(differences, ", ");
}

std::string toolkit_text(std::uint32_t version) {
  if (version == 0) return "not used";
  return std::to_string(version >> 16) + "." + std::to_string(version & 0xffff);
}

bool toolkit_fits(std::uint32_t plugin, std::uint32_t host) {
  if (plugin == 0) return true;
  const std::uint32_t major = host >> 16;
  if (plugin >> 16 != major) return false;
  // Semantic versioning: before 1.0 a minor version may change anything.
  return major == 0 ? plugin == host : plugin <= host;
}

std::string incompatibility(const PluginNote& note) {
  static const char* const kRemedy = "; rebuild it with this linex";
  const linex_plugin_note& raw = note.raw;
  const auto version = [](std::uint32_t major, std::uint32_t minor) {
    return std::to_string(major) + "." + std::to_string(minor);
  };
  if (raw.api_major != LINEX_API_MAJOR || raw.api_minor > LINEX_API_MINOR)
    return "built for plugin API " + version(raw.api_major, raw.api_minor) +
           " (host: " + version(LINEX_API_MAJOR, LINEX_API_MINOR) + ")" + kRemedy;
  if (!toolkit_fits(raw.toolkit_version, LINEX_TOOLKIT_VERSION))
    return "built with toolkit " + toolkit_text(raw.toolkit_version) +
           " (host: " + toolkit_text(LINEX_TOOLKIT_VERSION) + ")" + kRemedy;
  if (raw.abi_kind != LINEX_ABI_KIND_CXX)
    return "ABI kind " + std::to_string(raw.abi_kind) + " (host: 0)" + kRemedy;
  const std::uint32_t revision = host_revision(note.kind);
  if (raw.interface_revision != revision)
    return std::string(to_string(note.kind)) + " interface revision " +
           std::to_string(raw.interface_revision) + " (host: " + std::to_string(revision) + ")" +
           kRemedy;
  const std::string difference = abi_difference(note.abi_tag, kAbiTag);
  return difference.empty() ? "" : "ABI does not match: " + difference + kRemedy;
}

}  // namespace linex
