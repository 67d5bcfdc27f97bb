// Options, notes, registry, guard: everything between a file and a plugin's object.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "core/plugin/option_schema.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "core/plugin/plugin_loader.hpp"
#include "core/plugin/plugin_registry.hpp"
#include "core/plugin/plugin_trial.hpp"
#include "linex/abi_tag.hpp"
#include "linex/conformance.hpp"
#include "linex/plugin.hpp"
#include "plugin_fixtures.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

// ---- options ------------------------------------------------------------------------------------

constexpr std::array kSpecs{
    option::flag("fast", false, "whether to hurry"),
    option::integer("width", 10, 1, 1000, "beam width"),
    option::real("lambda", 0.05, 0, option::kNoLimit, "penalty"),
    option::text("note", "", "anything"),
    option::choice("search", "greedy", "greedy|beam|exact", "how to pick"),
};

ResolvedOptions resolve(const std::map<std::string, std::string>& raw) {
  return resolve_options({kSpecs.data(), kSpecs.size()}, raw, "solver", "solver/test", {"plugin"});
}

std::string resolve_error(const std::map<std::string, std::string>& raw) {
  try {
    resolve(raw);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "no error";
}

TEST(Option, FlawsAreFound) {
  EXPECT_EQ(option::flaw(option::real("x", 1, 0, 2, "help")), nullptr);
  EXPECT_STREQ(option::flaw(option::real("x", 3, 0, 2, "help")),
               "an option's default is outside its range");
  EXPECT_STREQ(option::flaw(option::real("X", 1, 0, 2, "help")),
               "an option's name is not lower_snake");
  EXPECT_STREQ(option::flaw(option::choice("x", "d", "a|b|c", "help")),
               "an option's default is not among its choices");
  EXPECT_EQ(option::flaw(option::choice("x", "c", "a|b|c", "help")), nullptr);
  EXPECT_EQ(option::flaw(option::required(option::integer("x", 9, 0, 2, "help"))), nullptr);
  EXPECT_STREQ(option::flaw(option::real("x", std::nan(""), 0, 2, "help")),
               "an option's default is outside its range");
  constexpr std::array doubled{option::flag("x", true, "help"), option::text("x", "", "help")};
  EXPECT_STREQ(option::flaw(doubled.data(), doubled.size()), "two options have the same name");
}

TEST(Option, DefaultsAndGivenValues) {
  const ResolvedOptions defaults = resolve({});
  EXPECT_FALSE(defaults.values.flag("fast"));
  EXPECT_EQ(defaults.values.integer("width"), 10);
  EXPECT_EQ(defaults.values.real("lambda"), 0.05);
  EXPECT_EQ(defaults.values.text("search"), "greedy");
  const std::vector<std::pair<std::string, std::string>> text{
      {"fast", "false"}, {"width", "10"}, {"lambda", "0.05"}, {"note", ""}, {"search", "greedy"}};
  EXPECT_EQ(defaults.text, text);

  const ResolvedOptions given =
      resolve({{"fast", "on"}, {"width", " 7 "}, {"lambda", "1e-3"}, {"note", "a = b"}});
  EXPECT_TRUE(given.values.flag("fast"));
  EXPECT_EQ(given.values.integer("width"), 7);
  EXPECT_EQ(given.values.real("lambda"), 1e-3);
  EXPECT_EQ(given.values.text("note"), "a = b");
}

TEST(Option, TextReadsBackAsTheSameValues) {
  const ResolvedOptions once = resolve({{"lambda", "0.1"}, {"width", "1000"}, {"fast", "yes"}});
  std::map<std::string, std::string> raw(once.text.begin(), once.text.end());
  EXPECT_EQ(resolve(raw).values.all(), once.values.all());
}

TEST(Option, WrongValuesSayWhatIsRight) {
  EXPECT_EQ(resolve_error({{"lambda", "-1"}}), "solver.lambda=-1 is out of range, >= 0");
  EXPECT_EQ(resolve_error({{"width", "0"}}), "solver.width=0 is out of range, [1, 1000]");
  EXPECT_EQ(resolve_error({{"width", "2.5"}}), "solver.width=2.5 is not an integer");
  EXPECT_EQ(resolve_error({{"width", "99999999999999999999"}}),
            "solver.width=99999999999999999999 is not an integer");
  for (const char* text : {"nan", "", "0.1x", "1,5", "--1"})
    EXPECT_NE(resolve_error({{"lambda", text}}).find("is not a number"), std::string::npos) << text;
  EXPECT_EQ(resolve_error({{"fast", "maybe"}}), "solver.fast=maybe is not true or false");
  EXPECT_EQ(resolve_error({{"search", "beem"}}),
            "solver.search=beem is none of greedy|beam|exact; did you mean 'beam'?");
  EXPECT_NE(resolve_error({{"search", "greedy|beam"}}).find("none of"), std::string::npos);
  EXPECT_EQ(resolve_error({{"lamda", "1"}}),
            "solver.lamda is not an option of solver/test; did you mean 'lambda'?");
}

TEST(Option, RequiredOnes) {
  constexpr std::array specs{option::required(option::text("weights", "", "a checkpoint"))};
  const OptionSpecs view(specs.data(), specs.size());
  try {
    resolve_options(view, {}, "model", "model/test");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model/test needs --model.weights=... (a checkpoint)");
  }
  EXPECT_EQ(resolve_options(view, {{"weights", "f"}}, "model", "model/test").values.text("weights"),
            "f");
}

TEST(Option, PathsAreAllEnumerated) {
  constexpr std::array specs{
      option::path("weights", "", "a checkpoint"), option::text("label", "x", "no path"),
      option::paths("folders", "", "several"), option::path("list", "names.txt", "has a default")};
  const OptionSpecs view(specs.data(), specs.size());
  const auto listed = [](const ResolvedOptions& resolved) {
    std::string text;
    for (const OptionPath& path : resolved.paths)
      text += path.name + "=" + path.path.string() + ";";
    return text;
  };
  const ResolvedOptions none = resolve_options(view, {}, "model", "model/test");
  EXPECT_EQ(listed(none), "list=names.txt;");
  EXPECT_TRUE(none.values.path("weights").empty());
  EXPECT_TRUE(none.values.paths("folders").empty());
  const ResolvedOptions given =
      resolve_options(view, {{"weights", " a b "}, {"folders", " one ,,two "}, {"list", ""}},
                      "model", "model/test");
  EXPECT_EQ(listed(given), "weights= a b ;folders=one;folders=two;") << "one path is kept as it is";
  EXPECT_EQ(given.text[2].second, " one ,,two ");
  EXPECT_THROW(given.values.text("weights"), std::logic_error);
  EXPECT_THROW(given.values.path("label"), std::logic_error);
  EXPECT_THROW(given.values.path("folders"), std::logic_error);
  EXPECT_EQ(describe_options(view)[2].type, "paths");
  linex_option_spec flawed = option::path("weights", nullptr, "help");
  EXPECT_STREQ(option::flaw(flawed), "a text or path option has no default");
}

TEST(Option, Help) {
  EXPECT_EQ(format_options({kSpecs.data(), kSpecs.size()}, "solver"),
            "  --solver.fast flag      whether to hurry (default false)\n"
            "  --solver.width integer  beam width (default 10, [1, 1000])\n"
            "  --solver.lambda real    penalty (default 0.05, >= 0)\n"
            "  --solver.note text      anything (default empty)\n"
            "  --solver.search choice  how to pick (default greedy, greedy|beam|exact)\n");
}

// ---- notes --------------------------------------------------------------------------------------

std::string note_error(const fs::path& file) {
  try {
    read_plugin_note(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::plugin);
    const std::string text = error.what(), start = file.string() + ": ";
    EXPECT_EQ(text.compare(0, start.size(), start), 0) << text;
    return text.substr(start.size());
  }
  return "no error";
}

TEST(Note, IsReadWithoutLoading) {
  const PluginNote note = read_plugin_note(fixture("good"));
  EXPECT_EQ(note.key(), "solver/good");
  EXPECT_EQ(note.version, "0.0.1");
  EXPECT_EQ(note.summary, "A fixture of the tests");
  EXPECT_EQ(note.abi_tag, kAbiTag);
  EXPECT_EQ(incompatibility(note), "");
}

TEST(Note, SurvivesStripping) {
  const Folder folder("stripped");
  const fs::path file = folder.add("good");
  ASSERT_EQ(std::system(("strip --strip-all " + file.string()).c_str()), 0);
  EXPECT_EQ(read_plugin_note(file).key(), "solver/good");
}

TEST(Note, MismatchesNameBothSides) {
  EXPECT_EQ(abi_difference("torch=1.13.0 cxx11=0", "cxx11=1 torch=1.13.0"),
            "cxx11=0 (host: cxx11=1)");
  EXPECT_EQ(abi_difference("a=1 new=2", "a=1 old=3"),
            "old not stated (host: old=3), new=2 (host: not stated)");
  const std::string tag = incompatibility(read_plugin_note(fixture("bad_tag")));
  EXPECT_NE(tag.find("cxx11=0 (host: cxx11=1)"), std::string::npos) << tag;
  EXPECT_NE(tag.find("torch=9.9.9 (host: torch="), std::string::npos) << tag;
  EXPECT_EQ(tag.find("gxxabi"), std::string::npos) << "only what differs: " << tag;
  EXPECT_EQ(incompatibility(read_plugin_note(fixture("bad_minor"))),
            "built for plugin API 2.7 (host: 2.0); rebuild it with this linex");
  EXPECT_EQ(incompatibility(read_plugin_note(fixture("bad_revision"))),
            "solver interface revision 99 (host: 2); rebuild it with this linex");
}

TEST(Note, AnOlderContractIsRefusedWithBothVersions) {
  EXPECT_EQ(incompatibility(read_plugin_note(fixture("bad_major"))),
            "built for plugin API 1.0 (host: 2.0); rebuild it with this linex");
  EXPECT_EQ(incompatibility(read_plugin_note(fixture("bad_types"))),
            "ABI does not match: types=99 (host: types=" + std::to_string(LINEX_TYPES_REVISION) +
                "); rebuild it with this linex");
}

TEST(Note, ToolkitVersions) {
  const std::string host = toolkit_text(LINEX_TOOLKIT_VERSION);
  EXPECT_EQ(incompatibility(read_plugin_note(fixture("bad_toolkit"))),
            "built with toolkit 9.2 (host: " + host + "); rebuild it with this linex");
  EXPECT_EQ(toolkit_text(read_plugin_note(fixture("good")).raw.toolkit_version), "not used");
  EXPECT_EQ(read_plugin_note(fs::path(LINEX_PLUGIN_DIR) / "solvers" / "linex_solver_linear.so")
                .raw.toolkit_version,
            LINEX_TOOLKIT_VERSION);
  const auto version = [](std::uint32_t major, std::uint32_t minor) { return major << 16 | minor; };
  EXPECT_TRUE(toolkit_fits(0, version(3, 1)));
  EXPECT_TRUE(toolkit_fits(version(3, 1), version(3, 1)));
  EXPECT_TRUE(toolkit_fits(version(3, 0), version(3, 1)));
  EXPECT_FALSE(toolkit_fits(version(3, 2), version(3, 1)));
  EXPECT_FALSE(toolkit_fits(version(2, 1), version(3, 1)));
  EXPECT_FALSE(toolkit_fits(version(4, 0), version(3, 1)));
  EXPECT_TRUE(toolkit_fits(version(0, 2), version(0, 2)));
  EXPECT_FALSE(toolkit_fits(version(0, 1), version(0, 2)));
}

TEST(Note, FilesThatAreNoPlugins) {
  const Folder folder("no_plugins");
  EXPECT_EQ(note_error(fixture("bad_magic")),
            "its note has a wrong magic or size: not made with this SDK");
  EXPECT_EQ(note_error(folder.path() / "missing.so"), "No such file or directory");
  EXPECT_EQ(note_error(folder.path()), "not a regular file");
  const fs::path pipe = folder.path() / "pipe.so";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(note_error(pipe), "not a regular file");
  EXPECT_NE(note_error(folder.write("empty.so", "")).find("truncated"), std::string::npos);
  EXPECT_EQ(note_error(folder.write("text.so", "#!/bin/sh\necho hello\n")), "not a shared library");
  EXPECT_EQ(note_error(installed_plugin_dir().parent_path().parent_path() / "liblinex_sdk.so"),
            "not a linex plugin (no .linex_plugin section)");
}

TEST(Note, EveryTruncationIsAnError) {
  const Folder folder("truncated");
  const std::string content = read_file(fixture("good"));
  for (std::size_t size = 0; size < content.size(); size += size < 4096 ? 97 : 9973)
    EXPECT_NE(note_error(folder.write("cut.so", content.substr(0, size))), "no error") << size;
}

TEST(Note, ThousandsOfMutantsAreReadOrRefused) {
  const Folder folder("mutants");
  const fs::path file = folder.add("good");
  const std::string content = read_file(file);
  std::mt19937_64 random(1);
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    // Half of the damage goes where offsets and lengths are: the ELF header and the section table.
    std::vector<std::size_t> places;
    const int count = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < count; ++i) {
      const std::size_t table = std::min<std::size_t>(content.size(), 64 * 40);
      places.push_back(random() % 2   ? random() % 64
                       : random() % 2 ? content.size() - 1 - random() % table
                                      : random() % content.size());
    }
    for (const std::size_t at : places) {
      const char byte = random() % 3 ? static_cast<char>(random()) : static_cast<char>(0xff);
      stream.seekp(static_cast<std::streamoff>(at)).write(&byte, 1);
    }
    stream.flush();
    try {
      const PluginNote note = read_plugin_note(file);
      for (const std::string& text : {note.name, note.version, note.summary, note.abi_tag})
        for (const char c : text) ASSERT_TRUE(c >= ' ' && c <= '~');
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::plugin);
      ++refused;
    }
    for (const std::size_t at : places)
      stream.seekp(static_cast<std::streamoff>(at)).write(&content[at], 1);
  }
  EXPECT_GT(refused, 400);
}

