#include "toolkit/external/command_words.hpp"

#include "linex/error.hpp"

namespace linex {

std::vector<std::string> split_command(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;  // of a word: '' is a word, too
  char quote = 0;
  const auto refuse = [&](const std::string& what) {
    return usage_error("command: " + what + " in " + command);
  };
  for (std::size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (c == '\0') throw refuse("a zero byte");
    if (quote == '\'') {
      if (c == quote)
        quote = 0;
      else
        word += c;
      continue;
    }
    if (c == '\\') {
      if (i + 1 == command.size()) throw refuse("a \\ with nothing after it");
      const char next = command[i + 1];
      if (quote == '"' && next != '"' && next != '\\') {
        word += c;
        continue;
      }
      word += next;
      inside = true;
      ++i;
    } else if (quote == '"') {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      inside = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (inside) words.push_back(std::move(word));
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (quote) throw refuse(std::string("an open ") + quote);
  if (inside) words.push_back(std::move(word));
  if (words.empty() || words.front().empty())
    throw usage_error("command: name a program, e.g. command=\"python3 my_method.py\"");
  return words;
}

}  // namespace linex
