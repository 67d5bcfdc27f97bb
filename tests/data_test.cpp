// Data sets of image files, and batches of them.
#include "data_fixture.hpp"

#include <sys/stat.h>

#include <set>

#include "toolkit/base/files.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/data/preprocess.hpp"

namespace linex {
namespace {

using test::message_of;
namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(LINEX_SOURCE_DIR) / "tests/fixtures/pillow";

class Data : public test::DataTest {};

TEST_F(Data, ImageFolderHasTorchvisionsOrder) {
  paint("set/b/2.png", 1);
  paint("set/b/10.png", 2);
  paint("set/a/z.png", 3);
  paint("set/a/c/x.png", 4);
  paint("set/a/c-d/x.PNG", 5);
  paint("set/a/folder.png/inner.png", 6);  // a directory called like an image
  paint("set/top_level.png", 7);           // torchvision leaves these out
  write("set/a/notes.txt", "not an image");
  const auto data = open(folder_ / "set");
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"a", "b"}));
  std::vector<std::string> names;
  for (std::int64_t row = 0; row < data->size(); ++row) names.push_back(data->name(row));
  // The walk is sorted by whole path: "a", "a/c", "a/c-d", "a/folder.png".
  EXPECT_EQ(names, (std::vector<std::string>{"a/z.png", "a/c/x.png", "a/c-d/x.PNG",
                                             "a/folder.png/inner.png", "b/10.png", "b/2.png"}));
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(data->pixels(4)[0][0][0].item<int>(), 2);
}

TEST_F(Data, FolderLinksInACircleEnd) {
  paint("set/a/x.png", 1);
  fs::create_directory_symlink(folder_ / "set", folder_ / "set/a/loop");
  EXPECT_GE(open(folder_ / "set")->size(), 1);
}

TEST_F(Data, FlatFolderHasNoClasses) {
  paint("flat/b.png", 1);
  paint("flat/a.png", 2);
  const auto data = open(folder_ / "flat");
  EXPECT_EQ(data->size(), 2);
  EXPECT_TRUE(data->labels().empty());
  EXPECT_TRUE(data->class_names().empty());
  EXPECT_EQ(data->name(0), "a.png");
}

TEST_F(Data, FolderProblemsAreOneClearLine) {
  fs::create_directories(folder_ / "empty");
  fs::create_directories(folder_ / "classes/cat");
  paint("classes/dog/x.png", 1);
  EXPECT_NE(message_of([&] { open(folder_ / "none"); }).find("does not exist"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "empty"); }).find("no images"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_ / "classes"); }).find("cat"), std::string::npos);
  EXPECT_NE(message_of([&] { open(folder_, "image_foldr"); }).find("did you mean"),
            std::string::npos);
}

TEST_F(Data, UnreadableImagesFailOrAreSkipped) {
  paint("set/a/1.png", 10);
  paint("set/a/3.png", 30);
  paint("set/b/1.png", 40);
  fs::copy_file(kFixtures / "truncated.jpg", folder_ / "set/a/2.jpg");
  write("set/b/0.png", "");
  ASSERT_EQ(::mkfifo((folder_ / "set/b/pipe.png").c_str(), 0600), 0);
  // Sound chunks around damaged pixels: only decoding tells.
  std::string damaged = read_file(kFixtures / "rgb.png");
  for (std::size_t i = 60; i < 400; ++i) damaged[i] = 'x';
  write("set/a/4.png", damaged);
  const std::string message = message_of([&] { open(folder_ / "set"); });
  EXPECT_NE(message.find("a/2.jpg"), std::string::npos) << message;
  EXPECT_NE(message.find("2 more"), std::string::npos) << message;

  const auto data = open(folder_ / "set", "image_folder", /*skip=*/true);
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->name(1), "a/3.png");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(log_.warnings.size(), 4u);
}

TEST_F(Data, FingerprintFollowsContentAndLabels) {
  paint("set/a/1.png", 10);
  paint("set/b/2.png", 20);
  const std::string before = open(folder_ / "set")->fingerprint();
  fs::rename(folder_ / "set/a/1.png", folder_ / "set/a/renamed.png");
  EXPECT_EQ(open(folder_ / "set")->fingerprint(), before);
  paint("set/b/2.png", 21);
  const std::string changed = open(folder_ / "set")->fingerprint();
  EXPECT_NE(changed, before);
  fs::rename(folder_ / "set/b/2.png", folder_ / "set/a/zz.png");
  paint("set/b/3.png", 1);
  EXPECT_NE(open(folder_ / "set")->fingerprint(), changed);
}

