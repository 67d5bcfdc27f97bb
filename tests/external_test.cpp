// Commands behind the external plugins: what comes through, and every way they can fail.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <thread>

#include "core/plugin/option_schema.hpp"
#include "folder_test.hpp"
#include "linex/conformance.hpp"
#include "linex/error.hpp"
#include "run_linex.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/command_words.hpp"
#include "toolkit/external/exchange.hpp"
#include "toolkit/external/free_options.hpp"
#include "toolkit/external/session.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

// ------------------------------------------------------------------------------- words, options

TEST(CommandWords, AreSplitAsAShellDoes) {
  EXPECT_EQ(split_command("python3 my.py"), (Words{"python3", "my.py"}));
  EXPECT_EQ(split_command("  a\t b\n c  "), (Words{"a", "b", "c"}));
  EXPECT_EQ(split_command(R"(a 'b c' "d e")"), (Words{"a", "b c", "d e"}));
  EXPECT_EQ(split_command(R"(a\ b 'c\d' "e\"f\\g\h")"), (Words{"a b", R"(c\d)", R"(e"f\g\h)"}));
  EXPECT_EQ(split_command(R"(x''y "" z)"), (Words{"xy", "", "z"}));
  EXPECT_EQ(split_command("a $HOME *.py > b | c"),
            (Words{"a", "$HOME", "*.py", ">", "b", "|", "c"}));
  for (const char* bad : {"", "  ", "a 'b", "a \"b", "a \\", "'' x"})
    EXPECT_THROW(split_command(bad), Error) << bad;
  EXPECT_THROW(split_command(std::string("a\0b", 3)), Error);
}

TEST(FreeOptions, AreNumbersFlagsAndTexts) {
  EXPECT_EQ(parse_free_options(""), Json::object());
  EXPECT_EQ(parse_free_options("a=0.5,b=true,c=x y,d=1,2,e="),
            (Json{{"a", 0.5}, {"b", true}, {"c", "x y"}, {"d", "1,2"}, {"e", ""}}));
  EXPECT_EQ(parse_free_options(R"({"a": [1, 2]})"), (Json{{"a", {1, 2}}}));
  EXPECT_EQ(parse_free_options("a=[1]"), (Json{{"a", "[1]"}}));
  EXPECT_THROW(parse_free_options("alpha"), Error);
  EXPECT_THROW(parse_free_options("{broken"), Error);
  EXPECT_THROW(parse_free_options("a=\xff"), Error);
  EXPECT_EQ(Json::parse(add_free_options("a=1", {{"b", "x"}})), (Json{{"a", 1}, {"b", "x"}}));
  EXPECT_EQ(add_free_options("", {}), "");
}

TEST(FreeOptions, GoToThePluginsThatTakeThem) {
  static constexpr auto kTakes = kExternalOptions;
  static constexpr std::array kTakesNot{option::text("command", "", "a command")};
  const std::map<std::string, std::string> given{{"command", "x"}, {"alpha", "0.1"}};
  const OptionSpecs takes(kTakes.data(), kTakes.size());
  ASSERT_TRUE(takes_free_options(takes));
  const auto resolved = resolve_options(takes, given, "solver", "solver/external");
  EXPECT_EQ(Json::parse(resolved.values.text("options")), (Json{{"alpha", 0.1}}));
  // run.ini holds the text: read back it gives the same.
  std::map<std::string, std::string> again(resolved.text.begin(), resolved.text.end());
  EXPECT_EQ(resolve_options(takes, again, "solver", "solver/external").text, resolved.text);
  const OptionSpecs takes_not(kTakesNot.data(), kTakesNot.size());
  EXPECT_FALSE(takes_free_options(takes_not));
  EXPECT_THROW(resolve_options(takes_not, given, "solver", "solver/other"), Error);
}

// ------------------------------------------------------------------------------------- exchange

class Folder : public FolderTest {
 protected:
  void SetUp() override { settings_.cache = folder_ / "cache"; }
  static std::size_t entries(const fs::path& folder) {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder), fs::directory_iterator{}));
  }
  RunSettings settings_;
};

