// A TorchScript file must not write or read files, nor print: archives edited by hand.
#include <caffe2/serialize/inline_container.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>

#include "tests/test_models.hpp"
#include "toolkit/base/files.hpp"

namespace linex {
namespace {

using test::fixtures;
using test::input_error_of;
using test::options;
using test::TestModel;

const std::filesystem::path kFolder =
    std::filesystem::path(LINEX_TEST_DIR) / "torchscript_safety_files";

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// A module Net with a submodule Inner that restores its own state, as torch.jit.save writes it.
void save_plain(const std::filesystem::path& path) {
  torch::jit::Module inner("Inner"), net("Net");
  inner.register_attribute("kept", c10::TensorType::get(), torch::zeros({1}));
  inner.register_attribute("training", c10::BoolType::get(), true);
  inner.define(R"(
def __getstate__(self):
    return (self.kept, self.training)
def __setstate__(self, state: Tuple[Tensor, bool]) -> None:
    self.kept = state[0]
    self.training = state[1]
def forward(self, x: Tensor) -> Tensor:
    return x + self.kept
)");
  net.register_module("inner", inner);
  net.define(R"(
def forward(self, x: Tensor) -> Tensor:
    return self.inner.forward(x).mean([2, 3])
)");
  net.save(path.string());
}

/// Writes the archive `from` again with the text of its code changed.
void edit_code(const std::filesystem::path& from, const std::filesystem::path& to,
               const std::function<std::string(const std::string&)>& edit,
               const std::string& more_record = "") {
  caffe2::serialize::PyTorchStreamReader reader(from.string());
  caffe2::serialize::PyTorchStreamWriter writer(to.string());
  for (const std::string& name : reader.getAllRecords()) {
    if (name == "version" || name.find(".debug_pkl") != std::string::npos ||
        name.find(".data/") == 0 || name == "byteorder")
      continue;
    const auto [data, size] = reader.getRecord(name);
    std::string text(static_cast<const char*>(data.get()), size);
    if (name.compare(0, 5, "code/") == 0) text = edit(text);
    writer.writeRecord(name, text.data(), text.size());
  }
  if (!more_record.empty()) writer.writeRecord(more_record, "{}", 2);
  writer.writeEndOfFile();
}

/// Inserts statements at the beginning of the method `name`.
std::string insert_into(const std::string& code, const std::string& name,
                        const std::string& statements) {
  const std::size_t def = code.find("def " + name + "(");
  const std::size_t body = def == std::string::npos ? def : code.find(":\n", def);
  if (body == std::string::npos) throw std::logic_error("no " + name + " in\n" + code);
  std::string indented;
  for (const char c : "    " + statements) {
    indented += c;
    if (c == '\n') indented += "    ";
  }
  return code.substr(0, body + 2) + indented + "\n" + code.substr(body + 2);
}

std::set<std::string> files_in_folder() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kFolder))
    names.insert(entry.path().filename().string());
  return names;
}

/// One way to write it. In code, PATH is a file that does not exist, VICTIM one that does.
struct Attack {
  const char* name;
  const char* method;      ///< where the statements go: forward, __setstate__, ...
  const char* statements;  ///< "" for none
  const char* more = "";   ///< classes and functions besides
  const char* from = "";   ///< text to replace
  const char* to = "";
};

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

