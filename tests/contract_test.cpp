// The contract's own arithmetic: which columns are read, what a solver is given, abilities by name,
// fingerprints of labelers.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/plugin/guarded.hpp"
#include "core/plugin/plugin_guard.hpp"
#include "folder_test.hpp"
#include "linex/ability.hpp"
#include "linex/pixel_labels.hpp"
#include "linex/plugin.hpp"
#include "test_plugins.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/concepts/embedding_presence.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/math/row_source.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;

// ---- presence -----------------------------------------------------------------------------------

/// A source that says which of its calls got through.
class Counting final : public Presence {
 public:
  std::int64_t rows() const override { return 5; }
  std::int64_t cols() const override { return 3; }
  mutable int calls = 0;

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    ++calls;
    for (const std::int64_t row : rows)
      for (std::int64_t j = 0; j < cols.count(3); ++j)
        *out++ = static_cast<float>(10 * row + cols[j]);
  }
};

TEST(PresenceRead, AnEmptyListOfColumnsIsNoneAndNotAll) {
  const Counting source;
  const std::vector<std::int64_t> none, rows{4, 0};
  float untouched = 7;
  source.read(rows, none, &untouched);
  source.read(rows, Ids(nullptr, 0), &untouched);
  source.read(none, Columns::all(), &untouched);
  source.read(rows, none, nullptr);
  EXPECT_EQ(source.calls, 0);
  EXPECT_EQ(untouched, 7);

  std::vector<float> all(6), some(2);
  source.read(rows, Columns::all(), all.data());
  EXPECT_EQ(all, (std::vector<float>{40, 41, 42, 0, 1, 2}));
  source.read(rows, std::vector<std::int64_t>{2}, some.data());
  EXPECT_EQ(some, (std::vector<float>{42, 2}));
}

TEST(PresenceRead, ChecksRowsAndColumns) {
  const Counting source;
  std::vector<float> out(8);
  const auto read = [&](Rows rows, Rows cols) { source.read(rows, cols, out.data()); };
  EXPECT_THROW(read({5}, {0}), std::out_of_range);
  EXPECT_THROW(read({-1}, {0}), std::out_of_range);
  EXPECT_THROW(read({0}, {3}), std::out_of_range);
  EXPECT_THROW(read({0}, {0, -1}), std::out_of_range);
  EXPECT_EQ(source.calls, 0);
}

TEST(PresenceRead, EverySourceInTheBoxTakesAnEmptyList) {
  const torch::Tensor ones = torch::ones({4, 3});
  const auto matrix = std::make_shared<MatrixPresence>(ones);
  const EmbeddingPresence embeddings(ones, ones, Sigmoid{1, 0});
  const auto subset = select_columns(matrix, {2, 0});
  const auto empty = select_columns(matrix, {});
  const Rows rows{0, 3}, none;
  float untouched = 7;
  for (const Presence* source :
       {static_cast<const Presence*>(matrix.get()), static_cast<const Presence*>(&embeddings),
        static_cast<const Presence*>(subset.get())})
    source->read(rows, none, &untouched);
  EXPECT_EQ(empty->cols(), 0);
  empty->read(rows, Columns::all(), &untouched);
  // What crashed: a regression in which no concept is kept.
  const RowSource kept = presence_rows(*matrix, {});
  read_tile(kept, rows, 0, 2, 1, &untouched);
  EXPECT_EQ(untouched, 7);
}

TEST(PresenceRead, SelectedColumns) {
  const auto source = std::make_shared<Counting>();
  const auto chosen = select_columns(source, {2, 0, 2});
  std::vector<float> all(3), some(2);
  chosen->read(Rows{1}, Columns::all(), all.data());
  EXPECT_EQ(all, (std::vector<float>{12, 10, 12}));
  chosen->read(Rows{1}, Rows{2, 1}, some.data());
  EXPECT_EQ(some, (std::vector<float>{12, 10}));
  EXPECT_THROW(select_columns(source, {3}), std::out_of_range);
}

// ---- problems -----------------------------------------------------------------------------------

/// Two concepts on five rows; `columns` of them have presence.
class TwoConcepts : public ConceptLabeler {
 public:
  explicit TwoConcepts(std::int64_t columns = 2) : columns_(columns) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return {"a", "b"}; }
  std::shared_ptr<const Presence> presence() override {
    ++asked;
    return std::make_shared<MatrixPresence>(torch::ones({5, columns_}));
  }
  int asked = 0;

 private:
  std::int64_t columns_;
};

