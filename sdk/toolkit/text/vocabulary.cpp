#include "toolkit/text/vocabulary.hpp"

#include <algorithm>
#include <cctype>
#include <map>

namespace linex {

namespace {

bool in_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || std::isalnum(byte) != 0;
}

bool sticks_to_the_left(const std::string& token) {
  static const std::string kMarks = ".,;:!?)]}%";
  return token == "'s" || token == "n't" ||
         (token.size() == 1 && kMarks.find(token[0]) != std::string::npos);
}

}  // namespace

std::vector<std::string> tokenize(const std::string& text) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (std::isspace(byte) || std::iscntrl(byte)) {
      ++i;
      continue;
    }
    std::string token;
    if (in_word(text[i])) {
      while (i < text.size() && in_word(text[i]))
        token += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i++])));
    } else if (text[i] == '\'' && i + 1 < text.size() &&
               (text[i + 1] == 's' || text[i + 1] == 'S') &&
               (i + 2 == text.size() || !in_word(text[i + 2]))) {
      token = "'s";
      i += 2;
    } else {
      token = text[i++];
    }
    tokens.push_back(token);
  }
  return tokens;
}

Vocabulary::Vocabulary(std::vector<std::string> words) : words_(std::move(words)) {
  for (std::size_t i = 0; i < words_.size(); ++i)
    id_of_.emplace(words_[i], static_cast<std::int64_t>(i));
}

Vocabulary Vocabulary::of(const std::vector<std::string>& texts) {
  std::map<std::string, std::int64_t> count;
  for (const auto& text : texts)
    for (const auto& token : tokenize(text)) ++count[token];
  std::vector<std::pair<std::string, std::int64_t>> sorted(count.begin(), count.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> words;
  for (const auto& [word, times] : sorted) words.push_back(word);
  return Vocabulary(std::move(words));
}

std::vector<std::int64_t> Vocabulary::encode(const std::string& text, std::int64_t length) const {
  std::vector<std::int64_t> ids;
  for (const auto& token : tokenize(text)) {
    if (static_cast<std::int64_t>(ids.size()) == length) break;
    const auto found = id_of_.find(token);
    ids.push_back(found == id_of_.end() ? unknown() : found->second);
  }
  ids.push_back(stop());
  ids.resize(static_cast<std::size_t>(length) + 1, pad());
  return ids;
}

std::string Vocabulary::decode(const std::vector<std::int64_t>& ids) const {
  std::string sentence;
  for (const std::int64_t id : ids) {
    if (id == stop() || id == pad()) break;
    if (id < 0 || id >= static_cast<std::int64_t>(words_.size())) continue;
    const std::string& word = words_[static_cast<std::size_t>(id)];
    const bool opened = !sentence.empty() && (sentence.back() == '(' || sentence.back() == '-');
    if (!sentence.empty() && !opened && !sticks_to_the_left(word) && word != "-") sentence += ' ';
    sentence += word;
  }
  if (!sentence.empty())
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
  return sentence;
}

}  // namespace linex
