// Gemma's byte-pair encoding from a tokenizer.json of Hugging Face.
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/budget.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/text/clean_text.hpp"
#include "toolkit/text/tokenizer.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxJsonBytes = 256ULL << 20;
constexpr std::int64_t kMaxId = std::int64_t{1} << 24;
constexpr char kBlank[] = "\u2581";

class GemmaTokenizer final : public Tokenizer {
 public:
  GemmaTokenizer(const std::filesystem::path& path, GemmaText rule) : rule_(rule) {
    source_ = path.string();
    const std::string content = read_file(path, kMaxJsonBytes);
    fingerprint_ = Sha256().add(content).add(rule == GemmaText::lower ? "lower" : "").hex();
    if (!json_nests_at_most(content)) throw input_error(source_ + ": nested too deep");
    const Json json = Json::parse(content, nullptr, false);
    static const Json kNone;
    const Json& model = json.is_object() && json.contains("model") ? json["model"] : kNone;
    const std::string type =
        model.is_object() && model.contains("type") && model["type"].is_string()
            ? model["type"].get<std::string>()
            : "";
    if (type != "BPE" || !model.contains("vocab") || !model["vocab"].is_object() ||
        !model.contains("merges") || !model["merges"].is_array())
      throw input_error(source_ + ": not the byte-pair encoding of SigLIP 2 (its model is " +
                        (type.empty() ? "not named" : printable(type)) +
                        "); of SigLIP give spiece.model");
    for (const auto& [token, id] : model["vocab"].items()) add_token(token, id);
    if (json.contains("added_tokens") && json["added_tokens"].is_array())
      for (const Json& added : json["added_tokens"]) read_added(added);
    std::int64_t rank = 0;
    for (const Json& merge : model["merges"]) read_merge(merge, rank++);
    end_ = special("<eos>");
    padding_ = special("<pad>");
    if (const auto found = ids_.find("<unk>"); found != ids_.end()) unknown_ = found->second;
  }

  std::vector<std::int64_t> encode(const std::string& text) const override {
    std::vector<std::int64_t> ids;
    const std::string given =
        rule_ == GemmaText::canonical ? to_utf8(clean_canonical(text)) : each_lower(text);
    std::size_t begin = 0;
    for (std::size_t at = 0; at < given.size();) {
      const std::string* const added = added_at(given, at);
      if (added == nullptr) {
        ++at;
        continue;
      }
      append(std::string_view(given).substr(begin, at - begin), ids);
      ids.push_back(ids_.at(*added));
      begin = at += added->size();
    }
    append(std::string_view(given).substr(begin), ids);
    return ids;
  }

 private:
  struct Merge {
    std::int64_t rank = 0, id = 0;
  };
  /// A token so far, in a list over the text.
  struct Symbol {
    std::int64_t id = 0;
    std::ptrdiff_t before = -1, after = -1;
    bool gone = false;
  };

