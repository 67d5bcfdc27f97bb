#include "host/arguments.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <set>

#include "core/run/ini.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace po = boost::program_options;

namespace {

// Guessing would accept --solver.lam for --solver.lambda, today; and mean something else tomorrow.
constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

po::options_description common_options(const CommandSyntax& syntax) {
  po::options_description options;
  auto add = options.add_options();
  add("help", "");
  add("plugin", po::value<std::vector<std::string>>()->composing(), "");
  add("no-plugins-from-env", "");
  add("words", po::value<std::vector<std::string>>(), "");
  for (const auto& flag : syntax.flags) add(flag.c_str(), "");
  for (const auto& value : syntax.values) add(value.c_str(), po::value<std::string>(), "");
  if (syntax.sections) add("config", po::value<std::string>(), "");
  return options;
}

/// Puts every option with a dot into its section.
void add_sections(Sections& sections, const po::parsed_options& parsed) {
  for (const auto& option : parsed.options) {
    const auto dot = option.string_key.find('.');
    if (dot == std::string::npos || option.value.empty()) continue;
    sections[option.string_key.substr(0, dot)].emplace(option.string_key.substr(dot + 1),
                                                       option.value.back());
  }
}

std::string unknown_message(const std::string& name, const std::vector<std::string>& keys,
                            const CommandSyntax& syntax, const std::string& where) {
  std::vector<std::string> all = keys;
  for (const char* flag : {"help", "plugin", "no-plugins-from-env"}) all.emplace_back(flag);
  if (syntax.sections) all.emplace_back("config");
  all.insert(all.end(), syntax.flags.begin(), syntax.flags.end());
  all.insert(all.end(), syntax.values.begin(), syntax.values.end());
  const auto dashless = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  return where + "unknown option '" + dashless + "'" + did_you_mean(dashless, all) + " (linex " +
         syntax.name + " --help lists them)";
}

/// Keys of a section that choose a plugin and that belong to the plugin chosen.
struct PluginKeys {
  std::string plugin;  ///< the key that names it
  std::string prefix;  ///< of its options
  std::set<std::string> others;
};

/// [solver], [network NAME] with a model of its own, [method NAME] with up to three plugins.
std::vector<PluginKeys> plugin_keys(const std::string& name) {
  const auto host_keys = [](const Section& entry) {
    PluginKeys keys{"plugin", "", {}};
    for (const auto& spec : entry.keys) keys.others.insert(spec.name);
    return keys;
  };
  if (name.rfind("method ", 0) == 0)
    return {
        {"labeler", "labeler.", {}}, {"solver", "solver.", {}}, {"simulator", "simulator.", {}}};
  if (name.rfind("network ", 0) == 0) {
    PluginKeys keys = host_keys(section("model"));
    for (const char* part : {"data", "units"})
      for (const auto& spec : section(part).keys)
        keys.others.insert(std::string(part) + "." + spec.name);
    return {keys};
  }
  for (const auto& entry : sections())
    if (entry.name == name && !entry.plugin_kind.empty()) return {host_keys(entry)};
  return {};
}

std::set<std::string> plugin_names(const std::string& text) {
  std::set<std::string> names;
  for (const auto& part : split(text, ','))
    if (std::string name = trim(part); !name.empty()) names.insert(std::move(name));
  return names;
}

const std::string* find_key(const Sections& sections, const std::string& name,
                            const std::string& key) {
  const auto found = sections.find(name);
  if (found == sections.end()) return nullptr;
  const auto value = found->second.find(key);
  return value == found->second.end() ? nullptr : &value->second;
}

/// What the file says about the plugins of one section that the command line replaces by others.
class OverriddenPlugin {
 public:
  OverriddenPlugin(const Sections& file, const Sections& given, std::string section,
                   PluginKeys keys, const KnownKeys& known_keys)
      : section_(std::move(section)), keys_(std::move(keys)) {
    const std::string* before = find_key(file, section_, keys_.plugin);
    const std::string* now = find_key(given, section_, keys_.plugin);
    if (!before || !now || !known_keys) return;
    const auto names_before = plugin_names(*before), names_now = plugin_names(*now);
    std::vector<std::string> kept;
    std::set_intersection(names_before.begin(), names_before.end(), names_now.begin(),
                          names_now.end(), std::back_inserter(kept));
    if (kept.size() == names_before.size()) return;
    title_ = section_ + "." + keys_.plugin + " is " + *now + " and not the file's " + *before;
    if (!kept.empty()) kept_ = keys_of(join(kept, ","), known_keys);
    try {
      all_ = keys_of(*before, known_keys);
      checked_ = true;
    } catch (const Error&) {
      // A plugin that this machine lacks: none of its options can be told from a typing mistake.
    }
  }

  /// Whether the command line's plugin makes this entry of the file pointless. A key that the
  /// file's plugin does not have either is a mistake, and stays one.
  bool covers(const IniEntry& entry) const {
    return !title_.empty() && entry.section == section_ && entry.key != keys_.plugin &&
           entry.key.rfind(keys_.prefix, 0) == 0 && keys_.others.count(entry.key) == 0 &&
           kept_.count(entry.key) == 0 && (!checked_ || all_.count(entry.key) > 0);
  }
  std::string warning(const std::vector<std::string>& dropped) const {
    return title_ + ", whose options are left out: " + join(dropped, ", ");
  }

 private:
  std::set<std::string> keys_of(const std::string& plugins, const KnownKeys& known_keys) const {
    std::set<std::string> keys;
    for (const auto& key : known_keys({{section_, {{keys_.plugin, plugins}}}}))
      if (key.rfind(section_ + ".", 0) == 0) keys.insert(key.substr(section_.size() + 1));
    return keys;
  }