const Attack kAttacks[] = {
    {"plain", "forward", R"(torch.save(x, "PATH"))"},
    {"blank", "__setstate__", R"(torch.save ((state)[0], "PATH"))"},
    {"tab", "__setstate__", "torch.save\t((state)[0], \"PATH\")"},
    {"blanks_round_the_dot", "__setstate__", R"(torch . save((state)[0], "PATH"))"},
    {"newlines_in_brackets", "__setstate__", "(torch\n.\nsave\n(\n(state)[0],\n\"PATH\"))"},
    {"comment_between", "__setstate__",
     "(torch.  # a comment\nsave  # another (\n((state)[0], \"PATH\"))"},
    {"backslash_newline", "__setstate__", "torch.save\\\n((state)[0], \"PATH\")"},
    {"ops_namespace", "__setstate__", R"(ops.aten.save ((state)[0], "PATH"))"},
    {"alias_of_the_function", "__setstate__", "f = torch.save\nf((state)[0], \"PATH\")"},
    {"alias_of_the_namespace", "__setstate__", "t = ops.aten\nt.save((state)[0], \"PATH\")"},
    {"alias_of_torch", "__setstate__", "t = torch\nu = t\nu.save((state)[0], \"PATH\")"},
    {"getattr", "__setstate__", R"(getattr(torch, "save")((state)[0], "PATH"))"},
    {"getattr_of_ops", "__setstate__", R"(getattr(ops.aten, "save")((state)[0], "PATH"))"},
    {"keyword_arguments", "__setstate__", R"(torch.save(filename="PATH", item=(state)[0]))"},
    {"text_put_together", "__setstate__",
     R"(torch.save((state)[0], torch.join("", ["PA", "TH"])))"},
    {"number_and_constant_path", "__setstate__", R"(torch.save(1, "PATH"))"},
    {"truncates_another_file", "__setstate__", R"(torch.save((state)[0], "VICTIM"))"},
    {"in_a_branch", "__setstate__",
     "if True:\n  for i in range(1):\n    if torch.len([1]) == 1:\n      torch.save(i, \"PATH\")"},
    {"in_getstate_never_called", "__getstate__", R"(torch.save(1, "PATH"))"},
    {"function", "__setstate__", "__torch__.helper((state)[0])",
     "def helper(x: Tensor) -> None:\n  torch.save(x, \"PATH\")\n"},
    {"function_through_another", "__setstate__", "__torch__.outer((state)[0])",
     "def helper(x: Tensor) -> None:\n  torch.save(x, \"PATH\")\n\n"
     "def outer(x: Tensor) -> None:\n  _0 = __torch__.helper\n  _0(x)\n"},
    {"class", "__setstate__", "h = __torch__.Helper.__new__(__torch__.Helper)\n(h).__init__()",
     "class Helper:\n  def __init__(self: __torch__.Helper) -> None:\n    torch.save(1, "
     "\"PATH\")\n"},
    {"context_manager", "__setstate__",
     "h = __torch__.Helper.__new__(__torch__.Helper)\nwith h:\n  a = 1",
     "class Helper:\n  def __enter__(self: __torch__.Helper) -> None:\n"
     "    torch.save(1, \"PATH\")\n"
     "  def __exit__(self: __torch__.Helper, a: Any, b: Any, c: Any) -> None:\n    a0 = a\n"},
    {"interface", "__setstate__",
     "h = __torch__.Helper.__new__(__torch__.Helper)\ni = annotate(__torch__.Way, h)\n(i).go(1)",
     "class Helper:\n  def go(self: __torch__.Helper, x: int) -> int:\n"
     "    torch.save(x, \"PATH\")\n    return x\n\n"
     "class Way(Interface):\n  def go(self: __torch__.Way, x: int) -> int:\n    pass\n"},
    {"comparison_of_a_sort", "__setstate__",
     "h = __torch__.Helper.__new__(__torch__.Helper)\n"
     "g = __torch__.Helper.__new__(__torch__.Helper)\nl = [h, g]\ntorch.sort(l, False)",
     "class Helper:\n  def __lt__(self: __torch__.Helper, o: __torch__.Helper) -> bool:\n"
     "    torch.save(1, \"PATH\")\n    return True\n"},
    {"property", "__setstate__", "h = __torch__.Helper.__new__(__torch__.Helper)\na = (h).go()",
     "class Helper:\n  def go(self: __torch__.Helper) -> int:\n"
     "    torch.save(1, \"PATH\")\n    return 1\n"},
    {"fork", "__setstate__", "a = fork(__torch__.helper, 1)\nb = torch.wait(a)",
     "def helper(x: int) -> int:\n  torch.save(x, \"PATH\")\n  return x\n"},
    {"list_comprehension", "__setstate__", "a = [__torch__.helper(i) for i in [1, 2]]",
     "def helper(x: int) -> int:\n  torch.save(x, \"PATH\")\n  return x\n"},
    // Evaluated while LibTorch compiles, before any method could run.
    {"default_value", "__setstate__", "__torch__.helper()",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n\n"
     "def helper(x: int=__torch__.maker()) -> int:\n  return x\n"},
    {"default_value_of_forward", "", "",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n", "x: Tensor) ->",
     "x: Tensor, y: int=__torch__.maker()) ->"},
    {"default_value_in_a_list", "", "",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n", "x: Tensor) ->",
     "x: Tensor, y: List[int]=[1, __torch__.maker()]) ->"},
    {"constant_of_a_class", "__setstate__", "h = __torch__.Helper.__new__(__torch__.Helper)",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n\n"
     "class Helper:\n  a : Final[int] = __torch__.maker()\n"
     "  def go(self: __torch__.Helper) -> int:\n    return 1\n"},
    {"default_of_a_named_tuple", "__setstate__", "h = __torch__.Pair()",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n\n"
     "class Pair(NamedTuple):\n  a : int = __torch__.maker()\n"},
    {"default_of_an_interface", "__setstate__", "h = annotate(Optional[__torch__.Way], None)",
     "def maker() -> int:\n  torch.save(1, \"PATH\")\n  return 1\n\n"
     "class Way(Interface):\n"
     "  def go(self: __torch__.Way, x: int=__torch__.maker()) -> int:\n    pass\n"},
    // from_file: creates, extends, reads. An unused result would not be computed.
    {"from_file", "__setstate__", R"(state = (torch.from_file ("PATH", True, 1), True))"},
    {"from_file_reads", "__setstate__", R"(state = (torch.from_file("VICTIM", False, 1), True))"},
    {"from_file_extends", "forward",
     R"(x = torch.add(x, torch.sum(torch . from_file("VICTIM", True, 4096))))"},
    {"from_file_by_alias", "forward",
     "f = ops.aten.from_file\nx = torch.add(x, torch.sum(f(\"PATH\", True, 64)))"},
    {"from_file_keywords", "forward",
     R"(x = torch.add(x, torch.sum(torch.from_file(size=64, shared=True, filename="PATH"))))"},
    // Other ways out of computing.
    {"forward_hook", "", "", "", "  def forward(self: __torch__.Net",
     "  __forward_hooks__ = [\"spy\", ]\n"
     "  def spy(self: __torch__.Net, input: Tuple[Tensor], output: Tensor) -> Tensor:\n"
     "    torch.save(output, \"PATH\")\n    return output\n  def forward(self: __torch__.Net"},
    {"profiler", "forward", R"(x = ops.profiler._record_function_enter("here"))"},
    {"quantised_packing", "forward",
     "x = torch.fbgemm_linear_fp16_weight(x, torch.fbgemm_pack_gemm_matrix_fp16(x), x)"},
    {"memory_as_told", "forward", "x = torch.set_(x, x, 1000000, [1], [1])"},
    {"seed_of_the_process", "forward", "torch.manual_seed(7)"},
    {"native_class", "__setstate__",
     "o = __torch__.torch.classes.rnn.CellParamsBase.__new__("
     "__torch__.torch.classes.rnn.CellParamsBase)\na = (o).__getstate__()"},
    {"another_class_than_declared", "", "",
     "class Helper:\n  def forward(self: __torch__.Helper, x: Tensor) -> Tensor:\n"
     "    return x\n",
     "inner : __torch__.Inner", "inner : __torch__.Helper"},
    {"deep_brackets", "", "", "", "self.inner", ""},
};