// ---- trust and loading --------------------------------------------------------------------------

std::string trust_error(const fs::path& file) {
  try {
    check_plugin_trust(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Trust, OthersMayNotWrite) {
  const Folder folder("trust");
  const fs::path file = folder.add("good");
  EXPECT_EQ(trust_error(file), "");
  ::chmod(file.c_str(), 0775);
  EXPECT_NE(trust_error(file).find("others may write to the file; chmod go-w"), std::string::npos);
  ::chmod(file.c_str(), 0757);
  EXPECT_NE(trust_error(file), "");
  ::chmod(file.c_str(), 0755);
  ::chmod(folder.path().c_str(), 0775);
  EXPECT_NE(trust_error(file).find("others may write to its folder"), std::string::npos);
  const Folder safe("trust_link");
  fs::create_symlink(file, safe.path() / "link.so");
  EXPECT_NE(trust_error(safe.path() / "link.so"), "") << "a link does not make a folder safe";
}

TEST(Loader, RefusesBeforeLoading) {
  // These fixtures abort the process in a constructor of the library: the note must be enough.
  for (const char* name :
       {"bad_tag", "bad_minor", "bad_major", "bad_types", "bad_toolkit", "bad_revision"}) {
    const Folder folder("refuse");
    const fs::path file = folder.add(name);
    EXPECT_THROW(load_plugin(file, read_plugin_note(file)), Error) << name;
  }
}

TEST(Loader, ComparesTheNoteInMemory) {
  const Folder folder("swapped");
  const fs::path file = folder.add("good");
  PluginNote other = read_plugin_note(file);
  other.raw.summary[0] = 'B';
  try {
    load_plugin(file, other);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("does not belong to the note"), std::string::npos);
  }
}

TEST(Plugins, ExportOneSymbol) {
  std::vector<fs::path> files{fixture("good")};
  if (fs::exists(LINEX_PLUGIN_DIR))
    for (const auto& entry : fs::recursive_directory_iterator(LINEX_PLUGIN_DIR))
      if (entry.path().extension() == ".so") files.push_back(entry.path());
  for (const fs::path& file : files) {
    const Output symbols = run_command("nm -D --defined-only " + file.string());
    ASSERT_EQ(symbols.code, 0) << file;
    EXPECT_EQ(std::count(symbols.text.begin(), symbols.text.end(), '\n'), 1) << symbols.text;
    EXPECT_NE(symbols.text.find(" linex_plugin_descriptor_v1\n"), std::string::npos) << file;
  }
}

// ---- registry -----------------------------------------------------------------------------------

PluginSearch search_only(const fs::path& folder) {
  PluginSearch search;
  search.from_environment = false;
  search.installed = folder;
  return search;
}

const PluginEntry& entry_of(const PluginRegistry& registry, const std::string& key) {
  for (const PluginEntry& entry : registry.entries())
    if (entry.key == key) return entry;
  throw std::runtime_error("no entry " + key);
}

template <class Work>
std::string error_of(const Work& work, ErrorKind kind) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Registry, FindsByKindAndName) {
  const Folder folder("find");
  folder.add("good");
  folder.add("noisy", "solvers/linex_solver_noisy.so");
  PluginRegistry registry(search_only(folder.path()));
  EXPECT_EQ(registry.names(PluginKind::solver), (std::vector<std::string>{"good", "noisy"}));
  EXPECT_TRUE(registry.names(PluginKind::model).empty());
  EXPECT_TRUE(registry.loaded().empty());
  EXPECT_EQ(registry.options(PluginKind::solver, "good").size(), 0u);
  EXPECT_EQ(registry.loaded().size(), 1u);
  const std::string unknown =
      error_of([&] { registry.find(PluginKind::solver, "goood"); }, ErrorKind::usage);
  EXPECT_NE(unknown.find("there is no solver 'goood'; did you mean 'good'?"), std::string::npos)
      << unknown;
  error_of([&] { registry.find(PluginKind::model, "good"); }, ErrorKind::usage);
}

