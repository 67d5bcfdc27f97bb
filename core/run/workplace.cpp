#include "core/run/workplace.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "core/cluster/launch.hpp"
#include "core/run/device.hpp"
#include "core/run/folder_lock.hpp"
#include "core/run/ini.hpp"
#include "core/run/run_key.hpp"
#include "core/run/sections.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/split.hpp"
#include "toolkit/external/session.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// Plugins named by section.plugin: none, one, or (evaluators) several.
std::vector<std::string> plugin_names(const Section& entry, const Sections& raw) {
  if (entry.plugin_kind.empty()) return {};
  std::string text = entry.keys.front().default_text ? entry.keys.front().default_text : "";
  if (const auto found = raw.find(entry.name); found != raw.end())
    if (const auto key = found->second.find("plugin"); key != found->second.end())
      text = key->second;
  std::vector<std::string> names;
  for (const auto& part : split(text, ','))
    if (const std::string name = trim(part); !name.empty() && name != "none") names.push_back(name);
  if (names.size() > 1 && entry.name != "evaluator")
    throw usage_error(entry.name + ".plugin: one plugin, not '" + text + "'");
  return names;
}

std::map<std::string, std::string> pick(const std::map<std::string, std::string>& raw,
                                        const OptionSpecs& specs) {
  std::map<std::string, std::string> picked;
  for (const auto& spec : specs)
    if (const auto found = raw.find(spec.name); found != raw.end()) picked.insert(*found);
  return picked;
}

/// What run.ini, keys and reports state: paths that mean the same from every folder.
void state_absolute_paths(const OptionSpecs& specs, const std::string& host_section,
                          ResolvedOptions& options) {
  for (const auto& spec : specs)
    for (auto& [name, text] : options.text)
      if (name == spec.name) text = absolute_text(spec, host_section, text);
}

OptionSpecs view(const std::vector<linex_option_spec>& specs) {
  return {specs.data(), specs.size()};
}

/// What of a section's keys is for the plugin with `specs`: its own, and those that nobody else of
/// the section declares where it takes free ones.
std::map<std::string, std::string> pick_for_plugin(const std::map<std::string, std::string>& raw,
                                                   const OptionSpecs& specs,
                                                   const std::vector<OptionSpecs>& others) {
  auto picked = pick(raw, specs);
  if (!takes_free_options(specs)) return picked;
  for (const auto& given : raw)
    if (std::none_of(others.begin(), others.end(),
                     [&](const OptionSpecs& declared) { return !pick({given}, declared).empty(); }))
      picked.insert(given);
  return picked;
}

std::string triple(const std::array<float, 3>& values) {
  std::string text;
  for (const float value : values) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    text += (text.empty() ? "" : ",") + std::string(digits, end);
  }
  return text;
}

/// kImageOptions (toolkit/net/image_options.hpp) that say `preprocess`.
std::map<std::string, std::string> preprocess_options(const Preprocess& preprocess) {
  using Resize = Preprocess::Resize;
  const bool resized = preprocess.resize != Resize::none;
  return {
      {"mean", triple(preprocess.mean)},
      {"std", triple(preprocess.std)},
      {"resize", std::to_string(resized ? preprocess.size : 0)},
      {"crop", std::to_string(preprocess.crop)},
      {"resize_mode", !resized                              ? "auto"
                      : preprocess.resize == Resize::squash ? "squash"
                                                            : "short_side"},
      {"interpolation",
       preprocess.interpolation == Preprocess::Interpolation::bicubic ? "bicubic" : "bilinear"}};
}

}  // namespace

std::vector<std::string> known_keys(PluginRegistry& registry, const Sections& first_look) {
  std::vector<std::string> keys;
  const auto add_key = [&](const std::string& key) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  };
  const auto add = [&](const Section& entry, const OptionSpecs& specs) {
    for (const auto& spec : specs) add_key(entry.name + "." + spec.name);
  };
  for (const auto& entry : sections()) {
    add(entry, view(entry.keys));
    for (const auto& name : plugin_names(entry, first_look)) {
      const OptionSpecs specs = registry.options(plugin_kind_from_string(entry.plugin_kind), name);
      add(entry, specs);
      if (const auto found = first_look.find(entry.name);
          takes_free_options(specs) && found != first_look.end())
        for (const auto& given : found->second) add_key(entry.name + "." + given.first);
    }
  }
  return keys;
}

