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
  expect_contains(list.text, "cxx11=0 (host: cxx11=1), torch=9.9.9 (host: torch=");
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
  write_npy(at + "p.npy", torch::arange(60, torch::kFloat).reshape({30, 2}).remainder(2));
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
  EXPECT_EQ(option.code, 0);
  expect_contains(option.text, "needs --solver.table=...");
  const Output given = run_command(
      linex("check " + fixture("needs_option").string() + " --with table=x,y=z 2>&1", folder));
  EXPECT_EQ(given.code, 4);
  expect_contains(given.text, "solver.y is not an option of solver/needs_option");
  EXPECT_EQ(run_command(linex("check /no/such.so 2>&1", folder)).code, 3);
}

}  // namespace
}  // namespace linex
