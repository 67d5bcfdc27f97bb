#include "core/run/pdf.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/external/process.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConverter = "rsvg-convert";
constexpr std::chrono::minutes kPatience{1};

std::string last_words(const Process& process) {
  char words[400];
  const ssize_t size = ::read(process.errors(), words, sizeof words);
  return size > 0 ? printable(trim(std::string(words, static_cast<std::size_t>(size)))) : "";
}

/// Runs the converter to its end; what it says where it fails, else nothing.
std::string fails(std::vector<std::string> words) {
  words.insert(words.begin(), kConverter);
  ProcessOptions options;
  options.words = std::move(words);
  static std::atomic<int> count{0};
  options.mark = {"LINEX_PDF", std::to_string(::getpid()) + "." + std::to_string(++count)};
  Process process(options);
  process.close_input();
  if (!process.ended(kPatience)) return "no end after a minute";
  if (process.succeeded()) return "";
  const std::string said = last_words(process);
  return said.empty() ? process.how() : said;
}

}  // namespace

void need_pdf_converter() {
  std::string failure;
  try {
    failure = fails({"--version"});
  } catch (const Error& error) {
    failure = error.what();
  }
  if (!failure.empty())
    throw input_error(
        "export pdf: figures become PDF by rsvg-convert (Debian: apt install librsvg2-bin), which "
        "does not run here (" +
        failure + "); svg does without");
}

void write_pdf(const fs::path& svg, const fs::path& pdf) {
  fs::path half = pdf;
  half += ".tmp";
  const std::string failure = fails({"--format", "pdf", "--output", half.string(), svg.string()});
  std::error_code broken;
  if (failure.empty()) fs::rename(half, pdf, broken);
  if (failure.empty() && !broken) return;
  std::error_code ignored;
  fs::remove(half, ignored);
  throw input_error("export pdf: " + svg.string() + ": " +
                    (failure.empty() ? broken.message() : failure));
}

}  // namespace linex
