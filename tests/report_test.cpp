// The report: what its files hold, and how it behaves in a real browser where there is one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/report/plots.hpp"
#include "core/report/report.hpp"
#include "core/report/unit_details.hpp"
#include "core/report/unit_images.hpp"
#include "core/run/benchmark_page.hpp"
#include "core/run/host_context.hpp"
#include "folder_test.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/random.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/concepts/embedding_ability.hpp"
#include "toolkit/explanations/in_words.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

class Quiet final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

/// Plain coloured squares in three classes.
class Squares final : public DataSet {
 public:
  explicit Squares(std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) labels_.push_back(i % 3);
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& class_names() const override { return names_; }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  std::string name(std::int64_t row) const override { return std::to_string(row); }
  torch::Tensor pixels(std::int64_t row) const override {
    auto image = torch::zeros({16, 16, 3}, torch::kUInt8);
    image.select(2, labels_[static_cast<std::size_t>(row)]).fill_(80 + row % 150);
    return image;
  }
  std::string fingerprint() const override { return "squares"; }

 private:
  std::vector<std::string> names_{"red", "green", "<b>blue</b>"};
  std::vector<std::int64_t> labels_;
};

/// One-hot labels as concepts.
class Colours final : public ConceptLabeler {
 public:
  explicit Colours(std::shared_ptr<const DataSet> data) : data_(std::move(data)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return data_->class_names(); }
  std::shared_ptr<const Presence> presence() override { return std::make_shared<OneHot>(data_); }

 private:
  class OneHot final : public Presence {
   public:
    explicit OneHot(std::shared_ptr<const DataSet> data) : data_(std::move(data)) {}
    std::int64_t rows() const override { return data_->size(); }
    std::int64_t cols() const override { return 3; }

   private:
    void do_read(Ids rows, const Columns& cols, float* out) const override {
      for (const std::int64_t row : rows)
        for (std::int64_t j = 0; j < cols.count(3); ++j)
          *out++ = data_->labels()[static_cast<std::size_t>(row)] == cols[j] ? 1 : 0;
    }

    std::shared_ptr<const DataSet> data_;
  };
  std::shared_ptr<const DataSet> data_;
};

class ReportTest : public FolderTest {
 protected:
  void SetUp() override {
    run_.threads = 2;
    context_ = std::make_unique<HostContext>(OptionValues{}, run_, log_, true);
    data_ = std::make_shared<Squares>(120);
    colours_ = std::make_unique<Colours>(data_);
  }

  /// `units` units that two methods explain; unit 3 is dead, the second method lacks unit 5.
  Report report(std::int64_t units) {
    torch::manual_seed(2);
    Report report;
    report.title = "Units & \"colours\"";
    report.facts = {"a network", "120 images"};
    report.methods = {"linear", "top"};
    report.data = data_;
    report.warnings = {"something <odd>"};
    report.options["run"]["seed"] = "0";
    for (std::int64_t i = 0; i < 120; ++i)
      (i % 2 ? report.split.test : report.split.train).push_back(i);
    ReportLayer layer{"layer4", Pool::avg, torch::rand({120, units}), {}};
    if (units > 3) layer.activations.select(1, 3).zero_();
    Random random(9);
    for (int m = 0; m < 2; ++m) {
      ReportMethod method;
      method.simulator = colours_.get();
      ScoreColumn score{"sim correlation", true, {}, {}, {}, {}};
      for (std::int64_t unit = 0; unit < units; ++unit) {
        if (m == 1 && unit == 5) continue;
        Explanation explanation;
        explanation.unit = unit;
        explanation.terms = {
            {data_->class_names()[static_cast<std::size_t>(unit % 3)], 1.5},
            {data_->class_names()[static_cast<std::size_t>((unit + 1) % 3)], -0.5}};
        explanation.bias = 0.25;
        explanation.val_correlation = random.uniform();
        if (unit == 3) {
          explanation.status = Status::dead;
          explanation.terms.clear();
        }
        method.explanations.push_back(explanation);
        score.value.push_back(unit == 3 ? kNone : random.uniform());
      }
      method.scores = {score};
      layer.methods.push_back(method);
    }
    report.layers = {layer};
    return report;
  }
  void write(const Report& report, const std::string& name = "report") {
    write_report(folder_ / name, report, {}, *context_);
  }
  static nlohmann::json between(const std::string& text, const std::string& begin,
                                const std::string& end) {
    const auto from = text.find(begin) + begin.size();
    return nlohmann::json::parse(text.substr(from, text.find(end, from) - from));
  }

