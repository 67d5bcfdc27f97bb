#include "core/plugin/plugin_guard.hpp"

#include <torch/types.h>

#include <new>

namespace linex {

PluginError::~PluginError() = default;

std::string one_line(const std::string& text) {
  constexpr std::size_t kMost = 400;
  std::string line;
  // c10 appends its stack below this line once its error has become a std::exception.
  for (const char c : text.substr(0, text.find("\nException raised from "))) {
    const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
    if (!blank) {
      line += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() > kMost) line = line.substr(0, kMost) + "...";
  return line.empty() ? "no reason given" : line;
}

void rethrow_from_plugin(const std::string& plugin, const char* stage) {
  const auto failed = [&](const std::string& why) {
    return PluginError(plugin + ": " + stage + ": " + one_line(why));
  };
  try {
    throw;
  } catch (const PluginError&) {
    throw;  // one plugin called another: the inner one is to blame
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::plugin) throw;
    throw failed(error.what());
  } catch (const c10::Error& error) {
    throw failed(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    throw failed("out of memory");
  } catch (const std::exception& error) {  // cv::Exception too
    throw failed(error.what());
  } catch (...) {
    throw failed("an exception that is not a std::exception");
  }
}

}  // namespace linex