TEST_F(Folder, AMappedArrayIsGivenAsItsFile) {
  const auto values = torch::arange(6000, torch::kFloat32).reshape({60, 100});
  write_npy(folder_ / "a b.npy", values);
  const Exchange exchange(settings_);
  const auto mapped = map_npy(folder_ / "a b.npy");
  EXPECT_EQ(exchange.give("x", mapped)["file"], (folder_ / "a b.npy").string());
  // A part of it, or a copy, is not the file.
  for (const auto& other : {mapped.narrow(0, 1, 59), mapped.clone(), mapped.narrow(0, 0, 59)}) {
    const Json given = exchange.give("x", other);
    EXPECT_EQ(given["file"], (exchange.folder() / "x.npy").string());
    EXPECT_TRUE(torch::equal(map_npy(given["file"].get<std::string>()), other));
  }
  // The name means another file now.
  write_npy(folder_ / "a b.npy", values + 1);
  EXPECT_EQ(exchange.give("x", mapped)["file"], (exchange.folder() / "x.npy").string());
  EXPECT_EQ(exchange.give("l", torch::tensor({1, 2}, torch::kInt64))["dtype"], "int64");
}

TEST_F(Folder, IsRemovedAndSoIsWhatAKilledRunLeft) {
  {
    const Exchange first(settings_), second(settings_);
    EXPECT_NE(first.folder(), second.folder());
    EXPECT_EQ(entries(settings_.cache), 2U);
  }
  EXPECT_EQ(entries(settings_.cache), 0U);
  const pid_t child = ::fork();
  if (child == 0) {
    const Exchange exchange(settings_);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(entries(settings_.cache), 1U);
  { const Exchange exchange(settings_); }
  EXPECT_EQ(entries(settings_.cache), 0U);
}

TEST_F(Folder, RefusesWhatIsNotTheArrayAskedFor) {
  const Exchange exchange(settings_);
  const auto file = exchange.folder() / "a.npy";
  write_npy(file, torch::ones({2, 3}));
  EXPECT_EQ(exchange.take("a.npy", {2, 3}).sum().item<float>(), 6);
  EXPECT_EQ(exchange.take(file.string(), {2, -1}).size(1), 3);
  const auto expect_refused = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                                  const std::string& part) {
    try {
      exchange.take(name, shape);
      ADD_FAILURE() << name << " was taken";
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect_refused("a.npy", {3, 2}, "float32 (2, 3), not float32 (3, 2)");
  expect_refused("a.npy", {6}, "(2, 3)");
  expect_refused("b.npy", {2, 3}, "no file 'b.npy'");
  expect_refused("", {2, 3}, "not in the exchange folder");
  expect_refused(".", {2, 3}, "not in the exchange folder");
  expect_refused("../a.npy", {2, 3}, "not in the exchange folder");
  expect_refused("/etc/passwd", {2, 3}, "not in the exchange folder");
  fs::create_symlink("/etc/passwd", exchange.folder() / "link.npy");
  expect_refused("link.npy", {2, 3}, "not a regular file");
  write_npy(file, torch::ones({2, 3}, torch::kFloat64));
  expect_refused("a.npy", {2, 3}, "float64 (2, 3), not float32 (2, 3)");
  write_npy(file, torch::tensor({{1.0F, 2.0F}, {3.0F, static_cast<float>(kNone)}}));
  expect_refused("a.npy", {2, 2}, "NaN or an infinite value at (1, 1)");
  write_file_atomic(file, std::string(1 << 20, 'x'));
  expect_refused("a.npy", {2, 2}, "1048576 bytes");
  write_file_atomic(file, "not an array");
  expect_refused("a.npy", {2, 2}, "not a .npy file");
}

// ---------------------------------------------------------------------------------- whole runs

#ifdef LINEX_PYTHON

constexpr int kUnits = 12;

class External : public Folder {
 protected:
  void SetUp() override {
    Folder::SetUp();
    torch::manual_seed(1);
    write_npy(folder_ / "acts.npy", torch::rand({40, kUnits}));
    write_npy(folder_ / "secret.npy", torch::rand({40, 3}));
    write_npy(folder_ / "presence.npy", torch::rand({40, 4}));
    std::ofstream(folder_ / "names.txt") << "red\nsky, \"cloudy\"\ndotted\nfood\n";
  }

  struct Outcome {
    int code = -1;
    std::string error, last;
    double seconds = 0;
  };
  Outcome run(const std::string& arguments) const {
    const auto begin = std::chrono::steady_clock::now();
    Outcome outcome;
    outcome.code = run_linex(folder_, arguments);
    outcome.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    outcome.error = read_file(folder_ / "stderr.txt");
    const auto lines = split_lines(outcome.error);
    if (!lines.empty()) outcome.last = lines.back();
    return outcome;
  }

  static std::string script(const std::string& name) {
    return "\"" LINEX_PYTHON " " LINEX_SOURCE_DIR "/tests/fixtures/external/" + name + "\"";
  }
  static std::string recorded(const std::string& out, const std::string& evaluator = "none") {
    return "explain --model.plugin=recorded --model.activations=acts.npy "
           "--labeler.plugin=recorded --labeler.concepts=presence.npy --labeler.names=names.txt "
           "--run.report=none --evaluator.plugin=" +
           evaluator + " --run.out=" + out + " ";
  }
  static std::string solver(const std::string& out, const std::string& command,
                            const std::string& more = "") {
    return recorded(out) + "--solver.plugin=external --solver.command=" + command + " " + more;
  }
  void arm(bool on) const {
    if (on)
      std::ofstream(folder_ / "armed") << "1";
    else
      fs::remove(folder_ / "armed");
  }
  std::string explanations(const std::string& out) const {
    return read_file(folder_ / out / "explanations.csv");
  }
  bool cache_is_clean(const std::string& out) const {
    for (const auto& entry : fs::directory_iterator(folder_ / out / "cache"))
      if (entry.path().filename().string().rfind("linex-external-", 0) == 0) return false;
    return true;
  }
};

TEST_F(External, AMethodsExplanationsAndOptionsComeThrough) {
  const auto outcome = run(solver("out", script("solver.py"), "--solver.fault=none"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const std::string csv = explanations("out");
  EXPECT_NE(csv.find("\"sky, \"\"cloudy\"\"\""), std::string::npos) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), kUnits + 1);
  const std::string ini = read_file(folder_ / "out/run.ini");
  EXPECT_NE(ini.find("options = {\"fault\":\"none\"}"), std::string::npos) << ini;
  const Json summary = Json::parse(read_file(folder_ / "out/summary.json"));
  EXPECT_NE(summary.dump().find("\"seen\":12"), std::string::npos) << summary.dump();
  EXPECT_TRUE(cache_is_clean("out"));

  // run.ini runs again.
  ASSERT_EQ(run("explain --config out/run.ini --run.out=again").code, 0);
  EXPECT_EQ(explanations("again"), csv);
  // Anywhere else an unknown key is still an error.
  const auto refused = run(recorded("no") + "--solver.plugin=linear --solver.fault=none");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.last.find("solver.fault"), std::string::npos) << refused.error;
}

struct Fault {
  const char* name;
  const char* says;  ///< part of the one line
  int kept = 5;      ///< units stored in spite of it
  int code = 4;
  double timeout = 0;  ///< option of the run; 0: the default
};

TEST_F(External, EveryFailureIsOneLineAndLosesNothing) {
  ASSERT_EQ(run(solver("clean", script("solver.py"))).code, 0);
  const std::string expected = explanations("clean");
  const std::vector<Fault> faults{
      {"kill", "ended by signal 9 (Killed)"},
      {"crash", "ended by signal 11 (Segmentation fault)"},
      {"exit 0", "ended (exit 0) without 'done'"},
      {"exception", "ended by exit 1; its last words: RuntimeError: the method does not like"},
      {"hang", "gave no answer for 1 s (option timeout) and was ended", 5, 4, 1},
      {"deaf hang", "gave no answer for 1 s", 5, 4, 1},
      {"drip", "gave no answer for 1 s", 5, 4, 1},
      {"half a line", "ended in the middle of a line (exit 0)"},
      {"endless line", "wrote more than 16 MB without a line end"},
      {"endless lines", "wrote more than 64 MB of progress and log messages without a result"},
      {"endless stderr", "ended by exit 5; its last words: the very last line"},
      {"garbage", "is not JSON: hello, I am a method"},
      {"binary", "is not JSON"},
      {"no object", "is no message, an object with a \"type\": [\"explanation\", 3]"},
      {"no type", "is no message"},
      {"unknown type", "a message of type 'explanatoin' where 'explanation' or 'done' was due"},
      {"deep", "is not JSON: [[[["},
      {"closed pipe", "closed its output without 'done' and went on running"},
      {"version", "speaks version 2 of the protocol, this linex version 1"},
      {"own error", "cannot do?this"},
      {"input error", "row 3 is of no use; remove it", 5, 3},
      {"child", "ended by exit 1"},
      {"bad progress", "progress without the numbers"},
      {"done early", "said done after 5 of 12 units"},
      {"wrong unit", "it explained unit 6 where unit 5 was due"},
      {"text for unit", "no integer \"unit\""},
      {"duplicate", "it explained unit 4 where unit 5 was due"},
      {"unknown concept", "unit 5: there is no concept 'no such thing'"},
      {"concept out of range", "unit 5: there is no concept 4 among 4"},
      {"concept twice", "unit 5: it names 'red' twice"},
      {"term without weight", "unit 5: a term is [\"red\"]; [concept, weight] is expected"},
      {"NaN", "NaN and Infinity are not JSON"},
      {"infinite", "is not JSON"},
      {"unknown status", "unit 5: "},
      {"nothing said", "unit 5: status ok without a term or a text"},
      {"one too many", "sent an explanation after all 12 units were explained", 12},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.name);
    fs::remove_all(folder_ / "out");
    std::string options = "--solver.fault='" + std::string(fault.name) + "'";
    if (fault.timeout > 0) options += " --solver.timeout=" + std::to_string(fault.timeout);
    arm(true);
    const auto failed = run(solver("out", script("solver.py"), options + " --run.log-level=off"));
    EXPECT_EQ(failed.code, fault.code) << failed.error;
    EXPECT_EQ(std::count(failed.error.begin(), failed.error.end(), '\n'), 1) << failed.error;
    EXPECT_EQ(failed.error.rfind(fault.code == 4 ? "linex: solver/external: solve: solver.py: "
                                                 : "linex: solver/external: solver.py: ",
                                 0),
              0U)
        << failed.error;
    EXPECT_NE(failed.error.find(fault.says), std::string::npos) << failed.error;
    EXPECT_LT(failed.seconds, 60);
    EXPECT_TRUE(cache_is_clean("out"));
    if (std::string(fault.name) == "child") {
      const auto pid = static_cast<pid_t>(std::stol(read_file(folder_ / "left_behind")));
      // Killed; whoever adopted it may not have waited for it yet.
      std::string state = "gone";
      for (int i = 0; i < 100; ++i) {
        std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
        std::string text;
        std::getline(status, text);
        if (text.empty()) break;
        state = text.substr(text.rfind(')') + 2, 1);
        if (state == "Z") break;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      EXPECT_TRUE(state == "Z" || ::kill(pid, 0) != 0) << "left behind: " << state;
    }

    arm(false);
    const auto resumed = run(solver("out", script("solver.py"), options));
    EXPECT_EQ(resumed.code, 0) << resumed.error;
    EXPECT_NE(resumed.error.find("resuming: " + std::to_string(fault.kept) + " of 12 units"),
              std::string::npos)
        << resumed.error;
    EXPECT_EQ(explanations("out"), expected);
  }
}

TEST_F(External, ACommandThatCannotBeStartedSaysWhy) {
  std::ofstream(folder_ / "plain.txt") << "text\n";
  std::ofstream(folder_ / "orphan.sh") << "#!/no/such/interpreter\n";
  fs::permissions(folder_ / "orphan.sh", fs::perms::owner_all);
  const struct {
    const char* command;
    const char* says;
    int code;
  } cases[] = {
      {"'no-such-python x.py'", "there is no program 'no-such-python' on PATH", 4},
      {"./nowhere.sh", "there is no file './nowhere.sh'", 4},
      {"./plain.txt", "'./plain.txt' is not allowed to be run", 4},
      {"./orphan.sh", "its first line names an interpreter that is not there", 4},
      {"\"python3 'x\"", "an open '", 2},
      {"''", "command", 2},
  };
  for (const auto& wrong : cases) {
    SCOPED_TRACE(wrong.command);
    const auto outcome = run(solver("out", wrong.command, "--run.log-level=off"));
    EXPECT_EQ(outcome.code, wrong.code);
    EXPECT_NE(outcome.error.find(wrong.says), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }
}

TEST_F(External, AnEndOtherThanZeroAfterAllAnswersIsAWarning) {
  arm(true);
  const auto outcome = run(solver("out", script("solver.py"), "--solver.fault='bad farewell'"));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("gave all answers, then ended by exit 9"), std::string::npos)
      << outcome.error;
}

/// linex in a process of its own, to be sent signals.
pid_t start(const fs::path& folder, const std::string& arguments) {
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string command = "cd '" + folder.string() + "' && exec '" LINEX_BINARY "' " +
                                arguments + " >stdout.txt 2>stderr.txt </dev/null";
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  return child;
}

TEST_F(External, InterruptedAndKilledRunsGoOn) {
  ASSERT_EQ(run(solver("clean", script("solver.py"))).code, 0);
  for (const int signal : {SIGINT, SIGKILL}) {
    SCOPED_TRACE(signal);
    fs::remove_all(folder_ / "out");
    arm(true);
    const std::string command = solver("out", script("solver.py"), "--solver.fault=slow");
    const pid_t linex = start(folder_, command);
    // The journal has its first line, then the block of five.
    const auto journal = folder_ / "out" / "explanations.recorded.journal";
    bool stored = false;
    for (int i = 0; i < 600 && !stored; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      for (const auto& entry : fs::directory_iterator(folder_))
        if (entry.path().filename() == "out")
          for (const auto& file : fs::directory_iterator(entry.path()))
            if (file.path().extension() == ".journal" &&
                split_lines(read_file(file.path())).size() > 1)
              stored = true;
    }
    EXPECT_TRUE(stored);
    ::kill(linex, signal);
    int status = 0;
    ::waitpid(linex, &status, 0);
    if (signal == SIGINT) {
      EXPECT_EQ(WEXITSTATUS(status), 130);
    }
    arm(false);
    const auto resumed = run(command);
    EXPECT_EQ(resumed.code, 0) << resumed.error;
    EXPECT_NE(resumed.error.find("resuming: 5 of 12 units"), std::string::npos) << resumed.error;
    EXPECT_EQ(explanations("out"), explanations("clean"));
    EXPECT_TRUE(cache_is_clean("out"));
  }
}

TEST_F(External, AnotherScriptBeginsAnewAndALongerTimeoutGoesOn) {
  const fs::path fixtures = fs::path(LINEX_SOURCE_DIR) / "tests/fixtures/external";
  for (const char* name : {"solver.py", "wire.py"}) fs::copy_file(fixtures / name, folder_ / name);
  const std::string command = "'" LINEX_PYTHON " solver.py'";
  arm(true);
  ASSERT_EQ(run(solver("out", command, "--solver.fault=hang --solver.timeout=0.5")).code, 4);
  arm(false);
  const auto longer = run(solver("out", command, "--solver.fault=hang --solver.timeout=50"));
  EXPECT_NE(longer.error.find("resuming: 5 of 12"), std::string::npos) << longer.error;
  arm(true);
  ASSERT_EQ(run(solver("out", command, "--solver.fault=kill")).code, 4);
  arm(false);
  std::ofstream(folder_ / "solver.py", std::ios::app) << "# mended\n";
  const auto mended = run(solver("out", command, "--solver.fault=kill"));
  EXPECT_EQ(mended.code, 0);
  EXPECT_EQ(mended.error.find("resuming"), std::string::npos) << mended.error;
}

TEST_F(External, ALabelersBatchesAreCheckedAndKept) {
  for (const char* name : {"apple", "boat"}) fs::create_directories(folder_ / "images" / name);
  for (int i = 0; i < 10; ++i) {
    const fs::path file =
        folder_ / "images" / (i % 2 ? "apple" : "boat") / (std::to_string(i) + ".png");
    cv::imwrite(file.string(), cv::Mat(3 + i, 5, CV_8UC3, cv::Scalar(10 * i, 10 * i, 10 * i)));
  }
  const auto command = [&](const std::string& out, const std::string& fault) {
    return "concepts --data.root=images --labeler.plugin=external --labeler.batch=4 "
           "--labeler.command=" +
           script("labeler.py") + " --labeler.fault='" + fault + "' --run.out=" + out;
  };
  ASSERT_EQ(run(command("clean", "none")).code, 0) << read_file(folder_ / "stderr.txt");
  const std::string expected = read_file(folder_ / "clean/concepts.npy");
  const auto matrix = map_npy(folder_ / "clean/concepts.npy");
  ASSERT_EQ(matrix.sizes(), (torch::IntArrayRef{10, 3}));
  // Rows are sorted by name: apple/1 (grey 10), apple/3, ...
  EXPECT_FLOAT_EQ(matrix[0][0].item<float>(), 10.F / 255);
  EXPECT_FLOAT_EQ(matrix[1][0].item<float>(), 30.F / 255);
  EXPECT_EQ(matrix[3][2].item<float>(), 1);

  const struct {
    const char* name;
    const char* says;
  } faults[] = {{"kill", "ended by signal 9"},
                {"exception", "its last words: RuntimeError"},
                {"wrong dtype", "is float64 (4, 3), not float32 (4, 3)"},
                {"wrong shape", "is float32 (3, 4), not float32 (4, 3)"},
                {"too long", "bytes; float32 (4, 3) is expected"},
                {"NaN", "holds NaN or an infinite value at (3, 2)"},
                {"truncated", "it is truncated"},
                {"no file", "there is no file 'nowhere.npy' in the exchange folder"},
                {"outside", "is not in the exchange folder"},
                {"climbing", "is not in the exchange folder"},
                {"link", "not a regular file"},
                {"pipe", "not a regular file"}};
  for (const auto& fault : faults) {
    SCOPED_TRACE(fault.name);
    fs::remove_all(folder_ / "out");
    arm(true);
    const auto failed = run(command("out", fault.name) + " --run.log-level=off");
    EXPECT_EQ(failed.code, 4);
    EXPECT_NE(failed.error.find(fault.says), std::string::npos) << failed.error;
    EXPECT_EQ(std::count(failed.error.begin(), failed.error.end(), '\n'), 1) << failed.error;
    arm(false);
    fs::remove(folder_ / "asked");
    const auto resumed = run(command("out", fault.name));
    EXPECT_EQ(resumed.code, 0) << resumed.error;
    EXPECT_EQ(read_file(folder_ / "asked"), "4\n2\n");  // the first batch is not asked for again
    EXPECT_EQ(read_file(folder_ / "out/concepts.npy"), expected);
  }
}

TEST_F(External, FailuresOfAnEvaluator) {
  const std::string command =
      recorded("out", "external") +
      "--solver.plugin=linear --evaluator.command=" + script("evaluator.py") + " ";
  const auto good = run(command);
  ASSERT_EQ(good.code, 0) << good.error;
  EXPECT_NE(explanations("out").find("place"), std::string::npos);
  arm(true);
  const struct {
    const char* name;
    const char* says;
  } faults[] = {{"kill", "ended by signal 9"},
                {"too few", "a list of 11; 12 values are expected"},
                {"no value", "has status ok and no value"},
                {"no number", "holds \"high\"; a number or null is expected"},
                {"no name", "no \"name\""},
                {"half an interval", "\"low\" without \"high\""},
                {"no score", "said done without a score"},
                {"score twice", "sent the score 'place' twice"}};
  for (const auto& fault : faults) {
    SCOPED_TRACE(fault.name);
    const auto outcome =
        run(command + "--run.log-level=off --evaluator.fault='" + fault.name + "'");
    EXPECT_EQ(outcome.code, 4);
    EXPECT_NE(outcome.error.find(fault.says), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  }
}

#endif  // LINEX_PYTHON

}  // namespace
}  // namespace linex
