// Runs one reader on files, without libFuzzer, so that every build can replay what was found.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerInitialize(int* count, char*** words);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** words) {
  LLVMFuzzerInitialize(&count, &words);
  for (int i = 1; i < count; ++i) {
    std::fprintf(stderr, "%s\n", words[i]);
    std::ifstream file(words[i], std::ios::binary);
    const std::string content(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(content.data()), content.size());
  }
  return 0;
}