  /// The document once it is loaded.
  std::string in_browser(const std::string& program, const fs::path& page,
                         const std::string& options) const {
    const std::string command =
        program +
        " --headless=new --no-sandbox --disable-gpu --enable-logging=stderr --user-data-dir='" +
        (folder_ / "profile").string() + "' " + options + " --dump-dom 'file://" + page.string() +
        "' 2>'" + (folder_ / "log").string() + "'";
    std::string dom;
    FILE* pipe = ::popen(command.c_str(), "r");
    if (!pipe) return dom;
    char buffer[65536];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      dom.append(buffer, n);
    ::pclose(pipe);
    return dom;
  }
  std::string log_of_browser() const { return read_file(folder_ / "log"); }

  Quiet log_;
  RunSettings run_;
  std::unique_ptr<HostContext> context_;
  std::shared_ptr<const DataSet> data_;
  std::unique_ptr<Colours> colours_;
};

/// Knows more texts than explain units, and how alike they are: "scarlet" to red, "sea" to blue.
class Embedding final : public ConceptLabeler, public ImageTextEmbeddings {
 public:
  explicit Embedding(Colours& colours) : colours_(colours) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override {
    auto all = colours_.concepts();
    for (const char* more : {"scarlet", "sea", "noise"}) all.emplace_back(more);
    return all;
  }
  std::shared_ptr<const Presence> presence() override { return colours_.presence(); }
  const void* ability(const char* name) const override {
    return offer<ImageTextEmbeddings>(name, this);
  }
  torch::Tensor text_embeddings(const std::vector<std::string>& texts) const override {
    const std::map<std::string, std::int64_t> axis{
        {"red", 1}, {"green", 2}, {"<b>blue</b>", 3}, {"scarlet", 1}, {"sea", 3}};
    auto rows = torch::zeros({static_cast<std::int64_t>(texts.size()), 5});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto found = axis.find(texts[i]);
      rows[static_cast<std::int64_t>(i)][0] = 1;
      rows[static_cast<std::int64_t>(i)][found == axis.end() ? 4 : found->second] = 1;
    }
    return rows / rows.norm(2, 1, true);
  }
  torch::Tensor image_embeddings() const override { return {}; }

 private:
  Colours& colours_;
};

TEST_F(ReportTest, TextsThatExplainNothingAreFoundByWhatTheyAreLike) {
  Embedding embedding(*colours_);
  Report some = report(9);
  for (auto& method : some.layers[0].methods) method.simulator = &embedding;
  write(some);
  const auto near = between(read_file(folder_ / "report/index.html"), "type=\"application/json\">",
                            "</script>")["near"];
  EXPECT_EQ(near["scarlet"], nlohmann::json::parse(R"([["red", 1.0]])"));
  EXPECT_EQ(near["sea"], nlohmann::json::parse(R"([["<b>blue</b>", 1.0]])"));
  EXPECT_FALSE(near.contains("noise"));
  EXPECT_FALSE(near.contains("red"));
  write(report(9), "plain");
  EXPECT_EQ(between(read_file(folder_ / "plain/index.html"), "type=\"application/json\">",
                    "</script>")["near"],
            nlohmann::json::object());
}

