#include "host/arguments.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <fstream>
#include <sstream>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
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

/// Puts every option with a dot into its section; keeps what is there already.
void add_sections(Sections& sections, const po::parsed_options& parsed) {
  for (const auto& option : parsed.options) {
    const auto dot = option.string_key.find('.');
    if (dot == std::string::npos || option.value.empty()) continue;
    sections[option.string_key.substr(0, dot)].emplace(option.string_key.substr(dot + 1),
                                                       option.value.back());
  }
}

po::parsed_options parse_config(const std::string& file, const po::options_description& known,
                                bool lenient) {
  std::istringstream content(read_file(file, 1 << 24));
  try {
    return po::parse_config_file<char>(content, known, lenient);
  } catch (const po::unknown_option&) {
    throw;
  } catch (const po::error& error) {
    throw usage_error("configuration file " + file + ": " + error.what());
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
  std::string config_file;
  Arguments result;
  try {
    const auto parsed =
        po::command_line_parser(arguments).options(common).style(kStyle).allow_unregistered().run();
    add_sections(first_look, parsed);
    for (const auto& option : parsed.options) {
      if (option.string_key == "config") config_file = option.value.back();
      if (option.string_key == "help") result.flags["help"] = true;
    }
    if (!config_file.empty()) add_sections(first_look, parse_config(config_file, {}, true));
  } catch (const po::error& error) {
    throw usage_error(error.what());
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
  std::string where;
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
    if (!config_file.empty()) {
      where = "configuration file " + config_file + ": ";
      const auto config = parse_config(config_file, known, false);
      po::variables_map in_file;
      po::store(config, in_file);
      add_sections(result.sections, config);
      for (const auto& option : config.options) {
        const std::string section = option.string_key.substr(0, option.string_key.find('.'));
        if (std::find(result.order.begin(), result.order.end(), section) == result.order.end())
          result.order.push_back(section);
      }
    }
  } catch (const po::unknown_option& error) {
    throw usage_error(unknown_message(error.get_option_name(), keys, syntax, where));
  } catch (const po::error& error) {
    throw usage_error(where + error.what());
  }
  if (syntax.words.empty() && !result.words.empty())
    throw usage_error("linex " + syntax.name + " takes no word '" + result.words.front() +
                      "'; options begin with --");
  return result;
}

}  // namespace linex
