#include "run_linex.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

#include "host/launcher/blas_core.hpp"
#include "host/program.hpp"

namespace linex {

namespace {

/// The words of a command line, "…" and '…' taken away; nothing where a shell would do more.
std::optional<std::vector<std::string>> simple_words(const std::string& line) {
  std::vector<std::string> words;
  bool open = false;
  char quote = 0;
  for (const char c : line) {
    if (quote == '\'' ? c != quote : quote ? c != quote && !std::strchr("$`\\", c) : false) {
      words.back() += c;
    } else if (quote && c == quote) {
      quote = 0;
    } else if (!quote && c == ' ') {
      open = false;
    } else if (quote || std::strchr("$`\\|&;<>()*?[]{}~#!\n\t", c)) {
      return std::nullopt;
    } else {
      if (!open) words.emplace_back();
      open = true;
      if (c == '"' || c == '\'')
        quote = c;
      else
        words.back() += c;
    }
  }
  if (quote) return std::nullopt;
  return words;
}

void write_all(int file, const void* data, std::size_t size) {
  for (const char* next = static_cast<const char*>(data); size > 0;) {
    const ssize_t done = ::write(file, next, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw std::runtime_error("the process that runs linex is gone");
    next += done;
    size -= static_cast<std::size_t>(done);
  }
}

bool read_all(int file, void* data, std::size_t size) {
  for (char* next = static_cast<char*>(data); size > 0;) {
    const ssize_t done = ::read(file, next, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    next += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

/// A copy of this process as it was before any test, which makes a copy of itself for every
/// request: folder, out, error, variables (a line each), and the words, all with a 0 behind them.
class Ancestor {
 public:
  Ancestor() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    ::close(ends[child == 0 ? 0 : 1]);
    if (child == 0) serve(ends[1]);
    socket_ = ends[0];
  }

  int run(const std::vector<std::string>& request) const {
    std::string text;
    for (const std::string& part : request) text += part + '\0';
    const std::uint64_t size = text.size();
    write_all(socket_, &size, sizeof size);
    write_all(socket_, text.data(), text.size());
    int status = 0;
    if (!read_all(socket_, &status, sizeof status))
      throw std::runtime_error("the process that runs linex is gone");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  [[noreturn]] static void serve(int socket) {
    std::uint64_t size = 0;
    while (read_all(socket, &size, sizeof size)) {
      std::string text(size, 0);
      if (!read_all(socket, text.data(), text.size())) break;
      const pid_t child = ::fork();
      if (child == 0) work(text);
      int status = 0;
      while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
      }
      write_all(socket, &status, sizeof status);
    }
    ::_exit(0);
  }

  [[noreturn]] static void work(const std::string& text) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::vector<char*> words;
    for (const char* at = text.data(); at < text.data() + text.size(); at += std::strlen(at) + 1)
      words.push_back(const_cast<char*>(at));
    if (::chdir(words[0]) != 0) ::_exit(125);
    const char* const files[]{"/dev/null", words[1], words[2]};
    for (int stream = 0; stream < 3; ++stream) {
      const int file =
          ::open(files[stream], stream ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0666);
      if (file < 0 || ::dup2(file, stream) < 0) ::_exit(125);
      ::close(file);
    }
    set_variables(words[3]);
    static char name[] = LINEX_BINARY;
    words.erase(words.begin() + 1, words.begin() + 4);
    words[0] = name;
    words.push_back(nullptr);
    std::exit(run_program(static_cast<int>(words.size()) - 1, words.data()));
  }

  static void set_variables(char* lines) {
    char* rest = nullptr;
    for (char* line = ::strtok_r(lines, "\n", &rest); line; line = ::strtok_r(nullptr, "\n", &rest))
      ::putenv(line);
    if (void* begin = ::dlsym(RTLD_DEFAULT, "linex_read_fault"))
      reinterpret_cast<void (*)()>(begin)();
  }

  int socket_ = -1;
};

const Ancestor* g_ancestor = nullptr;

}  // namespace

int run_linex(const std::filesystem::path& folder, const std::string& arguments,
              const std::string& out, const std::string& error,
              const std::vector<std::string>& variables) {
  if (auto words = simple_words(arguments)) {
    std::string lines;
    for (const std::string& variable : variables) lines += variable + '\n';
    std::vector<std::string> request{folder.string(), out, error, lines};
    request.insert(request.end(), words->begin(), words->end());
    return g_ancestor->run(request);
  }
  std::string command = "cd '" + folder.string() + "' && env ";
  for (const std::string& variable : variables) command += "'" + variable + "' ";
  command += "'" LINEX_BINARY "' " + arguments + " >'" + out + "' 2>'" + error + "' </dev/null";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace linex

// In gtest_main's place.
int main(int argc, char** argv) {
  // The kernels of bin/linex: what both write is compared.
  linex::restart_with_known_blas_core(argv);
  static const linex::Ancestor ancestor;
  linex::g_ancestor = &ancestor;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