TEST_F(ReportTest, HoldsEveryUnitAndNeedsNoNetwork) {
  write(report(20));
  const std::string page = read_file(folder_ / "report/index.html");
  EXPECT_EQ(page.find("@@"), std::string::npos);
  EXPECT_EQ(page.find("src=\"http"), std::string::npos);
  EXPECT_EQ(page.find("href=\"http"), std::string::npos);
  const auto json = between(page, "type=\"application/json\">", "</script>");
  ASSERT_EQ(json["units"].size(), 20U);
  EXPECT_EQ(json["classes"][2], "<b>blue</b>");  // escaped in the file, itself in the data
  EXPECT_EQ(page.find("<b>blue"), std::string::npos);
  EXPECT_EQ(json["units"][3][2][0][3], "dead");
  EXPECT_TRUE(json["units"][3][2][0][5][0].is_null());
  EXPECT_TRUE(json["units"][5][2][1].is_null());
  EXPECT_EQ(json["units"][7][2][0][0][1][1], -0.5);

  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "report"), {}), 1);  // one file
  const auto details = between(page, "id=\"units-1\">", "</script>");
  ASSERT_EQ(details.size(), 4U);  // units 16 to 19
  const auto& bands = details[0]["bands"];
  EXPECT_EQ(bands[0]["images"].size(), 5U);
  EXPECT_EQ(bands[1]["images"].size(), 4U);
  EXPECT_EQ(bands[1]["first"], 6);
  EXPECT_EQ(bands[2]["last"], 120);
  for (const auto& band : bands)
    for (const auto& image : band["images"])
      EXPECT_NE(page.find("id=\"image-" + std::to_string(image[0].get<int>()) + "\">/9j/"),
                std::string::npos);  // how a JPEG starts
  EXPECT_EQ(details[0]["sample"]["actual"].size(), 60U);
  EXPECT_EQ(details[0]["sample"]["predicted"].size(), 2U);
}

TEST_F(ReportTest, SameBytesAgainAndWithOneThread) {
  write(report(20));
  run_.threads = 1;
  write(report(20), "again");
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "report")) {
    if (!entry.is_regular_file()) continue;
    const auto name = fs::relative(entry.path(), folder_ / "report");
    EXPECT_EQ(read_file(entry.path()), read_file(folder_ / "again" / name)) << name;
  }
}

TEST_F(ReportTest, RecordedMatricesHaveNoImages) {
  Report plain = report(20);
  plain.data = nullptr;
  write(plain);
  const auto holds = [&](const char* text) {
    return read_file(folder_ / "report/index.html").find(text) != std::string::npos;
  };
  EXPECT_FALSE(holds("id=\"image-"));
  EXPECT_TRUE(holds("id=\"units-0\""));
  plain.layers[0].activations = torch::Tensor();
  write(plain);
  EXPECT_FALSE(holds("id=\"units-0\""));
}

TEST(UnitImages, BandsHoldTheirRanks) {
  const auto activation = torch::arange(600).to(torch::kFloat32);  // row = rank from below
  const auto bands = choose_bands(activation, 0, 0);
  ASSERT_EQ(bands.size(), 4U);
  EXPECT_EQ(bands[0].rows, (Rows{599, 598, 597, 596, 595}));
  for (const auto& band : bands)
    for (const auto row : band.rows) {
      EXPECT_GE(599 - row, band.begin);
      EXPECT_LT(599 - row, band.end);
    }
  EXPECT_EQ(bands[3].end, 600);
  EXPECT_EQ(bands[1].high, 594);
  EXPECT_EQ(choose_bands(torch::ones({3}), 0, 0)[0].rows, (Rows{0, 1, 2}));
  EXPECT_EQ(choose_bands(activation, 0, 0)[2].rows, bands[2].rows);
}

TEST(UnitImages, MapsAreGreyGrids) {
  auto output = torch::zeros({2, 28, 28});
  output[1].slice(0, 14).fill_(3);
  const auto map = small_map(output[1], 14);
  ASSERT_EQ(map.bytes.size(), 14U * 14);
  EXPECT_EQ(static_cast<unsigned char>(map.bytes.front()), 0);
  EXPECT_EQ(static_cast<unsigned char>(map.bytes.back()), 255);
  EXPECT_TRUE(small_map(output[0], 14).bytes.empty());  // flat
}

TEST(ClassCompositions, CountBinsAsPublished) {
  // Eight bins of width 1; a in (0, 1] is the first, 0 and below in none.
  const auto activation = torch::tensor({0.0F, -1.0F, 1.0F, 1.5F, 8.0F, 7.5F, 7.01F, 0.5F});
  const auto found =
      class_composition(activation.clamp_min(0), {0, 0, 0, 1, 2, 2, 1, 1}, {"a", "b", "c"}, 8, 2);
  EXPECT_EQ(found.counts, (std::vector<std::int64_t>{2, 1, 0, 0, 0, 0, 0, 3}));
  ASSERT_EQ(found.names, (std::vector<std::string>{"b", "c", "other"}));
  EXPECT_DOUBLE_EQ(found.shares[0][0], 0.5);
  EXPECT_DOUBLE_EQ(found.shares[0][1], 1);
  EXPECT_DOUBLE_EQ(found.shares[1][7], 2.0 / 3);
  EXPECT_DOUBLE_EQ(found.shares[2][0], 0.5);
  for (const auto& shares : found.shares) EXPECT_TRUE(std::isnan(shares[3]));  // no image: no share
  EXPECT_TRUE(class_composition(torch::zeros({4}), {0, 0, 0, 0}, {"a"}, 8, 2).counts.empty());
}

