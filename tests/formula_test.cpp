// Formulas of concepts and links: their texts, what they predict, and files that hold them.
#include <gtest/gtest.h>

#include <random>

#include "linex/error.hpp"
#include "tests/small_run.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/explanations/concept_texts.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/explanations/in_words.hpp"
#include "toolkit/explanations/simulate.hpp"

namespace linex {
namespace {

Formula name(const std::string& text) { return {Formula::Kind::name, text, {}}; }
Formula join(Formula::Kind kind, Formula a, Formula b) { return {kind, "", {a, b}}; }

bool same(const Formula& a, const Formula& b) {
  if (a.kind != b.kind || a.name != b.name || a.of.size() != b.of.size()) return false;
  for (std::size_t i = 0; i < a.of.size(); ++i)
    if (!same(a.of[i], b.of[i])) return false;
  return true;
}

TEST(Formula, ReadsPrecedenceParenthesesAndQuotes) {
  const auto value = [](const char* text, double a, double b, double c) {
    return parse_formula(text)->value([&](const std::string& of) {
      return of == "a" ? a : of == "b x" ? b : c;
    });
  };
  EXPECT_DOUBLE_EQ(value("a AND b x", 0.5, 0.4, 0), 0.2);
  EXPECT_DOUBLE_EQ(value("a OR b x", 0.5, 0.4, 0), 0.7);
  EXPECT_DOUBLE_EQ(value("NOT a", 0.25, 0, 0), 0.75);
  EXPECT_DOUBLE_EQ(value("a OR b x AND c", 0, 1, 1), 1);
  EXPECT_DOUBLE_EQ(value("a OR b x AND c", 1, 0, 0), 1);
  EXPECT_DOUBLE_EQ(value("(a OR b x) AND c", 1, 0, 0), 0);
  EXPECT_DOUBLE_EQ(value("((a) AND NOT (b x OR c))", 1, 0, 0), 1);
  EXPECT_EQ(parse_formula("\"rock AND roll\" OR \"say \"\"hi\"\"\"")->of[0].name, "rock AND roll");
  EXPECT_EQ(parse_formula("\"rock AND roll\" OR \"say \"\"hi\"\"\"")->of[1].name, "say \"hi\"");
  EXPECT_EQ(formula_length("(a OR b) AND NOT a"), 3);
  EXPECT_EQ(formula_length("a dog and a cat"), 1);
}

TEST(Formula, WhatIsNoneMeansItself) {
  for (const char* text : {"", "dog", "crane (bird)", "crane (bird) AND red", "a AND", " AND b",
                           "a OR  OR b", "(a AND b", "a AND b)", "\"a\"", "\"a AND b", "\"\" AND b",
                           "NOT ", "a AND \"b\" c", "black and white", "NOT(", "a AND (b) c"})
    EXPECT_FALSE(parse_formula(text)) << text;
  // Depth is bounded, whatever a file says.
  std::string deep(100000, '(');
  EXPECT_FALSE(parse_formula(deep));
  deep.clear();
  for (int i = 0; i < 50000; ++i) deep += "NOT ";
  EXPECT_FALSE(parse_formula(deep + "a"));
  deep = "a";
  for (int i = 0; i < 50000; ++i) deep += " AND a";
  EXPECT_FALSE(parse_formula(deep));
}

TEST(Formula, TextsReadBackAsTheyWere) {
  std::mt19937_64 random(3);
  const char* kNames[] = {"a", "rock AND roll", "crane (bird)", "\"", "x OR y", "NOT me", "é ü"};
  const std::function<Formula(int)> grow = [&](int depth) -> Formula {
    const auto pick = depth > 4 ? 0 : random() % 4;
    if (pick == 0) return name(kNames[random() % 7]);
    if (pick == 1) return {Formula::Kind::negation, "", {grow(depth + 1)}};
    return join(pick == 2 ? Formula::Kind::conjunction : Formula::Kind::disjunction,
                grow(depth + 1), grow(depth + 1));
  };
  int tried = 0;
  for (int i = 0; i < 2000; ++i) {
    const Formula formula = grow(0);
    if (formula.kind == Formula::Kind::name) continue;
    const auto back = parse_formula(to_text(formula));
    ASSERT_TRUE(back) << to_text(formula);
    EXPECT_TRUE(same(*back, formula)) << to_text(formula);
    ++tried;
  }
  EXPECT_GT(tried, 1000);
  EXPECT_EQ(to_text(join(Formula::Kind::conjunction, name("a"), name("b"))), "a AND b");
  EXPECT_EQ(to_text(join(Formula::Kind::disjunction,
                         join(Formula::Kind::conjunction, name("a"), name("b")),
                         {Formula::Kind::negation, "", {name("c")}})),
            "(a AND b) OR NOT c");
}

class NamedMatrix final : public ConceptLabeler {
 public:
  NamedMatrix(std::vector<std::string> names, torch::Tensor presence)
      : names_(std::move(names)), presence_(std::make_shared<MatrixPresence>(presence)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::vector<std::string> names_;
  std::shared_ptr<const Presence> presence_;
};

Explanation explanation(std::vector<Term> terms, double bias, std::string text = "") {
  Explanation made;
  made.terms = std::move(terms);
  made.bias = bias;
  made.text = std::move(text);
  return made;
}

TEST(Simulation, PredictsFormulasAndLinks) {
  const torch::Tensor p = torch::rand({50, 4});
  NamedMatrix labeler({"red", "striped", "rock AND roll", "sky"}, p);
  const std::vector<Explanation> asked{
      explanation({{"red AND striped", 2.0}, {"sky", -1.0}}, 0.25),
      explanation({{"rock AND roll", 1.0}}, 0),  // is a concept
      explanation({}, 0, "(red OR sky) AND NOT striped"),
      explanation({{"red AND blue", 1.0}}, 0),
      explanation({{"red", 3.0}}, -1, "relu"),
      explanation({{"red", 3.0}, {"\"rock AND roll\" AND red", 1.0}}, -1, "softplus(0.5)")};
  const Simulation simulation(asked, labeler);
  EXPECT_EQ(simulation.status()[3], Status::unknown_concept);
  EXPECT_EQ(simulation.unknown()[3], "red AND blue");
  Rows rows;
  for (std::int64_t i = 0; i < 50; ++i) rows.push_back(i);
  const torch::Tensor predicted = simulation.predict(rows, 2, 1 << 20);
  const auto red = p.select(1, 0), striped = p.select(1, 1), rock = p.select(1, 2),
             sky = p.select(1, 3);
  const torch::Tensor expected =
      torch::stack({2 * red * striped - sky + 0.25, rock, (red + sky - red * sky) * (1 - striped),
                    torch::full({50}, kNone), torch::relu(3 * red - 1),
                    0.5 * torch::softplus((3 * red + rock * red - 1) / 0.5)},
                   1);
  EXPECT_TRUE(torch::allclose(predicted, expected, 1e-5, 1e-6, true));
  // A block of them reads the same.
  EXPECT_TRUE(torch::equal(simulation.predict(rows, 4, 6, 1, 1 << 20), predicted.slice(1, 4, 6)));
  EXPECT_EQ(concept_count(asked[0]), 3);
  EXPECT_EQ(concept_count(asked[5]), 3);
}

TEST(Links, TextsAndSlopes) {
  EXPECT_EQ(to_text(Link{}), "");
  EXPECT_EQ(to_text(*link_from_text("relu")), "relu");
  EXPECT_EQ(to_text(*link_from_text("softplus(0.25)")), "softplus(0.25)");
  for (const char* text : {"softplus", "softplus(", "softplus()", "softplus(0)", "softplus(-1)",
                           "softplus(nan)", "softplus(inf)", "softplus(1)x", "relu ", "exp"})
    EXPECT_FALSE(link_from_text(text)) << text;
  for (const Link link : {Link{}, Link{Link::Kind::relu, 1}, Link{Link::Kind::softplus, 0.3}})
    for (const double z : {-40.0, -2.0, -0.1, 0.2, 3.0, 900.0}) {
      const double step = 1e-6;
      EXPECT_NEAR((link(z + step) - link(z - step)) / (2 * step), link.slope(z), 1e-6) << z;
    }
}

class FormulaRun : public SmallRun {};

TEST_F(FormulaRun, FilesHoldLinksOnlyWhereThereAreSome) {
  const auto path = folder_ / "e.csv";
  ExplanationFile file;
  file.explanations = {explanation({{"red AND sky", 2.0}}, 0.5, "softplus(0.125)"),
                       explanation({{"sky", 1.0}}, 0.25)};
  file.layers = {"l", "l"};
  file.scores = {{"sim correlation", true, {0.5, 0.6}, {}, {}, {}}};
  write_explanations(path, file);
  const auto back = read_explanations(path);
  EXPECT_EQ(back.explanations[0].text, "softplus(0.125)");
  EXPECT_EQ(back.explanations[1].text, "");
  EXPECT_EQ(back.scores.size(), 1U);
  EXPECT_EQ(in_words(back.explanations[0]), "softplus(2·red AND sky + 0.5)");
  file.explanations[0].text = "";
  write_explanations(path, file);
  EXPECT_EQ(read_file(path).find("link"), std::string::npos);
  write_file_atomic(path, "unit,weight0,concept0,link,bias\n3,1,red,exp,0\n");
  try {
    read_explanations(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("record 2, column 'link': 'exp' is no link"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(FormulaRun, IsScoredWithItsLengthAndItsFrontier) {
  write("e.csv",
        "unit,weight0,concept0,weight1,concept1,link,bias\n"
        "0,2,red AND green,1,NOT blue,,0\n"
        "1,2,green,1,blue,softplus(0.5),0\n"
        "2,1,(blue OR round) AND square,,,relu,0.5\n");
  const Ended ended = run("evaluate --explanations e.csv " + recorded_ +
                          "--evaluator.plugin=simulation_correlation --evaluator.frontier=true "
                          "--run.out=o");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_NE(ended.out.find("length                   2.6667"), std::string::npos) << ended.out;
  const auto scored = read_explanations(folder_ / "o/explanations.csv");
  ASSERT_EQ(scored.explanations.size(), 3U);
  for (const auto& one : scored.explanations) EXPECT_EQ(one.status, Status::ok);
  EXPECT_GT(scored.scores[0].value[1], 0.9);
  write("e.csv", "unit,description\n0,red AND violet\n1,red OR NOT green\n");
  ASSERT_EQ(run("evaluate --explanations e.csv " + recorded_ +
                "--evaluator.plugin=simulation_correlation --run.out=o")
                .code,
            0);
  const auto described = read_explanations(folder_ / "o/explanations.csv");
  EXPECT_EQ(described.explanations[0].status, Status::unknown_concept);
  EXPECT_EQ(described.explanations[1].status, Status::ok);
}

}  // namespace
}  // namespace linex
