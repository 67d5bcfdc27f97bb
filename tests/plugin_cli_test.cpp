// What a user sees of plugins that are wrong: linex list, check and explain.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "plugin_fixtures.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {
namespace {

std::string linex(const std::string& arguments, const Folder& plugins) {
  return "LINEX_PLUGIN_PATH=" + plugins.path().string() + " " LINEX_BINARY " " + arguments;
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in\n" << text;
}

/// One of everything that can be wrong with a file.
Folder spoiled(const std::string& name) {
  Folder folder(name);
  for (const char* wrong : {"bad_tag", "bad_minor", "throw_in_create", "crash_in_create",
                            "throw_in_solve", "ask_in_create"})
    folder.add(wrong);
  folder.add("good", "first.so");
  folder.add("good", "second.so");
  folder.write("linex_solver_cut.so", read_file(fixture("good")).substr(0, 9000));
  return folder;
}

TEST(PluginCli, ListShowsEachReason) {
  const Folder folder = spoiled("cli_list");
  const Output list = run_command(linex("list", folder));
  ASSERT_EQ(list.code, 0) << list.text;
  const auto usable = list.text.substr(0, list.text.find("cannot be used"));
  expect_contains(usable, "throw_in_solve");
  expect_contains(usable, "with its defaults: solver.table names no file");
  EXPECT_EQ(usable.find("throw_in_create"), std::string::npos);
  expect_contains(list.text, "ABI does not match: cxx11=0 (host: cxx11=1), ");
  expect_contains(list.text, ", torch=9.9.9 (host: torch=");
  expect_contains(list.text, "built for plugin API 2.7 (host: 2.0)");
  expect_contains(list.text, "truncated or damaged");
  expect_contains(list.text, "create: the licence server does not answer");
  expect_contains(list.text, "crashed (signal 6");
  expect_contains(list.text,
                  "duplicate: solver/good is also in " + (folder.path() / "second.so").string());
}

TEST(PluginCli, ListAsJson) {
  const Folder folder = spoiled("cli_json");
  const Output list = run_command(linex("list --json", folder));
  ASSERT_EQ(list.code, 0);
  const auto json = nlohmann::json::parse(list.text);
  std::map<std::string, std::string> why;
  for (const auto& row : json.at("unusable"))
    why[row.at("kind").get<std::string>() + "/" + row.at("name").get<std::string>()] =
        row.at("why");
  for (const char* name :
       {"bad_tag", "bad_minor", "throw_in_create", "crash_in_create", "good", "cut"})
    EXPECT_FALSE(why[std::string("solver/") + name].empty()) << name;
  for (const auto& row : json.at("plugins")) EXPECT_FALSE(row.at("file").empty());
}

TEST(PluginCli, TheEnvironmentCanBeIgnored) {
  const Folder folder = spoiled("cli_env");
  const Output list = run_command(linex("list --no-plugins-from-env", folder));
  EXPECT_EQ(list.code, 0);
  EXPECT_EQ(list.text.find("throw_in_solve"), std::string::npos) << list.text;
}

TEST(PluginCli, ExplainExitsFourWithOneLine) {
  const Folder folder = spoiled("cli_explain");
  const std::string at = folder.path().string() + "/";
  write_npy(at + "a.npy", torch::arange(60, torch::kFloat).reshape({30, 2}).remainder(7));
  write_npy(at + "p.npy", torch::arange(60, torch::kFloat).reshape({30, 2}).remainder(3));
  folder.write("names.txt", "stripes\ndots\n");
  const std::string job = "explain --model.plugin=recorded --model.activations=" + at +
                          "a.npy --labeler.plugin=recorded --labeler.concepts=" + at +
                          "p.npy --labeler.names=" + at +
                          "names.txt --run.log-level=off --run.out=" + at + "out --solver.plugin=";
  const std::map<std::string, std::string> expected{
      {"bad_tag", "ABI does not match"},
      {"throw_in_create", "the licence server does not answer"},
      {"throw_in_solve", "solve: an exception that is not a std::exception"},
      {"cut", "truncated or damaged"},
      {"good", "duplicate"}};
  for (const auto& [name, reason] : expected) {
    const Output run = run_command(linex(job + name + " 2>&1 >/dev/null", folder));
    EXPECT_EQ(run.code, 4) << name << ": " << run.text;
    expect_contains(run.text, "linex: solver/" + name);
    expect_contains(run.text, reason);
    EXPECT_EQ(std::count(run.text.begin(), run.text.end(), '\n'), 1) << run.text;
  }
  const Output unknown = run_command(linex(job + "linaer 2>&1 >/dev/null", folder));
  EXPECT_EQ(unknown.code, 2) << unknown.text;
}

/// Two units of two concepts, and the solver to be named.
std::string recorded_job(const Folder& folder) {
  const std::string at = folder.path().string() + "/";
  write_npy(at + "a.npy", torch::arange(60, torch::kFloat).reshape({30, 2}).remainder(7));
  write_npy(at + "p.npy", torch::arange(60, torch::kFloat).reshape({30, 2}).remainder(3));
  folder.write("names.txt", "stripes\ndots\n");
  return "explain --model.plugin=recorded --model.activations=" + at +
         "a.npy --labeler.plugin=recorded --labeler.concepts=" + at +
         "p.npy --labeler.names=" + at +
         "names.txt --run.report=none --run.log-level=off --run.out=" + at + "out --solver.plugin=";
}

TEST(PluginCli, APluginThatEndsTheProcessIsNamed) {
  const Folder folder("cli_ends");
  const std::map<std::string, std::string> expected {
    {"crash_in_load", "load: crashed (signal 6, Aborted)"}, {"exit_in_load", "load: called exit"},
        {"crash_in_create", "create: crashed (signal 6, Aborted)"},
        {"exit_in_create", "create: called exit"},
        {"throw_int_in_create", "create: an exception that is not a std::exception"},
        {"crash_in_solve", "solve: crashed (signal 6, Aborted)"},
        {"exit_in_solve", "solve: called exit"},
#if !defined(__SANITIZE_ADDRESS__)
        {"overflow_in_solve", "solve: crashed (signal 11, Segmentation fault)"},
        {"crash_in_thread", "solve: crashed (signal 11, Segmentation fault)"},
#endif
    {
      "throw_in_thread", "solve: threw where nothing can catch it"
    }
  };
  for (const auto& entry : expected) folder.add(entry.first);
  const std::string job = recorded_job(folder);
  for (const auto& [name, what] : expected) {
    const Output run = run_command(linex(job + name + " 2>&1 >/dev/null", folder));
    EXPECT_EQ(run.code, 4) << name << ": " << run.text;
    expect_contains(run.text, "linex: solver/" + name + ": " + what);
    EXPECT_EQ(std::count(run.text.begin(), run.text.end(), '\n'), 1) << run.text;
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(PluginCli, WhatWasFinishedBeforeACrashIsKept) {
  const Folder folder("cli_kept");
  folder.add("crash_after_block");
  const std::string job = recorded_job(folder) + "crash_after_block 2>&1 >/dev/null";
  const Output crash = run_command(linex(job, folder));
  EXPECT_EQ(crash.code, 4);
  expect_contains(crash.text, "crashed (signal 11, Segmentation fault); what was finished is kept");
  const auto journal = read_file(folder.path() / "out/explanations.recorded.journal");
  EXPECT_EQ(std::count(journal.begin(), journal.end(), '\n'), 2) << "its key and one block";
  const Output again = run_command(linex(job, folder));
  EXPECT_EQ(again.code, 0) << again.text;
}
#endif

TEST(PluginCli, InspectRunsNoPluginInTheHost) {
  const Folder folder("cli_inspect");
  const std::map<std::string, std::string> expected{
      {"crash_in_load", "solver/crash_in_load: load: it crashed (signal 6"},
      {"exit_in_load", "solver/exit_in_load: load: it ended the process (exit 0)"}};
  for (const auto& entry : expected) folder.add(entry.first);
  for (const auto& [name, what] : expected) {
    const Output run = run_command(linex("inspect solver/" + name + " 2>&1", folder));
    EXPECT_EQ(run.code, 4) << run.text;
    EXPECT_EQ(run.text,
              "linex: " + what + run.text.substr(std::min(run.text.size(), what.size() + 7)));
  }
  folder.add("noisy_in_load");
  folder.add("needs_option");
  const Output noisy = run_command(linex("inspect solver/noisy_in_load", folder));
  EXPECT_EQ(noisy.code, 0);
  EXPECT_EQ(noisy.text.find("hello"), std::string::npos) << noisy.text;
  expect_contains(noisy.text, "no options");
  const Output options = run_command(linex("inspect solver/needs_option", folder));
  expect_contains(options.text,
                  "options\n  --solver.table text  a file of explanations (required)");
}

TEST(PluginCli, CheckSurvivesWhatListDoes) {
  const Folder folder("cli_check_ends");
  const std::map<std::string, std::string> expected{
      {"spin_in_load", "FAILED   load: it did not answer within 2 s"},
      {"exit_in_load", "FAILED   load: it ended the process (exit 0)"},
      {"noisy_in_load", "FAILED   load: 6 bytes were written to standard output"},
      {"spin_in_create", "FAILED   create: it did not answer within 2 s"},
      {"exit_in_create", "FAILED   create: it ended the process (exit 0)"},
      {"throw_int_in_create", "FAILED   create: threw"},
      {"exit_in_solve", "it ended the process (exit 0)"}};
  for (const auto& [name, what] : expected) {
    const Output run =
        run_command(linex("check " + fixture(name).string() + " --timeout 2 2>&1", folder));
    EXPECT_EQ(run.code, 4) << name << ": " << run.text;
    expect_contains(run.text, what);
  }
}

TEST(PluginCli, CheckBlamesTheRightStep) {
  const Folder folder = spoiled("cli_check");
  const auto check = [&](const char* name) {
    return run_command(linex("check " + fixture(name).string() + " 2>&1", folder));
  };
  const Output crash = check("crash_in_solve");
  EXPECT_EQ(crash.code, 4);
  expect_contains(crash.text, "FAILED   solve: it crashed (signal 6");
  const Output noisy = check("noisy");
  EXPECT_EQ(noisy.code, 4);
  expect_contains(noisy.text, "nothing on stdout: ");
  const Output tag = check("bad_tag");
  EXPECT_EQ(tag.code, 4);
  expect_contains(tag.text, "FAILED   note: ABI does not match");
  const Output option = check("needs_option");
  EXPECT_EQ(option.code, 4) << "nothing but its note was looked at";
  expect_contains(option.text, "needs --solver.table=...");
  expect_contains(option.text, "2 passed, 0 failed, 1 skipped\nnot checked: options");
  const Output stated = run_command(
      linex("check " + fixture("needs_option").string() + " --allow-skipped options 2>&1", folder));
  EXPECT_EQ(stated.code, 0) << stated.text;
  // Names of checks may hold a comma.
  const Output asked =
      run_command(linex("check " + fixture("good").string() +
                            " --skip 'same bytes on three threads,same input, same bytes' 2>&1",
                        folder));
  expect_contains(asked.text, "skipped  same bytes on three threads: on request");
  EXPECT_EQ(asked.text.find("not checked"), std::string::npos) << asked.text;
  expect_contains(asked.text, "skipped  same input, same bytes: on request");
  const Output given = run_command(
      linex("check " + fixture("needs_option").string() + " --with table=x,y=z 2>&1", folder));
  EXPECT_EQ(given.code, 4);
  expect_contains(given.text, "solver.y is not an option of solver/needs_option");
  EXPECT_EQ(run_command(linex("check /no/such.so 2>&1", folder)).code, 3);
}

TEST(PluginCli, TheChecksOwnDataServesAnAuthor) {
  const Folder folder("cli_check_data");
  const std::string at = folder.path().string() + "/data";
  const Output written = run_command(linex("check --write-data " + at + " 2>&1", folder));
  ASSERT_EQ(written.code, 0) << written.text;
  const std::string plugins = LINEX_PLUGIN_DIR;
  const Output labeler = run_command(
      linex("check " + plugins + "/labelers/linex_labeler_recorded.so --with concepts=" + at +
                "/presence.npy,names=" + at +
                "/concepts.txt --allow-skipped 'ones equal the values' "
                "2>&1",
            folder));
  EXPECT_EQ(labeler.code, 0) << labeler.text;
  expect_contains(labeler.text, "passed   presence of texts");
  // The images are those of the rows: an ordinary labeler gives the classes of the data set.
  const Output run = run_command(
      linex("explain --data.kind=csv --data.root=" + at + "/images.csv --data.split=" + at +
                "/split --model.plugin=recorded --model.activations=" + at +
                "/activations.npy --labeler.plugin=recorded --labeler.concepts=" + at +
                "/presence.npy --labeler.names=" + at +
                "/concepts.txt --run.report=none --run.log-level=error --run.out=" + at + "/o 2>&1",
            folder));
  EXPECT_EQ(run.code, 0) << run.text;
  expect_contains(read_file(at + "/o/explanations.csv"), "red");
}

}  // namespace
}  // namespace linex
