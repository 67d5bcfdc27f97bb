// Small zip archives made byte by byte, honest or not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace linex::test {

struct ZipMember {
  std::string name, bytes;
  bool deflated = false;
  std::uint32_t unpacked = 0;  ///< what the archive says; 0: the bytes' own size
};

/// Members one after the other. `repeat`: the directory lists the first that many times more, each
/// under a name of its own and at the same bytes.
inline std::string zip_of(const std::vector<ZipMember>& members, int repeat = 0) {
  std::string out, directory;
  int entries = 0;
  const auto put = [](std::string& to, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i, value >>= 8) to += static_cast<char>(value & 0xff);
  };
  const auto list = [&](const ZipMember& member, const std::string& name, std::size_t at) {
    directory += "PK\x01\x02";
    put(directory, 20, 4);
    put(directory, 0, 2);
    put(directory, member.deflated ? 8 : 0, 2);
    put(directory, 0, 8);
    put(directory, member.bytes.size(), 4);
    put(directory, member.unpacked ? member.unpacked : member.bytes.size(), 4);
    put(directory, name.size(), 2);
    put(directory, 0, 12);
    put(directory, at, 4);
    directory += name;
    ++entries;
  };
  for (const ZipMember& member : members) {
    const std::size_t at = out.size();
    out += "PK\x03\x04";
    put(out, 20, 2);
    put(out, 0, 2);
    put(out, member.deflated ? 8 : 0, 2);
    put(out, 0, 8);
    put(out, member.bytes.size(), 4);
    put(out, member.unpacked ? member.unpacked : member.bytes.size(), 4);
    put(out, member.name.size(), 2);
    put(out, 0, 2);
    out += member.name + member.bytes;
    list(member, member.name, at);
  }
  for (int i = 0; i < repeat; ++i) list(members.front(), "archive/data/" + std::to_string(i), 0);
  const std::size_t at = out.size();
  out += directory + "PK\x05\x06";
  put(out, 0, 4);
  put(out, static_cast<std::uint64_t>(entries), 2);
  put(out, static_cast<std::uint64_t>(entries), 2);
  put(out, directory.size(), 4);
  put(out, at, 4);
  put(out, 0, 2);
  return out;
}

}  // namespace linex::test
