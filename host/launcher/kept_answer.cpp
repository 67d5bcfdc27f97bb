#include "host/launcher/kept_answer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <iterator>
#include <set>

#include "core/cluster/launch.hpp"

extern "C" char** environ;

namespace linex {
namespace fs = std::filesystem;
namespace {

constexpr char kHead[] = "linex answer 1\n";
constexpr std::size_t kMost = 1 << 22;  ///< bytes of an answer's file
constexpr int kMostAnswers = 256;
constexpr std::time_t kSettled = 2;  ///< seconds; a clock's steps may hide a later change

/// "" where there is no folder of this user's to keep answers in.
fs::path answers_folder() {
  // secure_getenv: a privileged program does not write where its caller says.
  const char* const cache = ::secure_getenv("XDG_CACHE_HOME");
  const char* const home = ::secure_getenv("HOME");
  const bool chosen = cache && *cache == '/';
  if (!chosen && !(home && *home == '/')) return "";
  const fs::path root = chosen ? fs::path(cache) : fs::path(home) / ".cache";
  // As root in another user's home (sudo), files would be left there that he cannot remove.
  struct stat info {};
  fs::path there = root;
  while (::stat(there.c_str(), &info) != 0 && there.has_relative_path())
    there = there.parent_path();
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid()) return "";
  return root / "linex" / "answers";
}

std::string length_and(const std::string& text) { return std::to_string(text.size()) + " " + text; }

/// The command line and what else decides which files an answer is read from.
std::string question(const fs::path& program, const std::vector<std::string>& words) {
  std::string text = length_and(program.string());
  // A home may be shared between machines whose processors run different plugins.
  text += length_and(host_name());
  for (const std::string& word : words) text += length_and(word);
  std::set<std::string> variables;
  for (char** variable = environ; *variable; ++variable)
    if (std::strncmp(*variable, "LINEX_", 6) == 0 || std::strncmp(*variable, "LD_", 3) == 0)
      variables.insert(*variable);
  for (const std::string& variable : variables) text += length_and(variable);
  return text;
}

/// One file for each command line of each installation, whatever the environment.
fs::path file_of(const fs::path& folder, const fs::path& program,
                 const std::vector<std::string>& words) {
  std::uint64_t name = 14695981039346656037U;  // FNV-1a
  const auto add = [&](const std::string& text) {
    for (const char c : text + '\0') name = (name ^ static_cast<unsigned char>(c)) * 1099511628211U;
  };
  add(program.string());
  for (const std::string& word : words) add(word);
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(name));
  return folder / digits;
}

/// What tells one state of a file from another. `latest`: the last change seen so far.
std::string state_of(const fs::path& file, std::time_t& latest) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return "missing";
  latest = std::max({latest, info.st_mtim.tv_sec, info.st_ctim.tv_sec});
  std::string text;
  for (const auto number :
       {static_cast<long long>(info.st_dev), static_cast<long long>(info.st_ino),
        static_cast<long long>(info.st_size), static_cast<long long>(info.st_mtim.tv_sec),
        static_cast<long long>(info.st_mtim.tv_nsec), static_cast<long long>(info.st_ctim.tv_sec),
        static_cast<long long>(info.st_ctim.tv_nsec)})
    text += std::to_string(number) + ".";
  return text;
}

/// The content of a file that nobody but this user could have written; "" for any other.
std::string read_own_file(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return "";
  struct stat info {};
  std::string content;
  if (::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid() &&
      (info.st_mode & (S_IWGRP | S_IWOTH)) == 0 && info.st_size > 0 &&
      static_cast<std::size_t>(info.st_size) <= kMost) {
    content.resize(static_cast<std::size_t>(info.st_size));
    std::size_t done = 0;
    while (done < content.size()) {
      const ssize_t got = ::read(descriptor, &content[done], content.size() - done);
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    if (done != content.size()) content.clear();
  }
  ::close(descriptor);
  return content;
}

/// Goes over `start`; false where `text` does not go on so.
bool take(const std::string& text, std::size_t& at, const std::string& start) {
  if (text.compare(at, start.size(), start) != 0) return false;
  at += start.size();
  return true;
}

std::string take_line(const std::string& text, std::size_t& at) {
  const std::size_t end = text.find('\n', at);
  if (end == std::string::npos) {
    at = text.size();
    return "";
  }
  const std::string line = text.substr(at, end - at);
  at = end + 1;
  return line;
}

std::string read_answer(const fs::path& program, const std::vector<std::string>& words) {
  const fs::path folder = answers_folder();
  if (folder.empty()) return "";
  const std::string content = read_own_file(file_of(folder, program, words));
  std::size_t at = 0;
  if (!take(content, at, kHead + length_and(question(program, words)) + "\n")) return "";
  std::time_t latest = 0;
  for (;;) {
    const std::string line = take_line(content, at);
    if (line == "answer") break;
    const auto space = line.find(' ');
    if (space == std::string::npos) return "";
    if (state_of(line.substr(space + 1), latest) != line.substr(0, space)) return "";
  }
  // Its length stands before it: a file that is cut off is no answer.
  const std::string length = take_line(content, at);
  return length == std::to_string(content.size() - at) ? content.substr(at) : "";
}

/// Whole or not at all. Not synced: what a power cut takes is found again.
void write_own_file(const fs::path& file, const std::string& content) {
  const fs::path folder = file.parent_path();
  fs::create_directories(folder);
  // Installations come and go, and nobody else takes their answers away.
  if (std::distance(fs::directory_iterator(folder), {}) >= kMostAnswers)
    for (const auto& old : fs::directory_iterator(folder)) fs::remove(old);
  fs::path temporary = file;
  temporary += "." + std::to_string(::getpid());
  const int descriptor =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return;
  const ssize_t put = ::write(descriptor, content.data(), content.size());
  const bool whole = ::close(descriptor) == 0 && put == static_cast<ssize_t>(content.size());
  if (!whole || ::rename(temporary.c_str(), file.c_str()) != 0) ::unlink(temporary.c_str());
}

}  // namespace

bool may_be_kept(const std::vector<std::string>& words) {
  if (words.empty()) return false;
  for (const std::string& word : words)
    if (word.rfind("--plugin", 0) == 0) return false;
  if (words.front() == "list" || words.front() == "inspect") return true;
  return words.size() == 2 && words.back() == "--help";
}

std::string kept_answer(const fs::path& program, const std::vector<std::string>& words) try {
  return may_be_kept(words) ? read_answer(program, words) : "";
} catch (const std::exception&) {
  return "";
}

void keep_answer(const fs::path& program, const std::vector<std::string>& words,
                 const Answer& answer) try {
  const fs::path folder = answers_folder();
  if (folder.empty() || !answer.lasting || answer.text.empty() || !may_be_kept(words)) return;
  std::string content = kHead + length_and(question(program, words)) + "\n";
  std::time_t latest = 0;
  for (const fs::path& file : std::set<fs::path>(answer.files.begin(), answer.files.end())) {
    if (file.native().find('\n') != std::string::npos) return;
    content += state_of(file, latest) + " " + file.string() + "\n";
  }
  if (latest + kSettled >= std::time(nullptr)) return;
  content += "answer\n" + std::to_string(answer.text.size()) + "\n" + answer.text;
  if (content.size() <= kMost) write_own_file(file_of(folder, program, words), content);
} catch (const std::exception&) {
}

}  // namespace linex
