#include "host/reference.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/plugin/child_process.hpp"
#include "core/plugin/mapped_files.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/run/console.hpp"
#include "core/run/sections.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using Json = nlohmann::json;

Json to_json(const OptionHelp& option) {
  return {option.name,  option.type, option.default_value,
          option.range, option.help, option.required};
}

OptionHelp option_from(const Json& json) {
  return {json.at(0), json.at(1), json.at(2), json.at(3), json.at(4), json.at(5)};
}

/// Options of every usable plugin. Loading one runs its constructors: in a child. What they were
/// read from is added to `read`.
std::vector<PluginReference> plugin_references(PluginRegistry& registry,
                                               std::vector<std::filesystem::path>& read) {
  std::vector<PluginReference> plugins;
  for (const PluginKind kind : kPluginKinds)
    for (const auto& name : registry.names(kind))
      plugins.push_back({to_string(kind), name, registry.find(kind, name).note->summary, {}});

  std::size_t finished = 0;
  std::string failure;
  const auto work = [&](const Say& say) {
    for (const auto& plugin : plugins) {
      Json options = Json::array();
      try {
        const auto kind = plugin_kind_from_string(plugin.kind);
        for (const auto& option : describe_options(registry.options(kind, plugin.name)))
          options.push_back(to_json(option));
      } catch (const Error& error) {
        say("-" + one_line(error.what()));
        return;
      }
      say("+" + options.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    for (const auto& file : mapped_files()) say("/" + file.string());
  };
  const auto on_line = [&](const std::string& line) {
    if (line[0] == '/') {
      read.emplace_back(line.substr(1));
      return;
    }
    if (line[0] != '+') {
      failure = line.substr(1);
      return;
    }
    for (const auto& option : Json::parse(line.substr(1)))
      plugins.at(finished).options.push_back(option_from(option));
    ++finished;
  };
  ChildOptions child;
  child.patience = std::chrono::seconds(60);
  child.cancelled = interrupted;
  const std::string end = run_in_child(work, on_line, child);
  if (!failure.empty()) throw PluginError(failure);
  if (!end.empty() && finished < plugins.size())
    throw PluginError(plugins[finished].kind + "/" + plugins[finished].name + ": load: it " + end);
  return plugins;
}

/// What is beside "--" on a command's own line.
std::string syntax_text(const CommandSyntax& syntax) {
  std::string text = "linex " + syntax.name;
  if (!syntax.words.empty()) text += " " + syntax.words;
  for (const auto& flag : syntax.flags) text += " [--" + flag + "]";
  for (const auto& value : syntax.values) text += " [--" + value + " VALUE]";
  if (syntax.sections) text += " [--config FILE.ini] [--section.key=value ...]";
  return text;
}

std::string default_text(const OptionHelp& option) {
  if (option.required) return "required";
  return option.default_value.empty() ? "empty" : option.default_value;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

/// The path of a configuration's section to a plugin of `kind`: "solver", "labeler" (and
/// "simulator").
std::string section_of(const std::string& kind) {
  for (const auto& entry : sections())
    if (entry.plugin_kind == kind) return entry.name;
  return kind;
}

constexpr const char* kExitCodes[][2] = {
    {"0", "done"},
    {"2", "wrong command line or configuration"},
    {"3", "bad input: a file, an image, a folder"},
    {"4", "a plugin failed"},
    {"130", "interrupted (Ctrl-C, SIGTERM)"},
};

constexpr const char* kEnvironment[][2] = {
    {"LINEX_PLUGIN_PATH",
     "absolute folders and files of further plugins, ':' between; --no-plugins-from-env ignores "
     "it"},
    {"XDG_CACHE_HOME",
     "where what list, inspect and --help said is kept (linex/answers in it, or in ~/.cache) until "
     "a plugin or library changes"},
};

}  // namespace

Reference make_reference(PluginRegistry& registry, std::vector<CommandEntry> commands,
                         const std::string& version) {
  Reference reference{version, std::move(commands), {}, {}, {}};
  reference.plugins = plugin_references(registry, reference.read);
  for (const auto& entry : sections())
    reference.sections.push_back(
        {entry.name, entry.plugin_kind, describe_options({entry.keys.data(), entry.keys.size()})});
  return reference;
}

// ------------------------------------------------------------------------------------ Markdown

namespace {

/// A cell of a table: its bars and angles are text.
std::string cell(const std::string& text) {
  return replaced(replaced(replaced(one_line(text), "|", "\\|"), "<", "&lt;"), "*", "\\*");
}

std::string code_cell(const std::string& text) {
  return text.empty() ? "" : "`" + replaced(one_line(text), "|", "\\|") + "`";
}

std::string option_table(const std::string& section, const std::vector<OptionHelp>& options) {
  std::string text = "| option | type | default | what |\n| --- | --- | --- | --- |\n";
  for (const auto& option : options) {
    const std::string range = option.type == "choice" ? "one of " + code_cell(option.range)
                              : option.range.empty()  ? ""
                                                      : cell(option.range);
    text += "| `" + section + "." + option.name + "` | " + option.type + " | " +
            (option.required || option.default_value.empty() ? default_text(option)
                                                             : code_cell(option.default_value)) +
            " | " + cell(option.help) + (range.empty() ? "" : "; " + range) + " |\n";
  }
  return text + "\n";
}

}  // namespace

std::string to_markdown(const Reference& reference) {
  std::string text =
      "# Commands and options\n\n"
      "<!-- Written by `linex inspect --markdown`; a test compares. Do not edit. -->\n\n"
      "This page is written by linex from its own declarations (`linex inspect --markdown`). "
      "`linex COMMAND --help` and\n`linex inspect KIND/NAME` tell the same.\n\n"
      "## Commands\n\n| command | does |\n| --- | --- |\n";
  for (const auto& command : reference.commands)
    text += "| " + code_cell(syntax_text(command.syntax)) + " | " + cell(command.does) + " |\n";
  text +=
      "\nEvery command takes `--help`, `--plugin FILE.so` and `--no-plugins-from-env`.\n\n"
      "| exit code | means |\n| ---: | --- |\n";
  for (const auto& code : kExitCodes)
    text += std::string("| ") + code[0] + " | " + code[1] + " |\n";
  text +=
      "\n## Sections\n\nOn the command line `--section.key=value`, in a configuration file "
      "`key = value` below `[section]`.\n\n";
  for (const auto& section : reference.sections)
    text += "### " + section.name + "\n\n" + option_table(section.name, section.keys);
  for (const auto* kind : {"model", "labeler", "solver", "evaluator"}) {
    const std::string section = section_of(kind);
    text += "## Plugins: " + std::string(kind) + "\n\nChosen with `--" + section + ".plugin=NAME`" +
            (std::string(kind) == "labeler" ? ", or `--simulator.plugin=NAME` and then "
                                              "`--simulator.KEY` for each `--labeler.KEY`"
                                            : "") +
            ".\n\n";
    for (const auto& plugin : reference.plugins) {
      if (plugin.kind != kind) continue;
      text += "### " + plugin.kind + "/" + plugin.name + "\n\n" + cell(plugin.summary) + ".\n\n";
      text += plugin.options.empty() ? "No options.\n\n" : option_table(section, plugin.options);
    }
  }
  text.pop_back();
  return text;
}

// --------------------------------------------------------------------------------- manual page

namespace {

/// Text that roff prints as it stands.
std::string roff(const std::string& text) {
  std::string escaped = replaced(replaced(one_line(text), "\\", "\\e"), "-", "\\-");
  if (!escaped.empty() && (escaped[0] == '.' || escaped[0] == '\'')) escaped.insert(0, "\\&");
  return escaped;
}

std::string tagged(const std::string& tag, const std::string& text) {
  return ".TP\n\\fB" + roff(tag) + "\\fR\n" + roff(text) + "\n";
}

std::string roff_options(const std::string& section, const std::vector<OptionHelp>& options) {
  std::string text;
  for (const auto& option : options)
    text += tagged("--" + section + "." + option.name,
                   option.help + " (" + option.type +
                       (option.required ? ", required" : ", default " + default_text(option)) +
                       (option.range.empty() ? "" : ", " + option.range) + ")");
  return text;
}

}  // namespace

std::string to_manual(const Reference& reference) {
  std::string text = ".TH LINEX 1 \"\" \"linex " + roff(reference.version) +
                     "\" \"User Commands\"\n"
                     ".SH NAME\nlinex \\- explains neurons of vision networks as weighted sums of "
                     "concepts\n.SH SYNOPSIS\n.B linex\n.I COMMAND\n"
                     "[\\fB\\-\\-config\\fR \\fIFILE.ini\\fR] "
                     "[\\fB\\-\\-section.key=value\\fR ...]\n.SH DESCRIPTION\n";
  text += roff(
              "linex answers what one unit of a vision network stands for with a weighted sum of "
              "concepts, and measures how well that sum predicts the unit's activation on unseen "
              "images. Target models, sources of concepts (labelers), solvers and evaluators are "
              "plugins.") +
          "\n.SH COMMANDS\n";
  for (const auto& command : reference.commands)
    text += tagged(syntax_text(command.syntax).substr(6), command.does);
  text += ".SH OPTIONS\n" +
          tagged("--help", "with a command: its options, those of the plugins named too") +
          tagged("--version", "the version, and the ABI that plugins must be built for") +
          tagged("--plugin FILE.so", "adds a plugin; may be repeated") +
          tagged("--no-plugins-from-env", "ignores LINEX_PLUGIN_PATH") +
          tagged("--config FILE.ini", "sections of 'key = value'; options override them");
  for (const auto& section : reference.sections)
    text += ".SS " + roff(section.name) + "\n" + roff_options(section.name, section.keys);
  text += ".SH PLUGINS\nOptions of plugins: linex inspect KIND/NAME.\n";
  for (const auto& plugin : reference.plugins)
    text += tagged(plugin.kind + "/" + plugin.name, plugin.summary);
  text += ".SH EXIT STATUS\n";
  for (const auto& code : kExitCodes) text += tagged(code[0], code[1]);
  text += ".SH ENVIRONMENT\n";
  for (const auto& variable : kEnvironment) text += tagged(variable[0], variable[1]);
  text += ".SH FILES\n" +
          tagged("OUT/explanations.csv", "of a finished run with run.out=OUT: one row a unit") +
          tagged("OUT/summary.json", "means with standard errors, counts, provenance") +
          tagged("OUT/run.ini",
                 "everything resolved; linex explain --config OUT/run.ini repeats "
                 "the run") +
          tagged("OUT/report/index.html", "a card for each unit");
  return text;
}

// --------------------------------------------------------------------------------- completions

namespace {

/// Inside single quotes of a shell.
std::string in_quotes(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }

std::string option_word(const std::string& section, const std::string& name) {
  return "--" + section + "." + name + "=";
}

/// What may follow "=": words, or a file ("@").
std::string values_of(const OptionHelp& option) {
  if (option.type == "choice") return replaced(option.range, "|", " ");
  if (option.type == "flag") return "true false";
  return option.type == "path" || option.type == "paths" ? "@" : "";
}

/// The tables that both shells read, as assignments to associative arrays.
std::string shell_tables(const Reference& reference) {
  std::string commands, words, sections, plugins;
  std::map<std::string, std::set<std::string>> values;  // of plugins that share a key: of all
  const auto add_value = [&](const std::string& key, const OptionHelp& option) {
    for (const auto& value : split(values_of(option), ' '))
      if (!value.empty()) values[key].insert(value);
  };
  std::vector<std::string> names, keys;
  for (const auto& command : reference.commands) {
    names.push_back(command.syntax.name);
    std::string own = "--help --plugin --no-plugins-from-env";
    for (const auto& flag : command.syntax.flags) own += " --" + flag;
    for (const auto& value : command.syntax.values) own += " --" + value;
    if (command.syntax.sections) own += " --config";
    commands += "  [" + in_quotes(command.syntax.name) + "]=" + in_quotes(own) + "\n";
    if (command.syntax.sections) sections += (sections.empty() ? "" : " ") + command.syntax.name;
  }
  for (const auto& section : reference.sections) {
    for (const auto& key : section.keys) {
      keys.push_back(option_word(section.name, key.name));
      add_value("--" + section.name + "." + key.name, key);
    }
    if (section.plugin_kind.empty()) continue;
    for (const auto& plugin : reference.plugins) {
      if (plugin.kind != section.plugin_kind) continue;
      values["--" + section.name + ".plugin"].insert(plugin.name);
      std::string options;
      for (const auto& option : plugin.options) {
        options += (options.empty() ? "" : " ") + option_word(section.name, option.name);
        add_value("--" + section.name + "." + option.name, option);
      }
      plugins +=
          "  [" + in_quotes(section.name + "/" + plugin.name) + "]=" + in_quotes(options) + "\n";
    }
    for (const auto& key : section.keys)
      if (key.name == "plugin" && !key.default_value.empty())
        words += "  [" + in_quotes(section.name) + "]=" + in_quotes(key.default_value) + "\n";
  }
  std::string inspected, choices;
  for (const auto& [key, all] : values)
    choices +=
        "  [" + in_quotes(key) + "]=" + in_quotes(join({all.begin(), all.end()}, " ")) + "\n";
  for (const auto& plugin : reference.plugins)
    inspected += (inspected.empty() ? "" : " ") + plugin.kind + "/" + plugin.name;
  return "declare -gA _linex_commands=(\n" + commands +
         ")\ndeclare -gA _linex_values=(  # '@': a file\n" + choices +
         ")\ndeclare -gA _linex_plugin_options=(\n" + plugins +
         ")\ndeclare -gA _linex_default_plugins=(\n" + words +
         ")\n_linex_with_sections=" + in_quotes(" " + sections + " ") +
         "\n_linex_keys=" + in_quotes(join(keys, " ")) +
         "\n_linex_plugins=" + in_quotes(inspected) + "\n";
}

}  // namespace

std::string to_bash(const Reference& reference) {
  return "# bash completion for linex " + reference.version +
         ", written by linex inspect --bash\n\n" + shell_tables(reference) + R"sh(
# Plugins chosen so far, SECTION/NAME each; $@: the words of the command line.
_linex_chosen() {
  local -A chosen=()
  local section word i
  for section in "${!_linex_default_plugins[@]}"; do
    chosen[$section]=${_linex_default_plugins[$section]}
  done
  for ((i = 1; i <= $#; ++i)); do
    word=${!i}
    case $word in
      --*.plugin)  # bash makes three words of --section.plugin=NAME
        section=${word#--} section=${section%.plugin}
        local value=$((i + 2))
        chosen[$section]=${!value:-}
        ;;
    esac
  done
  for section in "${!chosen[@]}"; do
    for word in ${chosen[$section]//,/ }; do
      echo "$section/$word"
    done
  done
}

_linex() {
  local cur=${COMP_WORDS[COMP_CWORD]} key="" command=${COMP_WORDS[1]:-} word plugin
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "${!_linex_commands[*]} --help --version" -- "$cur"))
    return
  fi
  if [[ $cur == = ]]; then
    key=${COMP_WORDS[COMP_CWORD - 1]} cur=""
  elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
    key=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  if [[ -n $key ]]; then
    word=${_linex_values[$key]:-}
    if [[ $word == @ || $key == --config || $key == --explanations ]]; then
      compopt -o filenames 2>/dev/null || true
      COMPREPLY=($(compgen -f -- "$cur"))
    else
      COMPREPLY=($(compgen -W "$word" -- "$cur"))
    fi
    return
  fi
  case $command/$cur in
    */-*) ;;
    inspect/*)
      COMPREPLY=($(compgen -W "$_linex_plugins" -- "$cur"))
      return
      ;;
    *)
      compopt -o filenames 2>/dev/null || true
      COMPREPLY=($(compgen -f -- "$cur"))
      return
      ;;
  esac
  local words=${_linex_commands[$command]:-}
  if [[ $_linex_with_sections == *" $command "* ]]; then
    words+=" $_linex_keys"
    for plugin in $(_linex_chosen "${COMP_WORDS[@]}"); do
      words+=" ${_linex_plugin_options[$plugin]:-}"
    done
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null || true
}
complete -F _linex linex
)sh";
}

std::string to_zsh(const Reference& reference) {
  std::string help = "typeset -gA _linex_help=(\n";
  for (const auto& command : reference.commands)
    help += "  " + in_quotes(command.syntax.name) + " " + in_quotes(one_line(command.does)) + "\n";
  // zsh keeps the quotes of a subscript, and takes pairs as well as [key]=value.
  std::string tables = replaced(shell_tables(reference), "declare -gA", "typeset -gA");
  tables = replaced(replaced(tables, "  ['", "  '"), "']='", "' '");
  return "#compdef linex\n# zsh completion for linex " + reference.version +
         ", written by linex inspect --zsh\n\n" + tables + help + R"sh()

_linex() {
  emulate -L zsh
  local command=${words[2]:-} key section word plugin
  if ((CURRENT == 2)); then
    local -a all
    for word in ${(ok)_linex_help}; do all+=("$word:${_linex_help[$word]}"); done
    _describe command all
    return
  fi
  if [[ $PREFIX == --*=* ]]; then
    key=${PREFIX%%=*}
    compset -P '*='
    word=${_linex_values[$key]:-}
    if [[ $word == @ || $key == --config || $key == --explanations ]]; then
      _files
    else
      compadd -- ${=word}
    fi
    return
  fi
  if [[ $PREFIX != -* ]]; then
    if [[ $command == inspect ]]; then
      compadd -- ${=_linex_plugins}
    else
      _files
    fi
    return
  fi
  local -a own
  own=(${=_linex_commands[$command]:-})
  compadd -- $own
  [[ $_linex_with_sections == *" $command "* ]] || return 0
  local -A chosen
  chosen=("${(@kv)_linex_default_plugins}")
  for word in $words; do
    [[ $word == --*.plugin=* ]] || continue
    section=${${word#--}%%.plugin=*}
    chosen[$section]=${word#*=}
  done
  local -a keys
  keys=(${=_linex_keys})
  for section in ${(k)chosen}; do
    for word in ${(s:,:)chosen[$section]}; do
      plugin=$section/$word
      keys+=(${=_linex_plugin_options[$plugin]:-})
    done
  done
  compadd -S '' -- $keys
}
_linex "$@"
)sh";
}

}  // namespace linex