std::string section_help(PluginRegistry& registry, const Sections& first_look) {
  std::string text;
  for (const auto& entry : sections()) {
    text += "\n[" + entry.name + "]\n" + format_options(view(entry.keys), entry.name);
    for (const auto& name : plugin_names(entry, first_look))
      text += format_options(registry.options(plugin_kind_from_string(entry.plugin_kind), name),
                             entry.name);
  }
  return text;
}

namespace {

const std::map<std::string, std::string>& given_of(const Sections& raw, const Section& entry) {
  static const std::map<std::string, std::string> nothing;
  const auto found = raw.find(entry.name);
  return found == raw.end() ? nothing : found->second;
}

/// The host's own keys of every section.
std::map<std::string, ResolvedOptions> resolve_own(const Sections& raw) {
  std::map<std::string, ResolvedOptions> resolved;
  for (const auto& entry : sections()) {
    auto& own = resolved[entry.name];
    own = resolve_options(view(entry.keys), pick(given_of(raw, entry), view(entry.keys)),
                          entry.name, "linex");
    state_absolute_paths(view(entry.keys), entry.name, own);
  }
  return resolved;
}

}  // namespace

Workplace::Workplace(PluginRegistry& registry, const Sections& raw)
    : registry_(registry),
      resolved_(resolve_own(raw)),
      cluster_(join_cluster(resolved_.at("run").values.text("cluster"))) {
  for (const auto& entry : sections()) {
    const auto& given = given_of(raw, entry);
    std::vector<OptionSpecs> all{view(entry.keys)};
    const auto names = plugin_names(entry, raw);
    for (const auto& name : names)
      all.push_back(registry.options(plugin_kind_from_string(entry.plugin_kind), name));
    for (std::size_t i = 0; i < names.size(); ++i) {
      const OptionSpecs& specs = all[i + 1];
      choices_[entry.name].push_back(
          {names[i], resolve_options(specs, pick_for_plugin(given, specs, all), entry.name,
                                     entry.plugin_kind + "/" + names[i])});
      state_absolute_paths(specs, "", choices_[entry.name].back().options);
    }
  }

  const OptionValues& run = options("run");
  const std::string level = run.text("log-level");
  log_ = std::make_shared<ConsoleLogger>(level, leads());
  out_ = run.path("out");
  if (out_.empty()) throw usage_error("run.out: name a folder for the results");
  const int beside = cluster_.several() ? launch().local_size : 1;
  settings_.threads = resolve_threads(run.integer("threads"), beside);
  prepare_machine(settings_.threads);
  settings_.device = resolve_device(run.text("device"), launch().local_rank);
  settings_.seed = static_cast<std::uint64_t>(run.integer("seed"));
  settings_.memory_bytes = resolve_memory(run.real("memory"), beside);
  settings_.batch = run.integer("batch");
  precision_.bf16 = resolve_bf16(run.text("precision"), settings_.device);
  const std::string cache = run.text("cache");
  if (leads()) settings_.out = out_;
  if (cache != "none") settings_.cache = cache.empty() ? out_ / "cache" : fs::path(cache);
  quiet_ = level == "error" || level == "off" || !leads();
  context_ = std::make_shared<HostContext>(run, settings_, *log_, quiet_, &cluster_, precision_);
  for (const auto& warning : registry.warnings()) log_->warning(warning);
  if (const std::string complaint = blas_complaint(); !complaint.empty()) log_->warning(complaint);
}

bool Workplace::has_plugin(const std::string& section) const { return choices_.count(section) > 0; }

template <class Interface>
Named<Interface> Workplace::open(const std::string& section_name, const Choice& choice) {
  auto context = std::make_shared<HostContext>(choice.options.values, settings_, *log_, quiet_,
                                               &cluster_, precision_);
  auto object = registry_.create<Interface>(choice.name, std::move(context));
  const PluginEntry& entry = registry_.find(KindOf<Interface>::value, choice.name);
  used_.push_back({section_name, to_string(entry.note->kind), choice.name, entry.note->version,
                   entry.file.string(), sha256_of_file(entry.file)});
  return {std::move(object), entry.key};
}