TEST(Registry, DuplicatesMakeBothUnusable) {
  const Folder folder("duplicates");
  const fs::path a = folder.add("good", "a.so"), b = folder.add("good", "solvers/b.so");
  const PluginRegistry registry(search_only(folder.path()));
  ASSERT_EQ(registry.entries().size(), 2u);
  EXPECT_NE(registry.entries()[0].why.find(b.string()), std::string::npos);
  EXPECT_NE(registry.entries()[1].why.find(a.string()), std::string::npos);
  const std::string why =
      error_of([&] { registry.find(PluginKind::solver, "good"); }, ErrorKind::plugin);
  EXPECT_NE(why.find("duplicate"), std::string::npos) << why;
  EXPECT_NE(why.find(a.string()), std::string::npos) << why;
  EXPECT_NE(why.find(b.string()), std::string::npos) << why;
}

TEST(Registry, AnExplicitFileOverridesWithAWarning) {
  const Folder folder("override"), other("override_by");
  folder.add("good");
  PluginSearch search = search_only(folder.path());
  search.files = {other.add("good")};
  const PluginRegistry registry(search);
  EXPECT_EQ(registry.find(PluginKind::solver, "good").file, search.files[0]);
  ASSERT_EQ(registry.warnings().size(), 1u);
  EXPECT_NE(registry.warnings()[0].find("is used instead of"), std::string::npos);
  // The same file twice is one plugin.
  search.installed = other.path();
  EXPECT_EQ(PluginRegistry(search).entries().size(), 1u);
}