TEST(ClassCompositions, HoldNegativeActivations) {
  // Four bins of width 1 from −2; the lowest image is in the first.
  const auto activation = torch::tensor({-2.0F, -1.5F, -0.5F, 0.0F, 2.0F});
  const auto found = class_composition(activation, {0, 1, 1, 0, 0}, {"a", "b"}, 4, 2);
  EXPECT_EQ(found.min, -2);
  EXPECT_EQ(found.max, 2);
  EXPECT_EQ(found.counts, (std::vector<std::int64_t>{2, 2, 0, 1}));
  EXPECT_DOUBLE_EQ(found.shares[0][0], 0.5);
  EXPECT_EQ(class_composition(-1 - torch::arange(4).to(torch::kFloat32), {0, 0, 0, 0}, {"a"}, 4, 1)
                .counts,
            (std::vector<std::int64_t>{1, 1, 1, 1}));
  EXPECT_TRUE(class_composition(-torch::ones({4}), {0, 0, 0, 0}, {"a"}, 4, 1).counts.empty());
}

TEST(ClassCompositions, LeaveAGapWhereNoImageIs) {
  ClassComposition composition;
  composition.max = 4;
  composition.counts = {1, 0, 2, 2};
  composition.names = {"a & b", "other"};
  composition.shares = {{1, kNone, 0.5, 0.5}, {0, kNone, 0.5, 0.5}};
  const std::string svg = composition_figure(composition);
  EXPECT_NE(svg.find("a &amp; b"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  const auto begin = svg.find("<path d=\"") + 9;
  const std::string path = svg.substr(begin, svg.find('"', begin) - begin);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);  // two runs of bins
  EXPECT_EQ(std::count(path.begin(), path.end(), 'Z'), 2);
  EXPECT_EQ(path.rfind("M48,8L", 0), 0U) << path;  // from the edge, all of it
}

TEST(WorstPredicted, AreFarthestFromTheBestLine) {
  // actual = 10·predicted + 3 but for two rows; a prediction in other units is no error.
  std::vector<float> predicted, actual;
  for (int i = 0; i < 40; ++i) {
    predicted.push_back(static_cast<float>(i % 8));
    actual.push_back(10 * predicted.back() + 3);
  }
  actual[17] += 50;
  actual[30] -= 20;
  EXPECT_EQ(worst_predicted(predicted.data(), actual.data(), 40, 2),
            (std::vector<std::int64_t>{17, 30}));
  EXPECT_EQ(worst_predicted(predicted.data(), actual.data(), 40, 100).size(), 40U);
  predicted.assign(40, 0.3F);
  EXPECT_TRUE(worst_predicted(predicted.data(), actual.data(), 40, 2).empty());
  predicted[3] = std::nanf("");
  EXPECT_TRUE(worst_predicted(predicted.data(), actual.data(), 40, 2).empty());
}

TEST_F(ReportTest, CardsTellPredictedValuesAndTheWorstOfThem) {
  const Report made = report(20);
  write(made);
  const std::string page = read_file(folder_ / "report/index.html");
  const auto all = between(page, "type=\"application/json\">", "</script>");
  const auto lead = all["lead"].get<std::size_t>();
  const auto unit = between(page, "id=\"units-0\">", "</script>")[7];
  ASSERT_EQ(unit["worst"].size(), 5U);
  const auto& explanation = made.layers[0].methods[lead].explanations[lead == 1 ? 6 : 7];
  ASSERT_EQ(explanation.unit, 7);
  const std::set<std::int64_t> test(made.split.test.begin(), made.split.test.end());
  const auto check = [&](const nlohmann::json& shot) {
    double expected = explanation.bias;
    for (const auto& term : explanation.terms)
      if (term.concept_name == data_->class_names()[shot[2].get<std::size_t>()])
        expected += term.weight;
    EXPECT_NEAR(shot[4].get<double>(), expected, 1e-6);
    EXPECT_NEAR(shot[1].get<double>(),
                made.layers[0].activations[shot[0].get<std::int64_t>()][7].item<double>(), 1e-3);
  };
  for (const auto& shot : unit["worst"]) {
    check(shot);
    EXPECT_EQ(test.count(shot[0].get<std::int64_t>()), 1U);
  }
  for (const auto& band : unit["bands"])
    for (const auto& shot : band["images"]) check(shot);
  // r is of all test rows.
  std::vector<float> predicted, actual;
  for (const auto row : made.split.test) {
    float value = static_cast<float>(explanation.bias);
    for (const auto& term : explanation.terms)
      if (term.concept_name == data_->class_names()[static_cast<std::size_t>(row % 3)])
        value += static_cast<float>(term.weight);
    predicted.push_back(value);
    actual.push_back(made.layers[0].activations[row][7].item<float>());
  }
  const auto column = [](const std::vector<float>& v) { return torch::tensor(v).unsqueeze(1); };
  EXPECT_NEAR(unit["sample"]["r"][lead].get<double>(),
              pearson_columns(column(predicted), column(actual))[0], 1e-3);
}

TEST_F(ReportTest, CountsWinsAsTheBenchmarkDoesAndMeansByLayer) {
  Report made = report(20);
  made.layers.push_back(made.layers[0]);
  made.layers[1].name = "layer4.2.conv2";
  auto& first = made.layers[1].methods[0];
  auto& second = made.layers[1].methods[1];
  second = first;
  for (auto& value : second.scores[0].value) value += 1e-9;  // not what four digits round away
  second.scores[0].value[0] += 1e-5;
  second.scores[0].value[1] -= 0.5;
  write(made);
  const auto json =
      between(read_file(folder_ / "report/index.html"), "type=\"application/json\">", "</script>");
  ASSERT_EQ(json["pairs"].size(), 2U);
  const auto& pair = json["pairs"][1];
  EXPECT_EQ(pair["layer"], 1);
  EXPECT_EQ(pair["wins"], 1);
  EXPECT_EQ(pair["ties"], 17);
  EXPECT_EQ(pair["losses"], 1);
  const auto outcome =
      paired_difference({"a", "n", first.explanations, first.scores},
                        {"b", "n", second.explanations, second.scores}, "sim correlation")
          .outcome;
  EXPECT_EQ(outcome.outcome(), "1 : 17 : 1");
  ASSERT_EQ(json["means"].size(), 2U);
  const MeanSem mean = mean_sem(first.scores[0].value);
  EXPECT_NEAR(json["means"][1][0][0][0].get<double>(), mean.mean, 1e-4);
  EXPECT_EQ(json["means"][1][0][0][2], 19);
  EXPECT_EQ(json["best"][1]["method"], 0);
}

TEST_F(ReportTest, TellsWhichScoresCanBeTrusted) {
  Report made = report(5);
  made.sanity["layer4"]["f1"] = {
      {"missing labels", 0.99}, {"extra labels", 0.875}, {"reliable", 0}};
  write(made);
  const auto json =
      between(read_file(folder_ / "report/index.html"), "type=\"application/json\">", "</script>");
  EXPECT_EQ(json["sanity"][0]["score"], "f1");
  EXPECT_EQ(json["sanity"][0]["extra labels"], 0.875);
}

TEST(InWords, WeightsOfAnyScaleCanBeRead) {
  Explanation explanation;
  explanation.terms = {{"red", 2.25}, {"sky", -0.00012345}};
  explanation.bias = 0;
  EXPECT_EQ(in_words(explanation), "2.25·red - 0.000123·sky + 0");
}

TEST(PageScript, ValuesUnderNode) {
  if (std::system("command -v node >/dev/null 2>&1") != 0) GTEST_SKIP() << "no node";
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "values.js";
  const char* const checks = R"js(
const same = (got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) { console.log(`${JSON.stringify(got)} is not ${JSON.stringify(want)}`); process.exitCode = 1; }
};
same([1.23456, -0.000123456, 1234567, 0, 1e-9, 12345.6, NaN, null].map((v) => significant(v)),
  ["1.235", "−0.0001235", "1.235e+6", "0", "1e−9", "12350", "–", "–"]);
same(words({terms: [["a", .00123456], ["b", -2]], bias: 1}), "0.00123·a - 2·b + 1");
same(words({terms: [["a striped thing", 1]], bias: 0}), "a striped thing");
same(plain({terms: [["a", 1]], bias: .5}), "");
const units = [{id: "layer 4/7"}, {id: "100%"}];
const find = (hash) => unitOfHash(hash, units, (u) => u.id);
same(find("#layer%204%2F7"), {unit: units[0]});
same(find("#100%"), {unit: units[1]});
same(find("#layer9/1"), {missing: "layer9/1"});
same(find("#%E0%A4%A"), {missing: "%E0%A4%A"});
same([find(""), find("#"), find("#units")], [null, null, null]);
const pairs = [{layer: 0, first: 0, second: 1, wins: 3, ties: 1, losses: 2, n: 6, difference: .5},
               {layer: 1, first: 0, second: 1, wins: 1, ties: 0, losses: 4, n: 5, difference: null}];
same(outcomeText(outcome(pairs, 1, 0)), "6 : 1 : 4");
same(outcome(pairs, 0, 1).n, 11);
same(outcome(pairs, 0, 2), null);
same(seenFrom(pairs[0], 1).difference, -.5);
const few = Array.from({length: 60}, (_, i) => i % 3), moved = jitter(few);
if (!moved.every((v) => Math.abs(v) <= .3) || new Set(moved).size < 50) { console.log("jitter", moved); process.exitCode = 1; }
same(jitter(few), moved);
same(jitter(Array.from({length: 60}, (_, i) => i * i)).some((v) => v !== 0), false);
same(jitter([5, 5, 5]).some((v) => v !== 0), true);
same(jitter([null, null]), [0, 0]);
const near = {"zebra_crossing": [["striped", .5], ["road", .25]]};
same(alike(" Zebra crossing", near), near.zebra_crossing);
same([alike("", near), alike("zebra", near), alike("constructor", near)], [[], [], []]);
same(saying([["striped", 3], ["red", 1], ["road", -9]], new Map(near.zebra_crossing)), .375);
same([saying([], new Map()), saying([["road", -1]], new Map(near.zebra_crossing))], [0, 0]);
)js";
  write_file_atomic(file,
                    read_file(fs::path(LINEX_SOURCE_DIR) / "core/report/page/values.js") + checks);
  EXPECT_EQ(std::system(("node '" + file.string() + "' >&2").c_str()), 0);
}