template <class Interface>
Named<Interface> Workplace::open_only(const std::string& section_name, const char* advice) {
  if (!has_plugin(section_name)) throw usage_error(section_name + ".plugin: " + advice);
  return open<Interface>(section_name, choices_[section_name].front());
}

std::shared_ptr<const DataSet> Workplace::open_data() {
  const OptionValues& data = options("data");
  if (data.path("root").empty()) return nullptr;
  DataOptions request;
  request.kind = data.text("kind");
  request.root = data.path("root");
  request.limit = data.integer("limit");
  request.seed = settings_.seed;
  request.part = data.text("part");
  request.labels = data.text("labels");
  request.label = data.text("label");
  request.ground_truth = data.path("ground_truth");
  request.classes = data.path("classes");
  request.verify_content = data.text("verify") == "content";
  request.cache = settings_.cache;
  request.skip_unreadable = data.text("on_error") == "skip";
  request.threads = settings_.threads;
  request.log = log_.get();
  return open_data_set(request);
}

Named<TargetModel> Workplace::open_model() {
  return open_only<TargetModel>("model", "name the target model, e.g. --model.plugin=resnet");
}

Named<SparseSolver> Workplace::open_solver() {
  return open_only<SparseSolver>("solver", "name a solver, e.g. --solver.plugin=linear");
}

std::vector<Named<Evaluator>> Workplace::open_evaluators() {
  std::vector<Named<Evaluator>> evaluators;
  for (const auto& choice : choices_["evaluator"])
    evaluators.push_back(open<Evaluator>("evaluator", choice));
  return evaluators;
}

Named<ConceptLabeler> Workplace::open_labeler(const std::shared_ptr<const DataSet>& data) {
  auto labeler = open_only<ConceptLabeler>(
      "labeler", "name the source of concepts, e.g. --labeler.plugin=label");
  labeler.object->attach(data);
  return labeler;
}

Named<ConceptLabeler> Workplace::open_unattached(const std::string& section_name) {
  return open_only<ConceptLabeler>(section_name, "name a labeler");
}

Named<ConceptLabeler> Workplace::open_simulator(const std::shared_ptr<const DataSet>& data,
                                                const Named<ConceptLabeler>& labeler) {
  if (!has_plugin("simulator")) return labeler;
  auto simulator = open_only<ConceptLabeler>("simulator", "name a labeler");
  simulator.object->attach(data);
  return simulator;
}

void Workplace::settle_preprocess(const Preprocess& preprocess) {
  preprocess_ = preprocess;
  Choice& choice = choices_.at("model").front();
  std::map<std::string, std::string> given(choice.options.text.begin(), choice.options.text.end());
  for (const auto& [key, text] : preprocess_options(preprocess)) {
    const auto option = given.find(key);
    if (option == given.end()) return;
    option->second = text;
  }
  const OptionSpecs specs = registry_.options(PluginKind::model, choice.name);
  choice.options = resolve_options(specs, given, "model", "model/" + choice.name);
  state_absolute_paths(specs, "", choice.options);
}

Split Workplace::open_split(std::int64_t rows, const DataSet* data) const {
  return make_split(options("data").text("split"), rows, settings_.seed, listing_of(data),
                    log_.get());
}

void Workplace::claim_out() {
  const auto make = [](const char* option, const fs::path& folder) {
    std::error_code failure;
    fs::create_directories(folder, failure);
    if (!failure && !fs::is_directory(folder, failure))
      failure = std::make_error_code(std::errc::not_a_directory);
    if (failure)
      throw input_error(std::string(option) + ": cannot make the folder " + folder.string() + ": " +
                        failure.message());
  };
  if (leads()) {
    make("run.out", out_);
    if (!lock_) lock_ = lock_folder(out_);
  }
  if (!settings_.cache.empty()) make("run.cache", settings_.cache);
}

void Workplace::prepare_out() {
  claim_out();
  if (leads()) write_file_atomic(out_ / "run.ini", ini());
}