TEST_F(Data, LimitTakesAsManyOfEachClassAndWarnsOfLostOnes) {
  for (const char* name : {"set/a/1.png", "set/a/2.png", "set/a/3.png", "set/a/4.png",
                           "set/b/1.png", "set/c/1.png", "set/c/2.png", "set/c/3.png"})
    paint(name, 1);
  DataOptions options;
  options.root = folder_ / "set";
  options.log = &log_;
  std::set<std::string> names;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    options.limit = 5;  // the one of b, two of each other
    const auto data = open_data_set(options);
    EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 1, 2, 2}));
    const Listing* listing = listing_of(data.get());
    ASSERT_NE(listing, nullptr);
    EXPECT_EQ(listing->size, 8);
    const char* all[] = {"a/1", "a/2", "a/3", "a/4", "b/1", "c/1", "c/2", "c/3"};
    for (std::int64_t row = 0; row < 5; ++row)
      EXPECT_EQ(data->name(row), std::string(all[listing->rows[row]]) + ".png");
    names.insert(data->name(0) + data->name(1));
    EXPECT_EQ(open_data_set(options)->name(1), data->name(1));
  }
  EXPECT_GT(names.size(), 1u);  // another seed, other images
  EXPECT_TRUE(log_.warnings.empty());
  options.limit = 2;
  EXPECT_EQ(open_data_set(options)->size(), 2);
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_NE(log_.warnings[0].find("2 of 3 classes"), std::string::npos);
  EXPECT_EQ(sample_rows({}, 100, 10, 3).size(), 10u);
  EXPECT_EQ(sample_rows({}, 4, 10, 3), (Rows{0, 1, 2, 3}));
}

TEST_F(Data, Places365) {
  paint("places/val_256/Places365_val_00000001.png", 1);
  paint("places/val_256/Places365_val_00000002.png", 2);
  write("places/places365_val.txt",
        "Places365_val_00000002.png 364\nPlaces365_val_00000001.png 0\n");
  write("places/categories_places365.txt", "/a/airfield 0\n/z/zen_garden 364\n");
  const auto data = open(folder_ / "places", "places365");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{364, 0}));
  EXPECT_EQ(data->class_names().size(), 365u);
  EXPECT_EQ(data->class_names()[364], "/z/zen_garden");
  EXPECT_EQ(data->pixels(0)[0][0][0].item<int>(), 2);
  write("places/places365_val.txt", "Places365_val_00000002.png 365\n");
  EXPECT_NE(message_of([&] { open(folder_ / "places", "places365"); }).find("line 1"),
            std::string::npos);
}

TEST_F(Data, CsvOfPathsAndLabels) {
  paint("x/1.png", 1);
  paint("x/a, b.png", 2);
  const auto named =
      open(write("named.csv", "label,path\nzebra,x/1.png\ncat,\"x/a, b.png\"\n"), "csv");
  EXPECT_EQ(named->class_names(), (std::vector<std::string>{"cat", "zebra"}));
  EXPECT_EQ(named->labels(), (std::vector<std::int64_t>{1, 0}));
  const auto numbered = open(write("numbered.csv", "path,label\nx/1.png,2\n"), "csv");
  EXPECT_EQ(numbered->class_names().size(), 3u);
  EXPECT_EQ(numbered->labels(), (std::vector<std::int64_t>{2}));
  EXPECT_TRUE(open(write("bare.csv", "path\nx/1.png\n"), "csv")->labels().empty());
  EXPECT_NE(message_of([&] { open(write("bad.csv", "file\nx\n"), "csv"); }).find("'path'"),
            std::string::npos);
  // A label as large as memory must not become that many class names.
  EXPECT_EQ(
      open(write("absurd.csv", "path,label\nx/1.png,99999999999\n"), "csv")->class_names().size(),
      1u);
}

TEST_F(Data, BatchesDoNotDependOnThreadsOrPrefetching) {
  for (int i = 0; i < 11; ++i) paint("set/a/" + std::to_string(i) + ".png", 20 * i, 10 + i, 30);
  const std::shared_ptr<const DataSet> data = open(folder_ / "set");
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::squash;
  preprocess.size = 9;
  const Rows rows{10, 0, 3, 4, 5, 6, 7};
  const torch::Tensor expected = load_batch(*data, rows, preprocess, 1);
  for (const int ahead : {0, 1, 3}) {
    BatchLoader loader(data, rows, preprocess, {3, 2, ahead});
    std::vector<torch::Tensor> parts;
    for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
      EXPECT_EQ(batch.begin, static_cast<std::int64_t>(parts.size()) * 3);
      parts.push_back(batch.images);
    }
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_TRUE(torch::equal(torch::cat(parts), expected));
  }
  // Ending early must not hang.
  BatchLoader(data, rows, preprocess, {1, 1, 2}).next();
}

TEST_F(Data, ABatchThatCannotBeLoadedIsNamed) {
  for (int i = 0; i < 6; ++i) paint("set/a/" + std::to_string(i) + ".png", 1, i == 4 ? 9 : 8, 8);
  const std::shared_ptr<const DataSet> data = open(folder_ / "set");
  for (const int ahead : {0, 2}) {
    BatchLoader loader(data, {0, 1, 2, 3, 4, 5}, Preprocess{}, {2, 2, ahead});
    EXPECT_EQ(loader.next().begin, 0);
    EXPECT_EQ(loader.next().begin, 2);
    const std::string message = message_of([&] { loader.next(); });
    EXPECT_NE(message.find("a/4.png is 9x8"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace linex