/// The first browser found, or "".
std::string browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    if (std::system(("command -v " + std::string(name) + " >/dev/null 2>&1").c_str()) == 0)
      return name;
  return "";
}

/// What stands in an attribute of the body, "" without it.
std::string attribute(const std::string& dom, const std::string& name) {
  const auto at = dom.find(" " + name + "=\"");
  if (at == std::string::npos) return "";
  const auto begin = at + name.size() + 3;
  return dom.substr(begin, dom.find('"', begin) - begin);
}

TEST_F(ReportTest, WorksInABrowser) {
  const std::string program = browser();
  if (program.empty()) GTEST_SKIP() << "no chromium";
  write(report(2048));
  // Real time of a fresh browser, to the script's end and to the last byte of the page.
  std::string page = read_file(folder_ / "report/index.html");
  const std::size_t end = page.rfind("</body>");
  std::string timed = page;
  timed.insert(end,
               "<script>document.body.dataset.whole = Math.round(performance.now());</script>");
  write_file_atomic(folder_ / "timed.html", timed);
  const std::string opened = in_browser(program, folder_ / "timed.html", "");
  const int ready = std::stoi("0" + attribute(opened, "data-ready")),
            whole = std::stoi("0" + attribute(opened, "data-whole"));
  std::printf("2,048 units, %.1f MB: ready after %d ms, all read after %d ms\n",
              static_cast<double>(page.size()) / 1e6, ready, whole);
  ASSERT_GT(ready, 0) << log_of_browser();
  EXPECT_LE(page.size(), 16u << 20);  // what the time follows, on a machine of any speed and load

  // The page as it is, and then a user: search, sort, open a card, wait for its images.
  const std::string user = R"(<script>{
    const result = {rows: document.querySelectorAll(".row").length};
    const fire = (id, event) => document.getElementById(id).dispatchEvent(new Event(event));
    const first = () => document.querySelector(".row .unit").textContent;
    const values = () => [...document.querySelectorAll(".row .value")].map((v) => parseFloat(v.textContent));
    result.sorted = values().filter((v) => v === v).every((v, i, all) => i === 0 || v <= all[i - 1]);
    document.getElementById("sort").value = "unit"; fire("sort", "change");
    result.firstUnit = first();
    document.getElementById("search").value = "2047"; fire("search", "input");
    result.found = [document.querySelectorAll(".row").length, first()];
    document.getElementById("search").value = "green"; fire("search", "input");
    result.green = document.querySelectorAll(".row").length;
    result.markup = document.querySelectorAll(".row b, .images figcaption .name b").length;
    document.querySelector('.row[data-index="7"]').click();
    const wait = setInterval(() => {
      const images = [...document.querySelectorAll("#card img")];
      if (!images.length || !images.every((image) => image.complete)) return;
      clearInterval(wait);
      result.images = images.length;
      result.broken = images.filter((image) => image.naturalWidth === 0).length;
      result.unlabelled = images.filter((image) => !image.alt).length;
      result.plots = document.querySelectorAll("#card svg").length;
      document.body.dataset.result = JSON.stringify(result);
    }, 20);
  }</script></body>)";
  page.replace(end, 7, user);
  write_file_atomic(folder_ / "driven.html", page);
  const std::string dom =
      in_browser(program, folder_ / "driven.html", "--virtual-time-budget=20000");
  const std::string log = log_of_browser();
  EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log.substr(log.find("CONSOLE"));
  std::string text = attribute(dom, "data-result");
  ASSERT_FALSE(text.empty()) << log;
  for (std::size_t at; (at = text.find("&quot;")) != std::string::npos;) text.replace(at, 6, "\"");
  const auto result = nlohmann::json::parse(text);
  EXPECT_EQ(result["rows"], 2048);
  EXPECT_TRUE(result["sorted"]);
  EXPECT_EQ(result["firstUnit"], "0");
  EXPECT_EQ(result["found"], nlohmann::json::array({1, "2047"}));
  EXPECT_EQ(result["green"], 1365);  // two thirds of the units name it, unit 3 nothing
  EXPECT_EQ(result["markup"], 0);
  EXPECT_GE(result["images"], 9);
  EXPECT_EQ(result["broken"], 0);
  EXPECT_EQ(result["unlabelled"], 0);
  EXPECT_EQ(result["plots"], 2);
}