  std::string section_;
  PluginKeys keys_;
  std::string title_;
  std::set<std::string> kept_, all_;
  bool checked_ = false;
};

Sections to_sections(const std::vector<IniEntry>& entries) {
  Sections sections;
  for (const auto& entry : entries) sections[entry.section].emplace(entry.key, entry.value);
  return sections;
}

/// Takes the options of overridden plugins out of the file's entries. Returns the warnings.
std::vector<std::string> drop_overridden(std::vector<IniEntry>& entries, const Sections& given,
                                         const KnownKeys& known_keys) {
  std::vector<std::string> warnings;
  const Sections file = to_sections(entries);
  for (const auto& [name, ignored] : file)
    for (const auto& keys : plugin_keys(name)) {
      const OverriddenPlugin overridden(file, given, name, keys, known_keys);
      std::vector<std::string> dropped;
      const auto is_covered = [&](const IniEntry& entry) {
        if (!overridden.covers(entry)) return false;
        dropped.push_back(entry.key);
        return true;
      };
      entries.erase(std::remove_if(entries.begin(), entries.end(), is_covered), entries.end());
      if (!dropped.empty()) warnings.push_back(overridden.warning(dropped));
    }
  return warnings;
}

}  // namespace

PluginSearch parse_plugin_search(const std::vector<std::string>& arguments) {
  PluginSearch search;
  try {
    const auto parsed = po::command_line_parser(arguments)
                            .options(common_options({}))
                            .style(kStyle)
                            .allow_unregistered()
                            .run();
    for (const auto& option : parsed.options) {
      if (option.string_key == "plugin")
        for (const auto& file : option.value)
          search.files.push_back(std::filesystem::absolute(file));
      if (option.string_key == "no-plugins-from-env") search.from_environment = false;
    }
  } catch (const po::error& error) {
    throw usage_error(error.what());
  }
  return search;
}

Arguments parse_arguments(const CommandSyntax& syntax, const std::vector<std::string>& arguments,
                          const KnownKeys& known_keys) {
  const auto common = common_options(syntax);
  po::positional_options_description words;
  words.add("words", -1);

  Sections first_look;
  std::vector<IniEntry> file;
  Arguments result;
  result.syntax = syntax;
  try {
    const auto parsed =
        po::command_line_parser(arguments).options(common).style(kStyle).allow_unregistered().run();
    add_sections(first_look, parsed);
    for (const auto& option : parsed.options) {
      if (option.string_key == "config") result.config = option.value.back();
      if (option.string_key == "help") result.flags["help"] = true;
    }
  } catch (const po::error& error) {
    throw usage_error(error.what());
  }
  if (!result.config.empty()) {
    file = read_ini(result.config);
    result.warnings = drop_overridden(file, first_look, known_keys);
    for (const auto& [name, keys] : to_sections(file))
      first_look[name].insert(keys.begin(), keys.end());
  }
  if (result.flags["help"]) {
    result.sections = first_look;
    return result;
  }

  const auto keys = known_keys ? known_keys(first_look) : std::vector<std::string>{};
  po::options_description known;
  for (const auto& key : keys) known.add_options()(key.c_str(), po::value<std::string>(), "");
  po::options_description everything;
  everything.add(common).add(known);
  try {
    const auto parsed = po::command_line_parser(arguments)
                            .options(everything)
                            .positional(words)
                            .style(kStyle)
                            .run();
    po::variables_map seen;  // finds options given twice
    po::store(parsed, seen);
    add_sections(result.sections, parsed);
    for (const auto& option : parsed.options)
      if (option.string_key == "words")
        result.words.insert(result.words.end(), option.value.begin(), option.value.end());
    for (const auto& flag : syntax.flags) result.flags[flag] = seen.count(flag) > 0;
    for (const auto& value : syntax.values)
      if (seen.count(value)) result.values[value] = seen[value].as<std::string>();
  } catch (const po::unknown_option& error) {
    throw usage_error(unknown_message(error.get_option_name(), keys, syntax, ""));
  } catch (const po::error& error) {
    throw usage_error(error.what());
  }
  const std::set<std::string> known_names(keys.begin(), keys.end());
  for (const auto& entry : file) {
    const std::string name = entry.section + "." + entry.key;
    if (known_names.count(name) == 0)
      throw usage_error(unknown_message(
          name, keys, syntax,
          "configuration file " + result.config + ", line " + std::to_string(entry.line) + ": "));
    if (result.sections[entry.section].emplace(entry.key, entry.value).second)
      result.lines[name] = entry.line;
    if (std::find(result.order.begin(), result.order.end(), entry.section) == result.order.end())
      result.order.push_back(entry.section);
  }
  if (syntax.words.empty() && !result.words.empty())
    throw usage_error("linex " + syntax.name + " takes no word '" + result.words.front() +
                      "'; options begin with --");
  return result;
}

std::string with_origin(const Arguments& arguments, const std::string& message) {
  const std::size_t end = message.find_first_of("=: ");
  const auto found = arguments.lines.find(message.substr(0, end));
  if (end == std::string::npos || found == arguments.lines.end()) return message;
  const std::size_t dot = found->first.find('.');
  const std::string* value =
      find_key(arguments.sections, found->first.substr(0, dot), found->first.substr(dot + 1));
  // A benchmark's methods override it: the value must be the file's too.
  if (message[end] == '=' && value && message.compare(end + 1, value->size(), *value) != 0)
    return message;
  return message + " (" + arguments.config + ", line " + std::to_string(found->second) + ")";
}

}  // namespace linex