/// A network that is never run.
class Idle final : public TargetModel {
 public:
  std::vector<std::string> layers() const override { return {}; }
  Preprocess preprocess() const override { return {}; }
  ForwardResult forward(const torch::Tensor&, const std::vector<std::string>&, bool) override {
    return {};
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor&, const std::string&) override {
    return nullptr;
  }
  std::string fingerprint() const override { return "idle"; }
};

TEST(MakeProblem, GivesJustWhatWasAskedFor) {
  TwoConcepts labeler;
  Idle model;
  ProblemParts parts;
  parts.labeler = &labeler;
  parts.model = &model;
  parts.activations = torch::ones({5, 4});
  parts.units = {1, 3};
  parts.layer = "layer";
  parts.pool = Pool::max;
  for (int asked = 0; asked < 16; ++asked) {
    const SolverNeeds needs{(asked & 1) != 0, (asked & 2) != 0, (asked & 4) != 0, (asked & 8) != 0};
    const Problem problem = make_problem(needs, parts);
    EXPECT_EQ(problem.presence != nullptr, needs.presence);
    EXPECT_EQ(problem.concepts.size(), needs.presence ? 2U : 0U);
    EXPECT_EQ(problem.activations.defined(), needs.activations);
    EXPECT_EQ(problem.model != nullptr, needs.model);
    EXPECT_EQ(problem.labeler != nullptr, needs.labeler);
    EXPECT_EQ(problem.units, parts.units);
    EXPECT_EQ(problem.layer, "layer");
    EXPECT_EQ(problem.pool, Pool::max);
  }
  EXPECT_EQ(labeler.asked, 8) << "presence may cost hours: it is not computed unasked";
}

TEST(MakeProblem, WhatIsMissingIsSaid) {
  ProblemParts parts;
  EXPECT_NO_THROW(make_problem({false, false, false, true}, parts));
  EXPECT_THROW(make_problem({true, false, false, false}, parts), Error);
  EXPECT_THROW(make_problem({false, false, true, false}, parts), Error);
  TwoConcepts wrong(3);
  parts.labeler = &wrong;
  EXPECT_THROW(make_problem({}, parts), Error);
}

TEST(Pools, WordsBothWays) {
  for (const Pool pool : {Pool::avg, Pool::max, Pool::first})
    EXPECT_EQ(pool_from_string(to_string(pool)), pool);
  EXPECT_THROW(pool_from_string("mean"), Error);
}

// ---- abilities ----------------------------------------------------------------------------------

/// An ability that linex knows nothing of.
struct Answer {
  static constexpr char kAbility[] = "test.answer/1";
  virtual ~Answer() = default;
  virtual int answer() const = 0;
};

struct OtherForm {
  static constexpr char kAbility[] = "test.answer/2";
};

class Able final : public TwoConcepts, public PixelLabels, public Answer {
 public:
  std::vector<PixelLabel> pixel_labels() const override { return {{"a", "object"}}; }
  LabelMaps label_maps(std::int64_t) const override { throw std::runtime_error("torn map"); }
  int answer() const override { return 42; }
  const void* ability(const char* name) const override {
    if (const void* labels = offer<PixelLabels>(name, this)) return labels;
    return offer<Answer>(name, this);
  }
};

TEST(Ability, IsFoundByNameAndRevision) {
  const Able able;
  ASSERT_NE(ability<PixelLabels>(able), nullptr);
  EXPECT_EQ(ability<PixelLabels>(able)->pixel_labels()[0].name, "a");
  ASSERT_NE(ability<Answer>(able), nullptr);
  EXPECT_EQ(ability<Answer>(able)->answer(), 42);
  EXPECT_EQ(ability<OtherForm>(able), nullptr);
  EXPECT_EQ(ability<PixelLabels>(TwoConcepts()), nullptr);
  EXPECT_EQ(ability<Answer>(Idle()), nullptr);
  EXPECT_EQ(ability<Answer>(Counting()), nullptr);
}

TEST(Ability, LinexsOwnAreGuardedAndOthersPass) {
  const auto guard =
      guarded(std::shared_ptr<ConceptLabeler>(std::make_shared<Able>()), "labeler/x");
  const auto* labels = ability<PixelLabels>(*guard);
  ASSERT_NE(labels, nullptr);
  EXPECT_EQ(ability<PixelLabels>(*guard), labels) << "one guard, as long as the labeler";
  EXPECT_THROW(labels->label_maps(0), PluginError);
  ASSERT_NE(ability<Answer>(*guard), nullptr);
  EXPECT_EQ(ability<Answer>(*guard)->answer(), 42);
}