TEST_F(ReportTest, AddressAndSearchDecideWhichUnitIsOpen) {
  const std::string program = browser();
  if (program.empty()) GTEST_SKIP() << "no chromium";
  write(report(20));
  std::string page = read_file(folder_ / "report/index.html");
  const std::string user = R"(<script>{
    const result = [], card = document.getElementById("card"), search = document.getElementById("search");
    const say = () => result.push((card.querySelector("h2") ?? card).textContent);
    const type = (text) => { search.value = text; search.dispatchEvent(new Event("input")); say(); };
    const go = (hash) => new Promise((done) => {
      addEventListener("hashchange", () => setTimeout(() => { say(); done(); }, 20), {once: true});
      location.hash = hash;
    });
    say();
    (async () => {
      await go("#layer4%2F7");
      type("12");
      await go("#layer4/5");
      await go("#nowhere/5");
      type("nothing like it");
      type("");
      result.push(document.querySelectorAll(".row").length);
      document.body.dataset.result = JSON.stringify(result);
    })();
  }</script></body>)";
  page.replace(page.rfind("</body>"), 7, user);
  write_file_atomic(folder_ / "driven.html", page);
  const std::string dom = in_browser(program, (folder_ / "driven.html").string() + "#100%",
                                     "--virtual-time-budget=20000");
  const std::string log = log_of_browser();
  EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log.substr(log.find("CONSOLE"));
  std::string text = attribute(dom, "data-result");
  ASSERT_FALSE(text.empty()) << log;
  for (std::size_t at; (at = text.find("&quot;")) != std::string::npos;) text.replace(at, 6, "\"");
  const auto result = nlohmann::json::parse(text);
  ASSERT_EQ(result.size(), 8U) << text;
  EXPECT_EQ(result[0], "This report has no unit “100%”.");
  EXPECT_EQ(result[1], "Unit 7");
  EXPECT_EQ(result[2], "Unit 12");  // the search leaves only this one
  EXPECT_EQ(result[3], "Unit 5");   // and the address wins over the search
  EXPECT_EQ(result[4], "This report has no unit “nowhere/5”.");
  EXPECT_EQ(result[5], "No unit matches.");
  EXPECT_EQ(result[6].get<std::string>().rfind("Unit ", 0), 0U);
  EXPECT_EQ(result[7], 20);
}