TEST(Registry, SearchesTheEnvironmentsAbsoluteFolders) {
  const Folder first("env_first"), second("env_second");
  first.add("noisy");
  second.add("good");
  ::setenv("LINEX_PLUGIN_PATH",
           (first.path().string() + "::relative:/no/such/folder:" + second.path().string()).c_str(),
           1);
  PluginSearch search;
  search.installed.clear();
  const PluginRegistry registry(search);
  search.from_environment = false;
  const PluginRegistry without(search);
  ::unsetenv("LINEX_PLUGIN_PATH");
  EXPECT_EQ(registry.names(PluginKind::solver), (std::vector<std::string>{"good", "noisy"}));
  EXPECT_EQ(registry.entries()[0].key, "solver/noisy");
  EXPECT_EQ(registry.warnings().size(), 2u);
  EXPECT_TRUE(without.entries().empty());
}

TEST(Registry, KeepsWhatCannotBeUsedAndSaysWhy) {
  const Folder folder("unusable");
  folder.add("bad_tag");
  folder.add("bad_magic", "linex_solver_bad_magic.so");
  folder.write("linex_model_cut.so", read_file(fixture("good")).substr(0, 5000));
  ::chmod(folder.add("good").c_str(), 0775);
  const PluginRegistry registry(search_only(folder.path()));
  EXPECT_NE(entry_of(registry, "solver/bad_tag").why.find("ABI does not match"), std::string::npos);
  EXPECT_NE(entry_of(registry, "solver/good").why.find("not trusted"), std::string::npos);
  EXPECT_NE(entry_of(registry, "solver/bad_magic").why.find("magic"), std::string::npos);
  // Its name comes from the file's: asked for, it is a plugin that fails, not an unknown one.
  const std::string cut =
      error_of([&] { registry.find(PluginKind::model, "cut"); }, ErrorKind::plugin);
  EXPECT_NE(cut.find("model/cut cannot be used"), std::string::npos) << cut;
  EXPECT_NE(cut.find("truncated"), std::string::npos) << cut;
}

