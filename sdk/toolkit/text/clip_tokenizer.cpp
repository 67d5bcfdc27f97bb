// Byte-pair encoding as in OpenAI's and open_clip's SimpleTokenizer.
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/text/clean_text.hpp"
#include "toolkit/text/gzip.hpp"
#include "toolkit/text/tokenizer.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

constexpr std::uint64_t kMaxVocabularyBytes = 64ULL << 20;
/// Merges of the published file that CLIP uses; the file lists 262,144.
constexpr std::size_t kPublishedMerges = 49152 - 256 - 2;
constexpr char kWordEnd[] = "</w>";

/// The published printable stand-in of each byte, UTF-8: itself where it is a visible Latin-1
/// character, else the next one from U+0100.
std::array<std::string, 256> make_byte_symbols(std::vector<int>& order) {
  const auto visible = [](int byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  };
  std::array<std::string, 256> symbols;
  for (int byte = 0; byte < 256; ++byte)
    if (visible(byte)) {
      const auto point = static_cast<char32_t>(byte);
      symbols[static_cast<std::size_t>(byte)] = to_utf8({&point, 1});
      order.push_back(byte);
    }
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    if (!visible(byte)) {
      symbols[static_cast<std::size_t>(byte)] = to_utf8({&next, 1});
      order.push_back(byte);
      ++next;
    }
  return symbols;
}

class ClipTokenizer final : public Tokenizer {
 public:
  explicit ClipTokenizer(const std::filesystem::path& path) {
    source_ = path.string();
    symbols_ = make_byte_symbols(byte_order_);
    if (path.extension() == ".json")
      read_json_and_merges(path);
    else
      read_merge_list(path);
    const auto end = ids_.find(specials_[1]), start = ids_.find(specials_[0]);
    if (start == ids_.end() || end == ids_.end())
      throw input_error(source_ + ": no start and end tokens; this is not CLIP's vocabulary");
    start_ = start->second;
    end_ = end->second;
    for (const std::string& symbol : symbols_)
      for (const char* suffix : {"", kWordEnd})
        if (!ids_.count(symbol + suffix))
          throw input_error(source_ + ": a byte has no token; this is not CLIP's vocabulary");
  }

  std::vector<std::int64_t> encode(const std::string& text) const override {
    const std::u32string clean = clean_lower(text);
    std::vector<std::int64_t> ids;
    for (std::size_t at = 0; at < clean.size();) {
      const std::size_t length = next_word(clean, at);
      if (length > 0) append_word(to_utf8(std::u32string_view(clean).substr(at, length)), ids);
      at += length > 0 ? length : 1;
    }
    return ids;
  }

 private:
  void read_merge_list(const std::filesystem::path& path) {
    const std::string content = read_maybe_gzip(path, kMaxVocabularyBytes);
    fingerprint_ = Sha256().add(content).hex();
    // The first line is the version; of the merges, those that CLIP uses.
    std::vector<std::string> lines;
    for (std::size_t at = content.find('\n');
         at != std::string::npos && lines.size() < kPublishedMerges;) {
      const std::size_t end = content.find('\n', at + 1);
      lines.push_back(content.substr(at + 1, end == std::string::npos ? end : end - at - 1));
      at = end;
    }
    std::vector<std::string> vocabulary;
    for (const char* suffix : {"", kWordEnd})
      for (const int byte : byte_order_)
        vocabulary.push_back(symbols_[static_cast<std::size_t>(byte)] + suffix);
    for (const auto& [first, second] : read_merges(lines)) vocabulary.push_back(first + second);
    specials_ = {"<start_of_text>", "<end_of_text>"};
    vocabulary.insert(vocabulary.end(), specials_.begin(), specials_.end());
    for (const std::string& token : vocabulary) ids_[token] = size_++;
  }