TEST_F(ReportTest, BarsOfABenchmarkHaveRoomOnEveryScreen) {
  const std::string program = browser();
  if (program.empty()) GTEST_SKIP() << "no chromium";
  const Report made = report(20);
  std::vector<BenchmarkRun> runs;
  for (const char* network : {"resnet", "vgg", "vit"}) {
    const auto& method = made.layers[0].methods[0];
    runs.push_back({"Compositional", network, method.explanations, method.scores});
  }
  std::string page = benchmark_page(make_benchmark_table(runs), {});
  page.replace(page.rfind("</body>"), 7, R"(<script>
    const all = [...document.querySelectorAll(".terms.bars .track")];
    document.body.dataset.result = JSON.stringify([all.length, Math.min(...all.map((track) => track.clientWidth))]);
    </script></body>)");
  write_file_atomic(folder_ / "driven.html", page);
  for (const char* size : {"420,900", "800,900", "1280,900", "1920,1000"}) {
    const std::string dom = in_browser(program, folder_ / "driven.html",
                                       std::string("--hide-scrollbars --window-size=") + size);
    const std::string text = attribute(dom, "data-result");
    ASSERT_FALSE(text.empty()) << log_of_browser();
    const auto result = nlohmann::json::parse(text);
    EXPECT_EQ(result[0], 3) << text;
    EXPECT_GT(result[1].get<double>(), 150) << size;
  }
}