std::filesystem::path victim() { return kFolder / "files" / "victim"; }
std::filesystem::path written() { return kFolder / "files" / "written"; }

/// Makes the folder anew with the victim and the archive hostile.pt.
void prepare(const Attack& attack) {
  std::filesystem::remove_all(kFolder);
  std::filesystem::create_directories(kFolder / "files");
  std::ofstream(victim()) << "untouched";
  save_plain(kFolder / "plain.pt");
  edit_code(kFolder / "plain.pt", kFolder / "hostile.pt", [&](std::string code) {
    if (attack.name == std::string("deep_brackets"))
      return replace_all(code, "self.inner",
                         std::string(100000, '(') + "self.inner" + std::string(100000, ')'));
    if (*attack.from) code = replace_all(code, attack.from, attack.to);
    if (*attack.method) code = insert_into(code, attack.method, attack.statements);
    code += std::string("\n") + attack.more;
    const std::string path = written().string();
    code = replace_all(code, "\"PA\", \"TH\"",
                       "\"" + path.substr(0, 5) + "\", \"" + path.substr(5) + "\"");
    return replace_all(replace_all(code, "PATH", path), "VICTIM", victim().string());
  });
}

class Attacks : public testing::TestWithParam<Attack> {
 protected:
  void SetUp() override { prepare(GetParam()); }
  void TearDown() override { std::filesystem::remove_all(kFolder); }
};

