// Configuration files: the grammar, and runs that are run again from what they wrote.
#include "core/run/ini.hpp"

#include <numeric>
#include <random>

#include "linex/error.hpp"
#include "small_run.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

/// "section.key=value|..." of a text.
std::string parsed(const std::string& text) {
  std::string all;
  for (const auto& entry : parse_ini(text, "F"))
    all += entry.section + "." + entry.key + "=" + entry.value + "|";
  return all;
}

std::string error_of(const std::string& text) {
  try {
    parse_ini(text, "F");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string what = error.what();
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    return what;
  }
  ADD_FAILURE() << "no error in " << text;
  return "";
}

TEST(Ini, ReadsWhatPeopleWrite) {
  EXPECT_EQ(parsed("[a]\nx = 1\n\n[b]\ny=2"), "a.x=1|b.y=2|");
  EXPECT_EQ(parsed("\xef\xbb\xbf[a]\r\nx = 1\r\n"), "a.x=1|") << "a byte-order mark, CRLF";
  EXPECT_EQ(parsed("# c\n; c = 1\n  [a]  ; c\n\tx = 1 # c\ny = 2\t;c\n"), "a.x=1|a.y=2|");
  EXPECT_EQ(parsed("[a]\nx = a=b = c\n"), "a.x=a=b = c|");
  EXPECT_EQ(parsed("[a]\nx = data#1;2/it's \"so\"\n"), "a.x=data#1;2/it's \"so\"|");
  EXPECT_EQ(parsed("[a]\nx = C:\\new\\x41\n"), "a.x=C:\\new\\x41|") << "plain text has no escapes";
  EXPECT_EQ(parsed("[a]\nx =\ny =   \nz = # c\n"), "a.x=|a.y=|a.z=|");
  EXPECT_EQ(parsed("[a]\nx = \" data #1 \" # c\n"), "a.x= data #1 |");
  EXPECT_EQ(parsed("[a]\nx = \"\\\"\\\\\\n\\r\\t\\x41\\xfF\"\n"), "a.x=\"\\\n\r\tA\xff|");
  EXPECT_EQ(parsed("[ method A (b) ]\nlabeler.x = 1\n"), "method A (b).labeler.x=1|");
  EXPECT_EQ(parsed("[a]\nx = 1\n[b]\n[a]\ny = 2\n"), "a.x=1|a.y=2|");
  EXPECT_EQ(parsed("run.seed = 3\n"), "run.seed=3|");
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parse_ini("\n\n[a]\nx=1", "F").at(0).line, 4);
}

TEST(Ini, ErrorsNameTheLine) {
  EXPECT_EQ(
      error_of("[run]\na %invalid_line%\n"),
      "F, line 2: 'a %invalid_line%' is neither a [section], nor key = value, nor a # comment");
  EXPECT_EQ(error_of("[run\n"), "F, line 1: '[run' misses its ]");
  EXPECT_EQ(error_of("\n[a]b]\n"),
            "F, line 2: '[a]b]': nothing but a comment may follow the first ]");
  EXPECT_NE(error_of("[]\nx=1").find("line 1: a [section] needs a name"), std::string::npos);
  EXPECT_NE(error_of("[a]\n= 1").find("line 2: a key is missing"), std::string::npos);
  EXPECT_NE(error_of("x = 1\n[a]").find("line 1: 'x' stands before any [section]"),
            std::string::npos);
  EXPECT_EQ(error_of("[a]\nx=1\n[b]\nx=1\n[a]\nx = 2"),
            "F, line 6: [a] x is given a second time, after line 2");
  EXPECT_NE(error_of("[a]\nx = \"1\n").find("line 2: a closing \" is missing"), std::string::npos);
  EXPECT_NE(error_of("[a]\nx = \"1\" 2\n").find("line 2: '2' follows the closing \""),
            std::string::npos);
  for (const char* escape : {"\\q", "\\x4", "\\x4g", "\\"})
    EXPECT_NE(error_of(std::string("[a]\nx = \"") + escape).find("line 2: "), std::string::npos);
  EXPECT_NE(
      error_of(std::string("[a]\nx = 1\0 2\n", 12)).find("line 2: a control character (0x00)"),
      std::string::npos);
  EXPECT_NE(error_of("[a]\rx = 1\r").find("line 1: a control character (0x0d)"), std::string::npos)
      << "old line ends would make one comment of a file";
  for (const char* mark : {"\xff\xfe[", "\xfe\xff"})
    EXPECT_EQ(error_of(std::string(mark)), "F: this is UTF-16; save it as UTF-8");
  EXPECT_LT(error_of("[a]\n" + std::string(1 << 20, 'x')).size(), 300U);
}