TEST_F(ReportTest, PagesFitAPhoneInBothThemes) {
  const std::string program = browser();
  if (program.empty()) GTEST_SKIP() << "no chromium";
  Report made = report(20);
  made.layers.push_back(made.layers[0]);
  made.layers[1].name = "layer3.2.conv2";
  made.layers[1].methods[0].explanations[4].terms = {{"a whole sentence of many words", 1}};
  made.layers[1].methods[0].explanations[4].bias = 0;
  write(made);
  std::vector<BenchmarkRun> runs;
  for (int m = 0; m < 2; ++m)
    for (const auto& layer : made.layers) {
      const auto& method = layer.methods[static_cast<std::size_t>(m)];
      runs.push_back({made.methods[static_cast<std::size_t>(m)], "network " + layer.name,
                      method.explanations, method.scores});
    }
  write_file_atomic(
      folder_ / "index.html",
      benchmark_page(make_benchmark_table(runs), {{"network layer4", "report/index.html"}}));
  for (const char* name : {"report/index.html", "index.html"}) {
    std::string page = read_file(folder_ / name);
    page.replace(page.rfind("</body>"), 7, R"(<script>{
      const root = document.documentElement, theme = () => getComputedStyle(document.body).backgroundColor;
      const result = [root.scrollWidth, root.clientWidth, theme()];
      document.getElementById("theme").click();
      result.push(theme(), document.querySelectorAll(".row .unit small").length);
      result.push([...document.querySelectorAll(".row .unit")].filter((u) => u.scrollWidth > u.clientWidth).length);
      document.body.dataset.result = JSON.stringify(result);
    }</script></body>)");
    write_file_atomic(folder_ / "driven.html", page);
    const std::string dom =
        in_browser(program, folder_ / "driven.html", "--window-size=420,900 --hide-scrollbars");
    const std::string log = log_of_browser();
    EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log.substr(log.find("CONSOLE"));
    std::string text = attribute(dom, "data-result");
    ASSERT_FALSE(text.empty()) << log;
    for (std::size_t at; (at = text.find("&quot;")) != std::string::npos;)
      text.replace(at, 6, "\"");
    const auto result = nlohmann::json::parse(text);
    EXPECT_LE(result[0], result[1]) << name;  // nothing to scroll sideways
    EXPECT_NE(result[2], result[3]) << name;
    EXPECT_EQ(result[4], std::string(name) == "index.html" ? 0 : 40);
    EXPECT_EQ(result[5], 0) << name;  // no name reaches over its place
  }
}

}  // namespace
}  // namespace linex