// ---- objects and the guard ----------------------------------------------------------------------

std::shared_ptr<const PluginContext> context() {
  return std::make_shared<conformance::TestContext>(OptionValues{});
}

TEST(Guard, FailuresOfCreate) {
  const Folder folder("create");
  for (const char* name : {"good", "throw_in_create", "ask_in_create"}) folder.add(name);
  PluginRegistry registry(search_only(folder.path()));
  EXPECT_NE(registry.create<SparseSolver>("good", context()), nullptr);
  EXPECT_EQ(error_of([&] { registry.create<SparseSolver>("throw_in_create", context()); },
                     ErrorKind::plugin),
            "solver/throw_in_create: create: the licence server does not answer");
  EXPECT_EQ(error_of([&] { registry.create<SparseSolver>("ask_in_create", context()); },
                     ErrorKind::input),
            "solver.table names no file");
}

TEST(Guard, FailuresOfCalls) {
  const Folder folder("calls");
  for (const char* name : {"throw_in_solve", "torch_error_in_solve"}) folder.add(name);
  PluginRegistry registry(search_only(folder.path()));
  const auto solve = [&](const char* name) {
    return error_of(
        [&] { registry.create<SparseSolver>(name, context())->solve({}, [](const auto&) {}); },
        ErrorKind::plugin);
  };
  EXPECT_EQ(solve("throw_in_solve"),
            "solver/throw_in_solve: solve: an exception that is not a std::exception");
  const std::string torch = solve("torch_error_in_solve");
  EXPECT_EQ(torch.find("solver/torch_error_in_solve: solve: "), 0u) << torch;
  EXPECT_NE(torch.find("mat1 and mat2 shapes cannot be multiplied"), std::string::npos) << torch;
  EXPECT_EQ(torch.find("frame #"), std::string::npos) << torch;
}