// ---- fingerprints -------------------------------------------------------------------------------

class Fingerprint : public FolderTest {
 protected:
  std::string write(const std::string& name, const std::string& content) const {
    return FolderTest::write(name, content).string();
  }
  std::string write(const std::string& name, const torch::Tensor& matrix) const {
    write_npy(folder_ / name, matrix);
    return (folder_ / name).string();
  }
  std::string of(const std::string& labeler, const OptionValues& options) {
    return plugins_.make<ConceptLabeler>(labeler, options)->fingerprint();
  }

  test::Plugins plugins_;
};

TEST_F(Fingerprint, FollowsTheContentOfEveryFile) {
  using Files = std::map<std::string, std::string>;
  const std::string names = write("names.txt", "a\nb\nc\n");
  const torch::Tensor matrix = torch::ones({4, 3});
  const std::map<std::string, Files> cases{
      {"label",
       {{"names", names},
        {"hierarchy", write("h.json", "{\"super\": [0, 1]}")},
        {"labels", write("labels.npy", torch::zeros({4}, torch::kInt64))}}},
      {"recorded", {{"concepts", write("p.npy", matrix)}, {"names", names}}},
      {"embeddings",
       {{"images", write("i.npy", matrix)},
        {"texts", write("t.npy", torch::ones({3, 3}))},
        {"names", names}}},
      {"captions", {{"captions", write("c.txt", "a dog\na cat\n")}, {"names", names}}}};
  for (const auto& [labeler, files] : cases) {
    OptionValues options;
    for (const auto& [option, file] : files) options.set(option, fs::path(file));
    const std::string before = of(labeler, options);
    EXPECT_FALSE(before.empty()) << labeler;
    EXPECT_EQ(of(labeler, options), before) << labeler;
    for (const auto& [option, file] : files) {
      const std::string content = read_file(file);
      // The same bytes elsewhere are the same; a changed byte in the same place is not.
      OptionValues moved = options;
      moved.set(option, fs::path(write("moved/" + fs::path(file).filename().string(), content)));
      EXPECT_EQ(of(labeler, moved), before) << labeler << " " << option;
      std::string other = content;
      if (fs::path(file).extension() == ".npy") {
        other[other.size() - 4] ^= 1;
      } else {
        other.replace(other.find_first_of("as"), 1, "x");
      }
      write(fs::path(file).filename().string(), other);
      EXPECT_NE(of(labeler, options), before) << labeler << " " << option;
      write(fs::path(file).filename().string(), content);
    }
  }
}

TEST_F(Fingerprint, FollowsFoldersOfLabelMaps) {
  OptionValues options;
  options.set("names", fs::path(write("names.txt", "sky\nsea\n")));
  write("one/a.png", "1");
  write("two/a.png", "2");
  options.set("masks", OptionValues::Paths{folder_ / "one", folder_ / "two"});
  const std::string before = of("segmentation", options);
  EXPECT_EQ(of("segmentation", options), before);
  write("two/a.png", "3");
  EXPECT_NE(of("segmentation", options), before);
  write("two/a.png", "2");
  EXPECT_EQ(of("segmentation", options), before);
  write("one/b.png", "");
  EXPECT_NE(of("segmentation", options), before);
}

TEST_F(Fingerprint, OfPathsTellsPlacesAndNamesApart) {
  const std::string a = write("a.txt", "1"), b = write("b.txt", "2"), c = write("f/x", "1");
  const fs::path folder = folder_ / "f";
  EXPECT_NE(sha256_of_paths({a, b}), sha256_of_paths({b, a}));
  EXPECT_NE(sha256_of_paths({a, ""}), sha256_of_paths({"", a}));
  EXPECT_NE(sha256_of_paths({a}), sha256_of_paths({folder}));
  const std::string before = sha256_of_paths({folder}, 2);
  EXPECT_EQ(sha256_of_paths({folder}, 1), before);
  fs::rename(c, folder / "y");
  EXPECT_NE(sha256_of_paths({folder}), before);
  EXPECT_THROW(sha256_of_paths({folder_ / "missing"}), Error);
}

}  // namespace
}  // namespace linex