  void read_json_and_merges(const std::filesystem::path& path) {
    const std::filesystem::path merges = path.parent_path() / "merges.txt";
    const std::string vocabulary = read_file(path, kMaxVocabularyBytes);
    const std::string list = read_file(merges, kMaxVocabularyBytes);
    fingerprint_ = Sha256().add(vocabulary).add(list).hex();
    if (!json_nests_at_most(vocabulary))
      throw input_error(source_ + ": nested too deep to be a vocabulary");
    const auto json = nlohmann::json::parse(vocabulary, nullptr, false);
    if (!json.is_object()) throw input_error(source_ + ": not a JSON object of tokens");
    for (const auto& [token, id] : json.items()) {
      const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() < (1U << 24);
      if (!fits) throw input_error(source_ + ": token '" + token + "' has no proper id");
      ids_[token] = id.get<std::int64_t>();
      size_ = std::max(size_, id.get<std::int64_t>() + 1);
    }
    std::vector<std::string> lines = split(list, '\n');
    if (!lines.empty() && lines[0].compare(0, 8, "#version") == 0) lines.erase(lines.begin());
    source_ = merges.string();
    for (const auto& [first, second] : read_merges(lines))
      if (!ids_.count(first + second))
        throw input_error(source_ + ": merge '" + first + " " + second + "' gives no token of " +
                          path.filename().string());
    source_ = path.string();
    specials_ = {"<|startoftext|>", "<|endoftext|>"};
  }

  /// Fills ranks_ and returns the pairs.
  std::vector<std::pair<std::string, std::string>> read_merges(
      const std::vector<std::string>& lines) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const std::string& line : lines) {
      if (trim(line).empty()) continue;
      const std::vector<std::string> parts = split(trim(line), ' ');
      if (parts.size() != 2)
        throw input_error(source_ + ": merge " + std::to_string(pairs.size() + 1) +
                          " is not two symbols; this is not CLIP's vocabulary");
      ranks_[parts[0] + " " + parts[1]] = pairs.size();
      pairs.emplace_back(parts[0], parts[1]);
    }
    if (pairs.empty()) throw input_error(source_ + ": no merges; this is not CLIP's vocabulary");
    return pairs;
  }

  /// Length of the word at `at`: a special token, a contraction's end, letters, one number, or a
  /// run of anything else; 0 for white space. The published pattern ignores case, so that the long
  /// s counts as an s, and U+0345, whose upper case is a letter, as neither letter nor anything
  /// else.
  std::size_t next_word(const std::u32string& text, std::size_t at) const {
    const auto is_gap = [](char32_t c) { return is_space(c) || c == 0x345; };
    const auto begins = [&](std::string_view word) {
      for (std::size_t i = 0; i < word.size(); ++i) {
        const char32_t c = at + i < text.size() ? text[at + i] : U'\0';
        const char32_t folded = c == U'\u017f' ? U's' : c;
        if (folded != static_cast<char32_t>(word[i])) return false;
      }
      return true;
    };
    for (const std::string& special : specials_)
      if (begins(special)) return special.size();
    for (const char* end : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
      if (begins(end)) return std::string_view(end).size();
    if (is_gap(text[at])) return 0;
    if (is_number(text[at])) return 1;
    const bool letters = is_letter(text[at]);
    std::size_t end = at + 1;
    while (end < text.size() && !is_gap(text[end]) && is_letter(text[end]) == letters &&
           !is_number(text[end]))
      ++end;
    return end - at;
  }

  void append_word(const std::string& word, std::vector<std::int64_t>& ids) const {
    if (word == specials_[0] || word == specials_[1]) {
      ids.push_back(ids_.at(word));
      return;
    }
    std::vector<std::string> parts;
    for (const char byte : word)
      parts.push_back(symbols_[static_cast<std::size_t>(static_cast<unsigned char>(byte))]);
    parts.back() += kWordEnd;
    while (parts.size() > 1 && merge_best(parts)) {
    }
    for (const std::string& part : parts) ids.push_back(ids_.at(part));
  }

  /// Merges every occurrence of the pair of lowest rank; false where no pair is known.
  bool merge_best(std::vector<std::string>& parts) const {
    std::size_t best = ranks_.size();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks_.find(parts[i] + " " + parts[i + 1]);
      if (found != ranks_.end() && found->second < best) {
        best = found->second;
        where = i;
      }
    }
    if (best == ranks_.size()) return false;
    const std::string first = parts[where], second = parts[where + 1];
    std::vector<std::string> merged;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const bool pair = i + 1 < parts.size() && parts[i] == first && parts[i + 1] == second;
      merged.push_back(pair ? first + second : parts[i]);
      i += pair ? 1 : 0;
    }
    parts = std::move(merged);
    return true;
  }

  std::array<std::string, 256> symbols_;
  std::vector<int> byte_order_;
  std::array<std::string, 2> specials_;
  std::unordered_map<std::string, std::int64_t> ids_;
  std::unordered_map<std::string, std::size_t> ranks_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_clip_vocabulary(const std::filesystem::path& path) {
  return std::make_unique<ClipTokenizer>(path);
}

}  // namespace linex
