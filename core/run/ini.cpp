#include "core/run/ini.hpp"

#include <algorithm>
#include <map>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

constexpr std::uint64_t kMostBytes = 16 << 20;

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool opens_comment(char c) { return c == '#' || c == ';'; }
bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// `text` up to a comment; the character before it was a blank or the start of the line.
std::string_view before_comment(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i)
    if (opens_comment(text[i]) && (i == 0 || is_blank(text[i - 1]))) return text.substr(0, i);
  return text;
}

std::string hex_byte(char c) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return {kDigits[byte >> 4], kDigits[byte & 15]};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// What stands in the file, for a message.
std::string shown(std::string_view text) { return "'" + printable(text, 60) + "'"; }

bool is_refused(char c) { return is_control(c) && c != '\t'; }

bool is_name(std::string_view text) {
  return !text.empty() && trimmed(text).size() == text.size() &&
         std::none_of(text.begin(), text.end(), is_refused);
}

bool is_section_name(std::string_view text) {
  return is_name(text) && text.find(']') == std::string_view::npos;
}

/// One that a line can begin with.
bool is_key(std::string_view text) {
  return is_name(text) && text.find('=') == std::string_view::npos && text.front() != '[' &&
         !opens_comment(text.front());
}

class Parser {
 public:
  Parser(std::string_view content, const std::string& name) : rest_(content), name_(name) {}

  std::vector<IniEntry> parse() {
    skip_byte_order_mark();
    while (!rest_.empty()) {
      ++line_;
      read_line(next_line());
    }
    return std::move(entries_);
  }

 private:
  Error error(const std::string& what) const {
    return usage_error(name_ + ", line " + std::to_string(line_) + ": " + what);
  }

  void skip_byte_order_mark() {
    if (rest_.substr(0, 3) == "\xef\xbb\xbf") rest_.remove_prefix(3);
    if (rest_.substr(0, 2) == "\xff\xfe" || rest_.substr(0, 2) == "\xfe\xff")
      throw usage_error(name_ + ": this is UTF-16; save it as UTF-8");
  }

  std::string_view next_line() {
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
  }

  void read_line(std::string_view line) {
    for (const char c : line)
      if (is_refused(c))
        throw error(std::string("a control character (0x") + hex_byte(c) + ")" +
                    (c == '\r'   ? "; lines end in LF or CRLF"
                     : c == '\0' ? "; is this a text file in UTF-8?"
                                 : "; in a value write \"\\x" + hex_byte(c) + "\""));
    line = trimmed(line);
    if (line.empty() || opens_comment(line.front())) return;
    if (line.front() == '[')
      open_section(line);
    else
      read_entry(line);
  }

  void open_section(std::string_view line) {
    const std::size_t end = line.find(']');
    if (end == std::string_view::npos) throw error(shown(line) + " misses its ]");
    if (!nothing_after(line.substr(end + 1)))
      throw error(shown(line) + ": nothing but a comment may follow the first ]");
    section_ = trimmed(line.substr(1, end - 1));
    if (section_.empty()) throw error("a [section] needs a name");
  }

  void read_entry(std::string_view line) {
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos)
      throw error(shown(line) + " is neither a [section], nor key = value, nor a # comment");
    IniEntry entry;
    entry.section = section_;
    entry.key = trimmed(line.substr(0, equals));
    entry.line = line_;
    if (entry.key.empty()) throw error("a key is missing before the =");
    if (section_.empty()) name_section(entry);
    entry.value = read_value(line.substr(equals + 1));
    const auto [earlier, is_new] = seen_.emplace(entry.section + '\n' + entry.key, line_);
    if (!is_new)
      throw error("[" + entry.section + "] " + entry.key + " is given a second time, after line " +
                  std::to_string(earlier->second));
    entries_.push_back(std::move(entry));
  }

  void name_section(IniEntry& entry) const {
    const std::size_t dot = entry.key.find('.');
    const std::string key = dot == std::string::npos ? "" : entry.key.substr(dot + 1);
    entry.section = entry.key.substr(0, dot);
    if (!is_key(key) || !is_section_name(entry.section))
      throw error(shown(entry.key) + " stands before any [section]");
    entry.key = key;
  }

  std::string read_value(std::string_view text) const {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    if (text.empty() || text.front() != '"') return std::string(trimmed(before_comment(text)));
    std::string value;
    std::size_t i = 1;
    for (; i < text.size() && text[i] != '"'; ++i) {
      if (text[i] == '\\')
        value += read_escape(text, i);
      else
        value += text[i];
    }
    if (i >= text.size()) throw error("a closing \" is missing");
    if (!nothing_after(text.substr(i + 1)))
      throw error(shown(trimmed(text.substr(i + 1))) +
                  " follows the closing \"; inside quotes write \\\"");
    return value;
  }

  /// The character that the escape at text[i] stands for; moves `i` to its last character.
  char read_escape(std::string_view text, std::size_t& i) const {
    const char kind = i + 1 < text.size() ? text[++i] : '\0';
    switch (kind) {
      case '"':
      case '\\':
        return kind;
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x': {
        const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0) throw error("\\x needs two hexadecimal digits");
        i += 2;
        return static_cast<char>(high * 16 + low);
      }
      default:
        throw error(
            "inside quotes a \\ begins \\\\, \\\", \\n, \\r, \\t or \\xHH; write \\\\ for one");
    }
  }

  /// Whether only blanks and a comment are left.
  static bool nothing_after(std::string_view text) {
    return text.empty() || (is_blank(text.front()) && trimmed(before_comment(text)).empty());
  }

  std::string_view rest_;
  const std::string& name_;
  std::string section_;
  std::int64_t line_ = 0;
  std::map<std::string, std::int64_t> seen_;
  std::vector<IniEntry> entries_;
};

bool is_plain(const std::string& value) {
  if (value.empty()) return true;
  return value.front() != '"' && !is_blank(value.front()) && !is_blank(value.back()) &&
         std::none_of(value.begin(), value.end(), is_control) && is_utf8(value) &&
         before_comment(value).size() == value.size();
}

std::string quoted(const std::string& value) {
  const bool utf8 = is_utf8(value);
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\')
      text += std::string("\\") + c;
    else if (c == '\n')
      text += "\\n";
    else if (c == '\r')
      text += "\\r";
    else if (c == '\t')
      text += "\\t";
    else if (is_control(c) || (!utf8 && static_cast<unsigned char>(c) >= 0x80))
      text += "\\x" + hex_byte(c);
    else
      text += c;
  }
  return text + "\"";
}

}  // namespace

std::vector<IniEntry> parse_ini(std::string_view content, const std::string& name) {
  return Parser(content, name).parse();
}

std::vector<IniEntry> read_ini(const std::filesystem::path& file) {
  return parse_ini(read_file(file, kMostBytes), "configuration file " + file.string());
}

std::string ini_section(const std::string& name) {
  if (!is_section_name(name)) throw usage_error("a section cannot be called " + shown(name));
  return "[" + name + "]\n";
}

std::string ini_entry(const std::string& key, const std::string& value) {
  if (!is_key(key)) throw usage_error("a key cannot be called " + shown(key));
  return key + " =" + (value.empty() ? "" : " ") + (is_plain(value) ? value : quoted(value)) + "\n";
}

}  // namespace linex
