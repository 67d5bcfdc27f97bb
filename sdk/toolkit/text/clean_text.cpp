#include "toolkit/text/clean_text.hpp"

#include "toolkit/base/mojibake.hpp"
#include "toolkit/text/html_unescape.hpp"
#include "toolkit/text/unicode.hpp"

namespace linex {
namespace {

using Text = std::u32string;
using View = std::u32string_view;

struct Replacement {
  char32_t from;
  const char32_t* to;
};
/// Latin letters that stand for several (ftfy.chardata.LIGATURES).
constexpr Replacement kLigatures[] = {
    {U'\u0132', U"IJ"},      {U'\u0133', U"ij"}, {U'\u0149', U"\u02bcn"}, {U'\u01f1', U"DZ"},
    {U'\u01f2', U"Dz"},      {U'\u01f3', U"dz"}, {U'\u01c4', U"D\u017d"}, {U'\u01c5', U"D\u017e"},
    {U'\u01c6', U"d\u017e"}, {U'\u01c7', U"LJ"}, {U'\u01c8', U"Lj"},      {U'\u01c9', U"lj"},
    {U'\u01ca', U"NJ"},      {U'\u01cb', U"Nj"}, {U'\u01cc', U"nj"},      {U'\ufb00', U"ff"},
    {U'\ufb01', U"fi"},      {U'\ufb02', U"fl"}, {U'\ufb03', U"ffi"},     {U'\ufb04', U"ffl"},
    {U'\ufb05', U"\u017ft"}, {U'\ufb06', U"st"}};

/// One character, repaired.
void append_repaired(char32_t c, Text& out) {
  if (c < 0x80) {
    out += c;
    return;
  }
  if (c <= 0x9f) {  // a C1 control means what Windows-1252 has in its place
    out += from_windows_1252(static_cast<unsigned char>(c));
    return;
  }
  for (const Replacement& ligature : kLigatures)
    if (c == ligature.from) {
      out += ligature.to;
      return;
    }
  if (c == 0x3000)
    out += U' ';
  else if (c >= 0xff01 && c <= 0xffef)
    out += compose_compatible(View(&c, 1));
  else
    out += c;
}

Text straighten_quotes(Text text) {
  for (char32_t& c : text) {
    if (c == 0x02bc || (c >= 0x2018 && c <= 0x201b)) c = U'\'';
    if (c >= 0x201c && c <= 0x201f) c = U'"';
  }
  return text;
}

Text unify_line_ends(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') continue;
    out += c == U'\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c;
  }
  return out;
}

/// ESC [ digits and semicolons, one letter.
Text remove_terminal_escapes(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == 0x1b && i + 1 < text.size() && text[i + 1] == U'[') {
      std::size_t end = i + 2;
      while (end < text.size() && (text[end] == U';' || (is_number(text[end]) && text[end] < 0x80)))
        ++end;
      const char32_t last = end < text.size() ? text[end] | 0x20 : 0;
      if (last >= U'a' && last <= U'z') {
        i = end + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

bool is_unwanted_control(char32_t c) {
  return c <= 8 || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
         (c >= 0x206a && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

/// Repairs one line until nothing changes.
Text repair_line(View line, bool unescape) {
  Text text(line);
  for (;;) {
    Text repaired;
    const Text plain = unescape ? unescape_html_strictly(text) : text;
    for (const char32_t c : plain) append_repaired(c, repaired);
    repaired = remove_terminal_escapes(unify_line_ends(straighten_quotes(std::move(repaired))));
    Text kept;
    for (const char32_t c : repaired)
      if (!is_unwanted_control(c)) kept += c;
    kept = compose(kept);
    if (kept == text) return text;
    text = std::move(kept);
  }
}

Text basic_clean(std::string_view utf8) {
  const Text repaired = repair_text(to_code_points(utf8));
  return Text(strip_spaces(unescape_html(unescape_html(repaired))));
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
         (c >= 0x7b && c <= 0x7e);
}

}  // namespace

Text repair_text(View text) {
  Text out;
  bool unescape = true;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t found = text.find(U'\n', begin);
    const std::size_t end = found == View::npos ? text.size() : found + 1;
    const View line = text.substr(begin, end - begin);
    // Text with a '<' may be HTML that wants its references kept (ftfy's "auto").
    if (line.find(U'<') != View::npos) unescape = false;
    out += repair_line(line, unescape);
    begin = end;
  }
  return out;
}

Text clean_lower(std::string_view utf8) { return lower_case(collapse_spaces(basic_clean(utf8))); }

Text clean_canonical(std::string_view utf8) {
  Text kept;
  for (const char32_t c : basic_clean(utf8)) {
    if (c == U'_')
      kept += U' ';
    else if (!is_ascii_punctuation(c))
      kept += c;
  }
  return collapse_spaces(lower_case(kept));
}

}  // namespace linex
