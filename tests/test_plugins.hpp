// Plugins of any kind for tests, made through the registry as the host makes them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "core/run/host_context.hpp"
#include "linex/option.hpp"
#include "typed_options.hpp"

namespace linex::test {

/// Keeps what plugins say.
class RecordingLogger final : public Logger {
 public:
  void write(LogLevel, std::string_view message) override { lines.emplace_back(message); }
  std::vector<std::string> lines;
};

/// Makes plugins of the build folder; outlives them.
class Plugins {
 public:
  explicit Plugins(int threads = 2) : registry_(search()) { run.threads = threads; }

  template <class Interface>
  std::shared_ptr<Interface> make(const std::string& name, const OptionValues& given = {}) {
    const OptionSpecs specs = registry_.options(KindOf<Interface>::value, name);
    return registry_.create<Interface>(
        name, std::make_shared<HostContext>(typed_options(specs, given.all()), run, log, true));
  }

  RunSettings run;
  RecordingLogger log;

 private:
  static PluginSearch search() {
    PluginSearch result;
    result.from_environment = false;
    result.installed = LINEX_PLUGIN_DIR;
    return result;
  }
  PluginRegistry registry_;
};

inline OptionValues given(
    std::initializer_list<std::pair<const char*, OptionValues::Value>> values) {
  OptionValues options;
  for (const auto& [name, value] : values) options.set(name, value);
  return options;
}

}  // namespace linex::test