TEST_P(Attacks, NoFileIsTouchedAndOneLineSaysWhy) {
  const auto before = files_in_folder();
  const std::string message = input_error_of([&] {
    TestModel model("torchscript", options({{"weights", (kFolder / "hostile.pt").string()}}));
  });
  EXPECT_EQ(files_in_folder(), before);
  EXPECT_EQ(read_file(victim()), "untouched");
  EXPECT_NE(message.find("hostile.pt"), std::string::npos) << message;
  RecordProperty("message", message);
}

INSTANTIATE_TEST_SUITE_P(Spellings, Attacks, testing::ValuesIn(kAttacks),
                         [](const auto& info) { return std::string(info.param.name); });

/// What LibTorch alone does with the same archives: attacks, not errors in writing them.
TEST(TorchScriptSafety, SpellingsAreRealOnes) {
  int real = 0;
  for (const Attack& attack : kAttacks) {
    if (attack.name == std::string("deep_brackets") ||  // ends LibTorch's parser, and the process
        attack.name == std::string("memory_as_told") ||
        attack.name == std::string("another_class_than_declared"))
      continue;
    prepare(attack);
    std::string error;
    try {
      auto module = torch::jit::load((kFolder / "hostile.pt").string());
      module.forward({torch::zeros({1, 3, 4, 4})});
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    const bool touched = std::filesystem::exists(written()) || read_file(victim()) != "untouched";
    real += touched;
    std::printf("%-28s %s %s\n", attack.name, touched ? "writes" : "-",
                error.substr(0, 90).c_str());
  }
  EXPECT_GE(real, 30);
  std::filesystem::remove_all(kFolder);
}

/// The same archive without an attack runs.
TEST(TorchScriptSafety, AnEditedArchiveThatOnlyComputesRuns) {
  prepare({"none", "__setstate__", "state = (torch.add((state)[0], 2.), (state)[1])",
           "def helper(x: Tensor, y: List[float]=[1., -2.5], z: Optional[int]=None,\n"
           "    w: float=inf, d: Device=torch.device(\"cpu\")) -> Tensor:\n  return x\n",
           "return torch.mean", "x = __torch__.helper(x)\n    return torch.mean"});
  TestModel model("torchscript", options({{"weights", (kFolder / "hostile.pt").string()}}));
  const auto out = model->forward(torch::ones({2, 3, 4, 4}), {"inner"}, true);
  EXPECT_TRUE(torch::equal(out.logits, torch::full({2, 3}, 3.0f)));
  std::filesystem::remove_all(kFolder);
}

TEST(TorchScriptSafety, TheBinaryEndsWithThreeAndOneLine) {
  prepare({"blank", "__setstate__", R"(torch.save ((state)[0], "PATH"))"});
  const auto before = files_in_folder();
  std::filesystem::create_directory(std::filesystem::path(LINEX_TEST_DIR) / "torchscript_cli");
  const std::string folder = LINEX_TEST_DIR "/torchscript_cli";
  const std::string command = "'" LINEX_BINARY
                              "' activations --model.plugin=torchscript "
                              "'--model.weights=" +
                              (kFolder / "hostile.pt").string() +
                              "' --model.layer=? --run.log-level=off"
                              " >'" +
                              folder + "/out' 2>'" + folder + "/error' </dev/null";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 3);
  EXPECT_EQ(read_file(folder + "/out"), "");
  const std::string error = read_file(folder + "/error");
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
  EXPECT_NE(error.find("aten::save"), std::string::npos) << error;
  EXPECT_EQ(files_in_folder(), before);
  std::filesystem::remove_all(folder);
  std::filesystem::remove_all(kFolder);
}

TEST(TorchScriptSafety, PrintAndWarningsAreLeftOut) {
  prepare({"print", "__setstate__", "print(\"from a model file\")\nops.aten.warn(\"warned\")"});
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  TestModel model("torchscript", options({{"weights", (kFolder / "hostile.pt").string()}}));
  model->forward(torch::ones({2, 3, 4, 4}), {"inner"}, true);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  std::filesystem::remove_all(kFolder);
}

TEST(TorchScriptSafety, ArchivesThatLibTorchWouldReadAnotherWayAreRefused) {
  prepare({"none", "", ""});
  edit_code(
      kFolder / "plain.pt", kFolder / "legacy.pt", [](std::string code) { return code; },
      "model.json");
  const std::string message = input_error_of([&] {
    TestModel model("torchscript", options({{"weights", (kFolder / "legacy.pt").string()}}));
  });
  EXPECT_NE(message.find("1.2"), std::string::npos) << message;
  std::filesystem::remove_all(kFolder);
}

}  // namespace
}  // namespace linex