  void add_token(const std::string& token, const Json& id) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= std::uint64_t{kMaxId})
      throw input_error(source_ + ": token '" + printable(token) + "' has no proper id");
    ids_[token] = id.get<std::int64_t>();
    size_ = std::max(size_, id.get<std::int64_t>() + 1);
  }

  void read_added(const Json& added) {
    if (!added.is_object() || !added.contains("content") || !added["content"].is_string() ||
        !added.contains("id") || added["content"].get_ref<const std::string&>().empty())
      throw input_error(source_ + ": an added token has no content or id");
    const std::string token = added["content"].get<std::string>();
    add_token(token, added["id"]);
    added_[token.front()].push_back(token);
  }

  void read_merge(const Json& merge, std::int64_t rank) {
    std::vector<std::string> parts;
    if (merge.is_string()) parts = split(merge.get_ref<const std::string&>(), ' ');
    if (merge.is_array())
      for (const Json& part : merge)
        parts.push_back(part.is_string() ? part.get<std::string>() : "");
    const auto id = [&](const std::string& token) {
      const auto found = ids_.find(token);
      if (found == ids_.end())
        throw input_error(source_ + ": merge " + std::to_string(rank + 1) + " is of '" +
                          printable(token) + "', which is no token");
      return found->second;
    };
    if (parts.size() != 2)
      throw input_error(source_ + ": merge " + std::to_string(rank + 1) + " is not two tokens");
    merges_.emplace(pair_of(id(parts[0]), id(parts[1])), Merge{rank, id(parts[0] + parts[1])});
  }

  std::int64_t special(const char* token) const {
    const auto found = ids_.find(token);
    if (found == ids_.end())
      throw input_error(source_ + ": no token " + token + "; this is not Gemma's vocabulary");
    return found->second;
  }

  static std::uint64_t pair_of(std::int64_t first, std::int64_t second) {
    return static_cast<std::uint64_t>(first) << 32 | static_cast<std::uint64_t>(second);
  }

  /// The longest added token that begins at `at`, or null.
  const std::string* added_at(const std::string& text, std::size_t at) const {
    const auto candidates = added_.find(text[at]);
    if (candidates == added_.end()) return nullptr;
    const std::string* best = nullptr;
    for (const std::string& token : candidates->second)
      if (text.compare(at, token.size(), token) == 0 && (!best || token.size() > best->size()))
        best = &token;
    return best;
  }

  /// The tokens of one character: its own, those of its bytes, or the unknown one.
  void start(const std::string& character, std::vector<Symbol>& symbols) const {
    const auto push = [&](std::int64_t id) {
      symbols.push_back({id, static_cast<std::ptrdiff_t>(symbols.size()) - 1, -1, false});
    };
    if (const auto found = ids_.find(character); found != ids_.end()) return push(found->second);
    std::vector<std::int64_t> bytes;
    for (const char c : character) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      if (const auto found = ids_.find(name); found != ids_.end()) bytes.push_back(found->second);
    }
    if (bytes.size() == character.size())
      for (const std::int64_t byte : bytes) push(byte);
    else if (unknown_ >= 0 && (symbols.empty() || symbols.back().id != unknown_))
      push(unknown_);
  }

  void append(std::string_view text, std::vector<std::int64_t>& ids) const {
    std::vector<Symbol> symbols;
    for (const char32_t c : to_code_points(text))
      start(c == U' ' ? kBlank : to_utf8({&c, 1}), symbols);
    for (std::size_t i = 1; i < symbols.size(); ++i)
      symbols[i - 1].after = static_cast<std::ptrdiff_t>(i);
    struct Candidate {
      std::int64_t rank = 0;
      std::ptrdiff_t left = 0;
      std::int64_t first = 0, second = 0, id = 0;
      bool operator>(const Candidate& other) const {
        return rank != other.rank ? rank > other.rank : left > other.left;
      }
    };
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto at = [&](std::ptrdiff_t i) -> Symbol& {
      return symbols[static_cast<std::size_t>(i)];
    };
    const auto consider = [&](std::ptrdiff_t left) {
      if (left < 0 || at(left).after < 0) return;
      const std::int64_t first = at(left).id, second = at(at(left).after).id;
      const auto merge = merges_.find(pair_of(first, second));
      if (merge != merges_.end())
        queue.push({merge->second.rank, left, first, second, merge->second.id});
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::ptrdiff_t>(i));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = at(best.left);
      // What was merged since is another pair.
      if (left.gone || left.id != best.first || left.after < 0 || at(left.after).id != best.second)
        continue;
      Symbol& right = at(left.after);
      left.id = best.id;
      right.gone = true;
      left.after = right.after;
      if (left.after >= 0) at(left.after).before = best.left;
      consider(left.before);
      consider(best.left);
    }
    for (const Symbol& symbol : symbols)
      if (!symbol.gone) ids.push_back(symbol.id);
  }

  GemmaText rule_;
  std::unordered_map<std::string, std::int64_t> ids_;
  std::unordered_map<char, std::vector<std::string>> added_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::int64_t unknown_ = -1;
};

}  // namespace

std::unique_ptr<Tokenizer> open_gemma_json(const std::filesystem::path& path, GemmaText rule) {
  return std::make_unique<GemmaTokenizer>(path, rule);
}

}  // namespace linex