std::vector<std::pair<std::string, std::string>> Workplace::texts(
    const std::string& section_name) const {
  auto all = resolved_.at(section_name).text;
  if (!has_plugin(section_name)) return all;
  for (const auto& choice : choices_.at(section_name))
    for (const auto& entry : choice.options.text)
      // Two evaluators may share an option.
      if (std::find(all.begin(), all.end(), entry) == all.end()) all.push_back(entry);
  return all;
}

std::string Workplace::ini() const {
  std::string text =
      "# Everything this run was made with; linex COMMAND --config FILE runs it again.\n";
  for (const auto& entry : sections()) {
    if (!entry.plugin_kind.empty() && !has_plugin(entry.name) && entry.name != "evaluator")
      continue;
    text += "\n" + ini_section(entry.name);
    for (const auto& [key, value] : texts(entry.name)) text += ini_entry(key, value);
  }
  return text;
}

bool Workplace::runs_command(const Section& entry) const {
  const auto chosen = choices_.find(entry.name);
  return chosen != choices_.end() &&
         std::any_of(chosen->second.begin(), chosen->second.end(), [&](const Choice& choice) {
           return takes_free_options(
               registry_.options(plugin_kind_from_string(entry.plugin_kind), choice.name));
         });
}

std::vector<std::filesystem::path> Workplace::files() const {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : sections()) {
    if (entry.name == "units")
      for (const auto& [key, path] : resolved_.at(entry.name).paths)
        files.push_back(split_place(path).file);
    if (!has_plugin(entry.name)) continue;
    for (const auto& choice : choices_.at(entry.name))
      for (const auto& [key, path] : choice.options.paths) files.emplace_back(path);
  }
  return files;
}

std::string Workplace::digest() const {
  // What changes where or how fast a run works, and not what it finds.
  static const std::set<std::string> kIrrelevant{
      "out", "threads", "cache", "resume", "log-level", "memory", "device", "report", "cluster"};
  // A command that ran into its timeout goes on with a longer one.
  static const std::set<std::string> kIrrelevantOfCommands{"timeout", "keep"};
  Sha256 digest;
  for (const auto& entry : sections()) {
    digest.add(entry.name);
    for (const auto& [key, value] : texts(entry.name)) {
      if (entry.name == "run" && kIrrelevant.count(key)) continue;
      if (runs_command(entry) && kIrrelevantOfCommands.count(key)) continue;
      digest.add(key).add(value);
    }
    for (const auto& [key, path] : resolved_.at(entry.name).paths)
      // Decoding a change back is not told by the activations.
      if (entry.name == "units") digest.add(key).add(content_digest(split_place(path).file));
    if (!has_plugin(entry.name)) continue;
    for (const auto& choice : choices_.at(entry.name)) {
      const PluginKind kind = plugin_kind_from_string(entry.plugin_kind);
      const PluginEntry& plugin = registry_.find(kind, choice.name);
      if (takes_free_options(registry_.options(kind, choice.name)))
        digest.add(describe_command(choice.options.values));
      digest.add(plugin.key).add(content_digest(plugin.file));
      // What a model's files hold, its activations tell.
      if (entry.name == "model") continue;
      for (const auto& [key, path] : choice.options.paths)
        digest.add(key).add(content_digest(path));
    }
  }
  return digest.hex();
}

void Workplace::describe(RunSummary& summary) const {
  summary.plugins = used_;
  for (const auto& entry : sections()) {
    for (const auto& [key, value] : texts(entry.name)) summary.options[entry.name][key] = value;
    auto& typed = summary.typed_options[entry.name];
    typed = resolved_.at(entry.name).values.all();
    if (entry.name == "units")
      for (const auto& [key, path] : resolved_.at(entry.name).paths)
        if (!path.empty())
          summary.provenance["units." + key] = content_digest(split_place(path).file);
    if (!has_plugin(entry.name)) continue;
    for (const auto& choice : choices_.at(entry.name)) {
      for (const auto& [key, value] : choice.options.values.all()) typed[key] = value;
      for (const auto& [key, path] : choice.options.paths)
        summary.provenance[entry.name + "." + key] = content_digest(path);
    }
  }
  summary.preprocess = preprocess_;
  summary.warnings = log_->warnings();
  summary.ranks = cluster_.size();
  summary.hosts = cluster_.machines();
  summary.exchanged = cluster_.bytes();
}

}  // namespace linex