TEST(Guard, ErrorsForTheUserPassUnchanged) {
  const auto thrown = [](const auto& exception) {
    return [&] { guard("labeler/x", "attach", [&] { throw exception; }); };
  };
  EXPECT_EQ(error_of(thrown(input_error("no such file")), ErrorKind::input), "no such file");
  EXPECT_EQ(error_of(thrown(Error(ErrorKind::plugin, "oops")), ErrorKind::plugin),
            "labeler/x: attach: oops");
  EXPECT_EQ(error_of(thrown(PluginError("model/y: forward: oops")), ErrorKind::plugin),
            "model/y: forward: oops");
  EXPECT_EQ(error_of(thrown(std::bad_alloc()), ErrorKind::plugin),
            "labeler/x: attach: out of memory");
  EXPECT_EQ(guard("labeler/x", "attach", [] { return 7; }), 7);
}

TEST(Guard, TheContextOutlivesTheObject) {
  const Folder folder("lifetime");
  folder.add("good");
  PluginRegistry registry(search_only(folder.path()));
  std::shared_ptr<const PluginContext> lent = context();
  const std::weak_ptr<const PluginContext> watch = lent;
  auto solver = registry.create<SparseSolver>("good", std::move(lent));
  EXPECT_FALSE(watch.expired());
  solver.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(Trial, CrashesAreFoundOutInAChild) {
  const Folder folder("trial");
  for (const char* name : {"ask_in_create", "crash_in_create", "crash_in_load", "good",
                           "needs_option", "throw_in_create"})
    folder.add(name);
  const PluginRegistry registry(search_only(folder.path()));
  const auto trials = try_plugins(registry).by_file;
  ASSERT_EQ(trials.size(), 6u);
  const auto of = [&](const char* name) {
    return trials.at(folder.path() / (std::string(name) + ".so"));
  };
  EXPECT_EQ(of("good").why, "");
  EXPECT_EQ(of("needs_option").why, "");
  EXPECT_EQ(of("ask_in_create").why, "");
  EXPECT_EQ(of("ask_in_create").note, "solver.table names no file");
  EXPECT_NE(of("throw_in_create").why.find("the licence server does not answer"),
            std::string::npos);
  for (const char* name : {"crash_in_create", "crash_in_load"})
    EXPECT_NE(of(name).why.find("crashed (signal 6"), std::string::npos) << of(name).why;
  EXPECT_TRUE(registry.loaded().empty());
}

TEST(Trial, WhateverAConstructorDoesIsOneLineAboutIt) {
  const Folder folder("misbehave");
  const std::map<std::string, std::string> expected{
      {"spin_in_load", "it did not answer within 2 s"},
      {"spin_in_create", "it did not answer within 2 s"},
      {"exit_in_load", "it ended the process (exit 0)"},
      {"exit_in_create", "it ended the process (exit 0)"},
      {"leave_in_create", "it "},
      {"crash_in_load", "crashed (signal 6"},
      {"throw_int_in_create", "an exception that is not a std::exception"},
      {"noisy_in_load", ""},
      {"good", ""}};
  for (const auto& entry : expected) folder.add(entry.first);
  const PluginRegistry registry(search_only(folder.path()));
  ChildOptions options;
  options.patience = std::chrono::seconds(2);
  const auto trials = try_plugins(registry, options).by_file;
  ASSERT_EQ(trials.size(), expected.size());
  for (const auto& [name, why] : expected) {
    const Trial& trial = trials.at(folder.path() / (name + ".so"));
    if (why.empty())
      EXPECT_EQ(trial.why, "") << name;
    else
      EXPECT_NE(trial.why.find(why), std::string::npos) << name << ": " << trial.why;
    EXPECT_EQ(trial.why.find('\n'), std::string::npos) << trial.why;
  }
  EXPECT_TRUE(registry.loaded().empty());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Trial, AConstructorMayNotEatTheMachine) {
  const Folder folder("eat");
  folder.add("eat_in_create");
  const auto trials = try_plugins(PluginRegistry(search_only(folder.path()))).by_file;
  const std::string why = trials.begin()->second.why;
  // Where less than half of the memory is free, the kernel ends the child.
  EXPECT_TRUE(why.find("out of memory") != std::string::npos ||
              why.find("bad_alloc") != std::string::npos ||
              why.find("signal 9") != std::string::npos)
      << why;
}
#endif

TEST(Child, IsInterruptedWithItsParent) {
  ChildOptions options;
  options.cancelled = [] { return true; };
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &action, &before);
  ::alarm(1);
  const auto spin = [](const Say&) {
    for (;;) ::pause();
  };
  EXPECT_EQ(error_of(
                [&] {
                  run_in_child(
                      spin, [](const auto&) {}, options);
                },
                ErrorKind::interrupted),
            "interrupted");
  ::sigaction(SIGALRM, &before, nullptr);
}