TEST(Ini, EveryStringIsReadBackExactly) {
  std::vector<std::string> values{"",
                                  " ",
                                  "\t",
                                  "a ",
                                  " a",
                                  "a #b",
                                  "a#b",
                                  "#",
                                  ";",
                                  "a ;",
                                  "\"",
                                  "\"a\"",
                                  "a\"",
                                  "\\",
                                  "\\n",
                                  "a\nb",
                                  "\r",
                                  "a\r\n",
                                  "[a]",
                                  "a=b",
                                  "%invalid_line%",
                                  "\xef\xbb\xbf",
                                  "caf\xc3\xa9",
                                  "\xff",
                                  "\xc3",
                                  std::string("\0a\0", 3),
                                  std::string(100000, 'y'),
                                  "\x7f",
                                  "'",
                                  "/data #1/x;y "};
  std::mt19937 random(7);
  const std::string nasty = " \t\n\r\"\\#;=[]x\xc3\xa9" + std::string(1, '\0');
  for (int i = 0; i < 3000; ++i) {
    std::string value;
    for (auto n = random() % 9; n > 0; --n)
      value += i % 2 ? nasty[random() % nasty.size()] : static_cast<char>(random() % 256);
    values.push_back(value);
  }
  std::string text = ini_section("method A (b)");
  for (std::size_t i = 0; i < values.size(); ++i)
    text += ini_entry("key" + std::to_string(i), values[i]);
  std::string windows;  // editors may change the line ends
  for (const char c : text) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  for (const std::string& file : {text, windows}) {
    const auto entries = parse_ini(file, "F");
    ASSERT_EQ(entries.size(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(entries[i].value, values[i]) << i;
      EXPECT_EQ(entries[i].section, "method A (b)");
    }
  }
  EXPECT_EQ(ini_entry("key", "plain text, 1e-3"), "key = plain text, 1e-3\n");
  for (const char* name : {"", " a", "a]b", "a\nb"}) EXPECT_THROW(ini_section(name), Error) << name;
  for (const char* key : {"", "a=b", "[a", "#a", "a "}) EXPECT_THROW(ini_entry(key, "1"), Error);
}

using Configuration = SmallRun;

TEST_F(Configuration, APathMayHoldWhatAFileNameMay) {
  // A comment sign, a trailing blank, a line end, quotes, bytes that are not UTF-8.
  const std::vector<std::string> outs{"o #1", "o\n\"q\" ;y ", "\to\\n\xff"};
  for (std::size_t i = 0; i < outs.size(); ++i) {
    const std::string again = "again" + std::to_string(i);
    fs::create_directories(folder_ / outs[i]);
    fs::copy_file(folder_ / "P.npy", folder_ / outs[i] / "P #2 .npy");
    std::string arguments = "explain " + recorded_ + "'--labeler.concepts=" + outs[i] +
                            "/P #2 .npy' '--run.out=" + outs[i] + "'";
    const auto doubled = arguments.find("--labeler.concepts=P.npy ");
    arguments.erase(doubled, std::string("--labeler.concepts=P.npy ").size());
    const Ended first = run(arguments);
    ASSERT_EQ(first.code, 0) << first.error;
    const Ended second = run("explain --config '" + outs[i] + "/run.ini' --run.out=" + again);
    ASSERT_EQ(second.code, 0) << second.error;
    EXPECT_EQ(explanations(again), explanations(outs[i]));
    // And into the very folder, not one whose name is cut.
    fs::remove(folder_ / outs[i] / "explanations.csv");
    ASSERT_EQ(run("explain --config '" + outs[i] + "/run.ini'").code, 0);
    EXPECT_EQ(explanations(again), explanations(outs[i]));
  }
  EXPECT_FALSE(fs::exists(folder_ / "o"));
}

TEST_F(Configuration, ALineThatIsNoKeyIsAnErrorAndNoHang) {
  write("hang.ini", "[run]\na %invalid_line%\n");
  expect_error("explain --config hang.ini", 2, "hang.ini, line 2: 'a %invalid_line%'");
  write("twice.ini", "[run]\nseed = 1\nseed = 2\n");
  expect_error("explain --config twice.ini", 2, "twice.ini, line 3: [run] seed is given a second");
  write("unknown.ini", "[solver]\n\nlamda = 1\n");
  expect_error("explain " + recorded_ + "--config unknown.ini", 2,
               "unknown.ini, line 3: unknown option 'solver.lamda'; did you mean");
  write("value.ini", "[run]\nseed = x\n");
  expect_error("explain " + recorded_ + "--config value.ini", 2,
               "run.seed=x is not an integer (value.ini, line 2)");
  // The command line's value is not the file's fault.
  expect_error("explain " + recorded_ + "--config value.ini --run.seed=y", 2,
               "run.seed=y is not an integer\n");
  write("device.ini", "[run]\n# here\ndevice = tpu\n");
  expect_error("explain " + recorded_ + "--config device.ini", 2, "(device.ini, line 3)");
}

TEST_F(Configuration, AnotherPluginDropsTheFilesPluginOptions) {
  ASSERT_EQ(run("explain " + recorded_ + "--solver.search=greedy --run.out=o").code, 0);
  const Ended saga =
      run("explain --config o/run.ini --solver.plugin=glm_saga --solver.max_epochs=3 --run.out=p");
  ASSERT_EQ(saga.code, 0) << saga.error;
  EXPECT_NE(saga.error.find("linex: warning: solver.plugin is glm_saga and not the file's linear, "
                            "whose options are left out: "),
            std::string::npos)
      << saga.error;
  EXPECT_NE(saga.error.find("search"), std::string::npos) << saga.error;
  EXPECT_EQ(saga.error.find("linex: warning", 1), std::string::npos) << saga.error;
  const std::string ini = read_file(folder_ / "p/run.ini");
  EXPECT_NE(ini.find("plugin = glm_saga"), std::string::npos);
  EXPECT_EQ(ini.find("search ="), std::string::npos);

  // The same plugin again, and no plugin at all, drop nothing.
  const Ended same = run("explain --config o/run.ini --solver.plugin=linear --run.out=q");
  EXPECT_EQ(same.code, 0) << same.error;
  EXPECT_EQ(same.error, "");
  EXPECT_EQ(explanations("q"), explanations("o"));

  // Labeler, evaluator, simulator, model alike.
  write("captions.txt", [] {
    std::string lines;
    for (int i = 0; i < kRows; ++i) lines += i % 2 ? "a red thing\n" : "a green square\n";
    return lines;
  }());
  const Ended labeler =
      run("explain --config o/run.ini --labeler.plugin=captions --labeler.captions=captions.txt "
          "--labeler.names=names.txt --run.out=r");
  EXPECT_EQ(labeler.code, 0) << labeler.error;
  EXPECT_NE(labeler.error.find("labeler.plugin is captions and not the file's recorded, whose "
                               "options are left out: concepts, names"),
            std::string::npos)
      << labeler.error;
  const Ended none = run("explain --config o/run.ini --evaluator.plugin=none --run.out=s");
  EXPECT_EQ(none.code, 0) << none.error;
  EXPECT_NE(none.error.find("evaluator.plugin is none and not the file's simulation_correlation"),
            std::string::npos)
      << none.error;
  // One of two evaluators stays, with its options.
  ASSERT_EQ(run("explain " + recorded_ +
                "--run.out=t --evaluator.plugin=simulation_correlation,"
                "concept_metrics")
                .code,
            0);
  const Ended one =
      run("explain --config t/run.ini --evaluator.plugin=concept_metrics --run.out=u");
  EXPECT_EQ(one.code, 0) << one.error;
  // A model that needs files ends in its own complaint, not in the other's options.
  const Ended model = run("explain --config o/run.ini --model.plugin=resnet --run.out=v");
  EXPECT_NE(model.code, 0);
  EXPECT_EQ(model.error.find("unknown option"), std::string::npos) << model.error;
  write("simulator.ini", "[simulator]\nplugin = captions\ncaptions = captions.txt\n");
  const Ended simulator = run("explain " + recorded_ +
                              "--config simulator.ini --simulator.plugin=recorded "
                              "--simulator.concepts=P.npy --simulator.names=names.txt --run.out=w");
  EXPECT_EQ(simulator.code, 0) << simulator.error;
  EXPECT_NE(simulator.error.find("left out: captions"), std::string::npos) << simulator.error;
}

TEST_F(Configuration, ATypingMistakeInTheFileStaysAnError) {
  write("typo.ini", "[solver]\nplugin = linear\nsearhc = greedy\n");
  expect_error("explain " + recorded_ + "--config typo.ini --solver.plugin=linear", 2,
               "typo.ini, line 3: unknown option 'solver.searhc'");
  expect_error("explain " + recorded_ + "--config typo.ini --solver.plugin=glm_saga", 2,
               "typo.ini, line 3: unknown option 'solver.searhc'");
  // Without a plugin in the file its options are meant for the command line's.
  write("no_plugin.ini", "[solver]\nsearch = greedy\n");
  expect_error("explain " + recorded_ + "--config no_plugin.ini --solver.plugin=glm_saga", 2,
               "no_plugin.ini, line 2: unknown option 'solver.search'");
}

TEST_F(Configuration, ABenchmarksMethodsAndNetworksDropThemToo) {
  write("b.ini",
        "[network one]\nplugin = recorded\nactivations = A.npy\n"
        "[labeler]\nplugin = recorded\nconcepts = P.npy\nnames = names.txt\n"
        "[method A]\nsolver = linear\nsolver.search = greedy\n"
        "[run]\nreport = none\nlog-level = warning\n");
  ASSERT_EQ(run("benchmark --config b.ini --run.out=b").code, 0);
  const Ended other = run("benchmark --config b.ini '--method A.solver=glm_saga' --run.out=c");
  EXPECT_EQ(other.code, 0) << other.error;
  EXPECT_NE(other.error.find("method A.solver is glm_saga and not the file's linear, whose options "
                             "are left out: solver.search"),
            std::string::npos)
      << other.error;
  const Ended network = run("benchmark --config b.ini '--network one.plugin=resnet' --run.out=d");
  EXPECT_EQ(network.error.find("unknown option"), std::string::npos) << network.error;
  EXPECT_NE(network.error.find("left out: activations"), std::string::npos) << network.error;
}

TEST_F(Configuration, ARunRunsAgainFromAnywhere) {
  fs::create_directories(folder_ / "split");
  std::vector<std::int64_t> ids(kRows);
  std::iota(ids.begin(), ids.end(), 0);
  const auto rows = torch::tensor(ids, torch::kInt64);
  write_npy(folder_ / "split/train_ids.npy", rows.narrow(0, 0, 40));
  write_npy(folder_ / "split/val_ids.npy", rows.narrow(0, 40, 10));
  write_npy(folder_ / "split/test_ids.npy", rows.narrow(0, 50, 10));
  const Ended first = run("explain " + with_report_ +
                          "--data.split=split --run.cache=c --run.out=o --run.report=plain");
  ASSERT_EQ(first.code, 0) << first.error;
  const std::string ini = read_file(folder_ / "o/run.ini");
  for (const char* line :
       {"activations = ", "concepts = ", "names = ", "split = ", "out = ", "cache = "})
    EXPECT_NE(ini.find(std::string(line) + folder_.string() + "/"), std::string::npos)
        << line << ini;

  const std::string whole = explanations("o");
  fs::create_directories(folder_ / "else/where");
  const std::string from = (folder_ / "else/where").string();
  fs::remove(folder_ / "o/explanations.csv");
  const Ended again = run("explain --config ../../o/run.ini", "", ">/dev/null", from);
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(explanations("o"), whole);
  EXPECT_TRUE(fs::is_empty(from));

  // The page too, and from a copy of the folder into the copy.
  fs::copy(folder_ / "o", folder_ / "copy", fs::copy_options::recursive);
  fs::remove_all(folder_ / "copy/report");
  const Ended report = run("report ../../copy", "", ">/dev/null", from);
  ASSERT_EQ(report.code, 0) << report.error;
  EXPECT_TRUE(fs::exists(folder_ / "copy/report/index.html"));
  fs::remove(folder_ / "copy/explanations.csv");
  const Ended copied =
      run("explain --config ../../copy/run.ini --run.out=../../copy", "", ">/dev/null", from);
  ASSERT_EQ(copied.code, 0) << copied.error;
  EXPECT_EQ(explanations("copy"), whole);

  // Fractions, an unnamed cache and no cache are no paths.
  ASSERT_EQ(run("explain " + recorded_ + "--run.cache=none --run.out=p").code, 0);
  const std::string plain = read_file(folder_ / "p/run.ini");
  EXPECT_NE(plain.find("split = 0.7,0.1,0.2\n"), std::string::npos) << plain;
  EXPECT_NE(plain.find("cache = none\n"), std::string::npos) << plain;
  EXPECT_NE(plain.find("root =\n"), std::string::npos) << plain;
}

TEST_F(Configuration, ABenchmarkRunsAgainFromAnywhere) {
  write("b.ini",
        "[network one]\nplugin = recorded\nactivations = A.npy\n"
        "[labeler]\nplugin = recorded\nconcepts = P.npy\n"
        "[method A]\nlabeler.names = names.txt\n[method B]\nfile = {network}.csv\n"
        "[run]\nreport = none\nlog-level = warning\n");
  ASSERT_EQ(run("explain " + recorded_ + "--run.out=o").code, 0);
  fs::copy_file(folder_ / "o/explanations.csv", folder_ / "one.csv");
  const Ended first = run("benchmark --config b.ini --run.out=b");
  ASSERT_EQ(first.code, 0) << first.error;
  fs::create_directories(folder_ / "elsewhere");
  const Ended again = run("benchmark --config ../b/benchmark.ini --run.out=../c", "", ">/dev/null",
                          (folder_ / "elsewhere").string());
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(read_file(folder_ / "c/benchmark.csv"), read_file(folder_ / "b/benchmark.csv"));
}

}  // namespace
}  // namespace linex
