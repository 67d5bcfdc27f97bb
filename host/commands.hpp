// Commands about plugins. Each returns its answer or the exit code of the contract, or throws
// Error.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/plugin/plugin_registry.hpp"
#include "host/launcher/kept_answer.hpp"

namespace linex {

/// Plugins by kind, and the files that cannot be used with the reason. Plugins are tried in a child
/// process, so that none of their code runs in this one.
Answer list_plugins(const PluginRegistry& registry, bool json);

/// One plugin ("KIND/NAME"): file, version, ABI, options.
Answer inspect_plugin(PluginRegistry& registry, const std::string& key);

struct CheckRequest {
  std::filesystem::path file;
  std::map<std::string, std::string> options;  ///< for the plugin, raw
  std::vector<std::string> skip;               ///< names of checks that do not hold for it
  std::vector<std::string> allow_skipped;      ///< names of checks that may skip themselves
  std::chrono::seconds timeout{300};           ///< for each check
};
/// "key=value,key=value"; a part without '=' belongs to the value before it. Throws Error(usage).
std::map<std::string, std::string> parse_check_options(const std::string& text);
/// Conformance of one file, in a child process. 0 when every check passed or was skipped by leave
/// of the request, 4 otherwise.
int run_check(const CheckRequest& request);
/// Conformance of a command behind the plugin KIND/external; request.file is the command.
int run_check_external(const PluginRegistry& registry, const std::string& kind,
                       const CheckRequest& request);
/// Writes the data that checks run on into `folder`: images, concepts, activations and their split.
int run_write_check_data(const std::filesystem::path& folder);

}  // namespace linex