// ---- plugins of an older contract
// --------------------------------------------------------------

/// "" where the plugin can be used; else why not, which names both versions.
std::string refusal(const fs::path& file) {
  const std::string why = incompatibility(read_plugin_note(file));
  if (!why.empty()) {
    EXPECT_NE(why.find("(host: "), std::string::npos) << why;
    EXPECT_NE(why.find("; rebuild it with this linex"), std::string::npos) << why;
  }
  return why;
}

template <class Interface>
conformance::Make<Interface> maker(PluginRegistry& registry, const std::string& name) {
  return [&registry, name](const PluginContext& context) {
    const std::shared_ptr<const PluginContext> lent(&context, [](const PluginContext*) {});
    return registry.create<Interface>(name, lent);
  };
}

TEST(FrozenContract, OldPluginsWorkOrAreRefusedWithBothVersionsNamed) {
  if (std::string(kAbiTag).find("sanitizer=none") == std::string::npos)
    GTEST_SKIP() << "the frozen headers do not see g++'s sanitizers: their plugins are refused";
  const Folder folder("frozen");
  const fs::path solver = folder.add("frozen_2_solver"), labeler = folder.add("frozen_2_labeler");
  PluginRegistry registry(search_only(folder.path()));
  if (refusal(solver).empty()) {
    conformance::Setup setup;
    const OptionSpecs specs = registry.options(PluginKind::solver, "frozen");
    setup.options = option::defaults(specs.begin(), specs.size());
    const auto checks = conformance::check_solver(maker<SparseSolver>(registry, "frozen"), setup);
    EXPECT_EQ(conformance::failures(checks), "");
    EXPECT_GT(checks.size(), 10u);
  }
  if (refusal(labeler).empty()) {
    const auto checks = conformance::check_labeler(maker<ConceptLabeler>(registry, "frozen"), {});
    EXPECT_EQ(conformance::failures(checks), "");
    const auto made = registry.create<ConceptLabeler>("frozen", context());
    EXPECT_EQ(made->fingerprint(), "frozen-1");
    ASSERT_NE(ability<PixelLabels>(*made), nullptr);
    EXPECT_EQ(ability<PixelLabels>(*made)->label_maps(0).maps.size(), 1u);
  }
  // What the notes say today; a later contract expects a refusal here.
  EXPECT_EQ(refusal(solver).empty(),
            LINEX_API_MAJOR == 2 && LINEX_TYPES_REVISION == 2 && LINEX_SOLVER_REVISION == 2);
  EXPECT_EQ(refusal(labeler).empty(),
            LINEX_API_MAJOR == 2 && LINEX_TYPES_REVISION == 2 && LINEX_LABELER_REVISION == 3);
}

// ---- the conformance kit tells good from bad
// ----------------------------------------------------

struct LazySolver : SparseSolver {
  explicit LazySolver(const PluginContext& context) : context_(context) {}
  SolveReport solve(const Problem& in, const ExplanationSink& emit) override {
    for (std::size_t i = 0; i < in.units.size(); ++i) {  // forgets `finished`
      Explanation found;
      found.unit = in.units[i];
      found.terms = {{in.concepts[0], context_.run().threads * 1.0}};  // depends on the threads
      emit({found});
    }
    return {};
  }
  const PluginContext& context_;
};

TEST(Conformance, FindsWhatIsWrong) {
  const auto checks = conformance::check_solver(
      [](const PluginContext& context) { return std::make_shared<LazySolver>(context); }, {});
  const std::string failed = conformance::failures(checks);
  for (const char* name :
       {"same bytes on three threads", "a resumed run ends in the same bytes",
        "dead and constant units have a status", "errors of the presence come out"})
    EXPECT_NE(failed.find(name), std::string::npos) << name << "\n" << failed;
  EXPECT_EQ(failed.find("same input, same bytes:"), std::string::npos) << failed;
  EXPECT_EQ(failed.find("nothing on stdout"), std::string::npos) << failed;
}

}  // namespace
}  // namespace linex
