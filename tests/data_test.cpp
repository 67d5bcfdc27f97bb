// Data sets of image files, and batches of them.
#include "data_fixture.hpp"

#include <sys/stat.h>

#include <chrono>
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
  // An empty class keeps its number: later labels mean the same with and without its images.
  const auto data = open(folder_ / "classes");
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{1}));
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_NE(log_.warnings[0].find("no images in 1 class folder of"), std::string::npos);
  EXPECT_NE(log_.warnings[0].find("cat"), std::string::npos);
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
  options_.verify_content = true;
  std::string message = message_of([&] { open(folder_ / "set"); });
  EXPECT_NE(message.find("a/2.jpg"), std::string::npos) << message;
  EXPECT_NE(message.find("2 more"), std::string::npos) << message;
  options_.verify_content = false;
  // What no file has to be opened for is found at once, the rest when it is decoded.
  message = message_of([&] { open(folder_ / "set"); });
  EXPECT_NE(message.find("b/0.png: the file is empty (and 1 more"), std::string::npos) << message;
  fs::remove(folder_ / "set/b/0.png");
  fs::remove(folder_ / "set/b/pipe.png");
  message = message_of([&] { open(folder_ / "set")->pixels(1); });
  EXPECT_NE(message.find("a/2.jpg: the file is truncated"), std::string::npos) << message;
  EXPECT_NE(message.find("data.on_error=skip"), std::string::npos) << message;

  options_.cache = folder_ / "cache";
  const auto data = open(folder_ / "set", "image_folder", /*skip=*/true);
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->name(1), "a/3.png");
  EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(log_.warnings.size(), 2u);
  // The cache knows: a file that has become sound without a trace is not looked into again.
  const fs::path four = folder_ / "set/a/4.png";
  const auto time = fs::last_write_time(four);
  write("set/a/4.png", read_file(kFixtures / "rgb.png"));
  fs::last_write_time(four, time);
  EXPECT_EQ(open(folder_ / "set", "image_folder", true)->size(), 3);
  options_.verify_content = true;
  EXPECT_EQ(open(folder_ / "set", "image_folder", true)->size(), 4);
}

TEST_F(Data, FingerprintOfEntriesFollowsNamesSizesAndTimes) {
  paint("set/a/1.png", 10);
  paint("set/b/2.png", 20);
  const auto fingerprint = [&] { return open(folder_ / "set")->fingerprint(); };
  const std::string before = fingerprint();
  EXPECT_EQ(fingerprint(), before);
  fs::rename(folder_ / "set", folder_ / "moved");
  EXPECT_EQ(open(folder_ / "moved")->fingerprint(), before);
  fs::rename(folder_ / "moved", folder_ / "set");
  std::set<std::string> seen{before};
  const auto changes = [&](const char* how) {
    EXPECT_TRUE(seen.insert(fingerprint()).second) << how;
  };
  const auto time = fs::last_write_time(folder_ / "set/a/1.png");
  fs::last_write_time(folder_ / "set/a/1.png", time + std::chrono::nanoseconds(1000));
  changes("time");
  paint("set/a/1.png", 10, 9);
  fs::last_write_time(folder_ / "set/a/1.png", time);
  changes("size");
  fs::rename(folder_ / "set/a/1.png", folder_ / "set/a/0.png");
  changes("name");
  fs::rename(folder_ / "set/b", folder_ / "set/c");
  changes("class");
}

TEST_F(Data, FingerprintOfContentFollowsContentAndLabels) {
  options_.verify_content = true;
  paint("set/a/1.png", 10);
  paint("set/b/2.png", 20);
  const std::string before = open(folder_ / "set")->fingerprint();
  fs::rename(folder_ / "set/a/1.png", folder_ / "set/a/renamed.png");
  fs::last_write_time(folder_ / "set/b/2.png", fs::file_time_type::clock::now());
  EXPECT_EQ(open(folder_ / "set")->fingerprint(), before);
  // The same size and time do not hide another content.
  const auto time = fs::last_write_time(folder_ / "set/b/2.png");
  paint("set/b/2.png", 21);
  fs::last_write_time(folder_ / "set/b/2.png", time);
  const std::string changed = open(folder_ / "set")->fingerprint();
  EXPECT_NE(changed, before);
  fs::rename(folder_ / "set/b/2.png", folder_ / "set/a/zz.png");
  paint("set/b/3.png", 1);
  const std::string moved = open(folder_ / "set")->fingerprint();
  EXPECT_NE(moved, changed);
  fs::rename(folder_ / "set/b", folder_ / "set/c");
  EXPECT_NE(open(folder_ / "set")->fingerprint(), moved);
}

TEST_F(Data, LeftoversOfSystemsArePassedOverAndCounted) {
  for (int i = 0; i < 6; ++i) {
    paint("mixed/a/" + std::to_string(i) + ".png", 1);
    paint("mixed/b/" + std::to_string(i) + ".png", 1);
  }
  write("mixed/.ipynb_checkpoints/x-checkpoint.png", "junk");
  write("mixed/__MACOSX/a/._0.png", "junk");
  write("mixed/a/Thumbs.db", "junk");
  write("mixed/a/._1.png", "junk");
  write("mixed/b/.thumbnails/3.png", "junk");
  write("mixed/b/@eaDir/3.png/small.jpg", "junk");
  const auto data = open(folder_ / "mixed");
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(data->size(), 12);
  EXPECT_TRUE(log_.warnings.empty());
  ASSERT_EQ(log_.told.size(), 1u);
  EXPECT_NE(log_.told[0].find("6 hidden or system files and folders passed over, the first is "
                              ".ipynb_checkpoints"),
            std::string::npos)
      << log_.told[0];
  // The fingerprint is about images alone.
  fs::remove(folder_ / "mixed/a/Thumbs.db");
  EXPECT_EQ(open(folder_ / "mixed")->fingerprint(), data->fingerprint());
}

TEST_F(Data, FlatFoldersWithSubFolders) {
  for (int i = 0; i < 40; ++i) paint("nas/" + std::to_string(i) + ".png", 1);
  paint("nas/@eaDir/thumb.png", 1);
  EXPECT_EQ(open(folder_ / "nas")->size(), 40);
  EXPECT_TRUE(log_.warnings.empty());
  fs::create_directories(folder_ / "nas/empty");
  EXPECT_EQ(open(folder_ / "nas")->size(), 40);
  paint("nas/rejected/1.png", 1);
  EXPECT_EQ(open(folder_ / "nas")->size(), 1);
  ASSERT_EQ(log_.warnings.size(), 2u);
  EXPECT_NE(log_.warnings[0].find("40 images of"), std::string::npos) << log_.warnings[0];
  EXPECT_NE(log_.warnings[0].find("are not used"), std::string::npos);
}

TEST_F(Data, GroundTruthOfAFlatFolder) {
  for (const char* name :
       {"ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", "ILSVRC2012_val_00000003"})
    paint(std::string("val/") + name + ".png", 1);
  const auto read = [&](const std::string& truth, const std::string& classes = "") {
    options_.ground_truth = write("truth.txt", truth);
    options_.classes = classes.empty() ? fs::path() : write("classes.txt", classes);
    const auto data = open(folder_ / "val");
    std::vector<std::string> names;
    for (const auto label : data->labels())
      names.push_back(data->class_names()[static_cast<std::size_t>(label)]);
    return names;
  };
  using Names = std::vector<std::string>;
  // ILSVRC2012's ids count from 1 in an order of their own.
  EXPECT_EQ(read("2\n3\n1\n"), (Names{"2", "3", "1"}));
  const std::string numbered = "n02 1 kit_fox\nn03 2 english_setter\nn01 3 badger\n";
  EXPECT_EQ(read("2\n3\n1\n", numbered), (Names{"english_setter", "badger", "kit_fox"}));
  EXPECT_EQ(open(folder_ / "val")->class_names(), (Names{"badger", "kit_fox", "english_setter"}));
  EXPECT_EQ(open(folder_ / "val")->labels(), (std::vector<std::int64_t>{2, 0, 1}));
  const std::string mapping = "n01 tench, Tinca tinca\r\nn02 goldfish\r\nn03 shark\r\n";
  EXPECT_EQ(read("n03\nn01\nn03\n\n", mapping), (Names{"shark", "tench, Tinca tinca", "shark"}));
  EXPECT_EQ(read("n03\nn01\nn03"), (Names{"n03", "n01", "n03"}));
  // Caffe's val.txt counts from 0; Kaggle's table has boxes behind the class and another order.
  EXPECT_EQ(read("ILSVRC2012_val_00000003.JPEG 0\nILSVRC2012_val_00000001.JPEG 1\n"
                 "ILSVRC2012_val_00000002.JPEG 2\n",
                 mapping),
            (Names{"goldfish", "shark", "tench, Tinca tinca"}));
  EXPECT_EQ(read("ImageId,PredictionString\nILSVRC2012_val_00000002,n02 85 1 499 272 n02 1 2 3 4 \n"
                 "val/ILSVRC2012_val_00000001,n01 1 2 3 4\nILSVRC2012_val_00000003,n01 9 9 9 9\n",
                 mapping),
            (Names{"tench, Tinca tinca", "goldfish", "tench, Tinca tinca"}));
  const std::string json = R"({"0": ["n01", "tench"], "1": ["n02", "goldfish"]})";
  EXPECT_EQ(read("1\n0\n0", json), (Names{"goldfish", "tench", "tench"}));
  EXPECT_EQ(read("n02\nn01\nn02", R"({"n02": "goldfish", "n01": "tench"})"),
            (Names{"goldfish", "tench", "goldfish"}));

  const auto problem = [&](const std::string& truth, const std::string& classes = "") {
    return message_of([&] { read(truth, classes); });
  };
  EXPECT_NE(problem("1\n2\n").find("has 2 classes, the folder 3 images"), std::string::npos);
  EXPECT_NE(problem("1\n2\n3\n", mapping).find("counts classes from 1"), std::string::npos);
  EXPECT_NE(problem("0\n2\n3\n", mapping).find("does not know the class '3'"), std::string::npos);
  EXPECT_NE(problem("ILSVRC2012_val_00000001 1").find("no line for ILSVRC2012_val_00000002.png"),
            std::string::npos);
  EXPECT_NE(problem("a 1\na 2\n").find("line 2: a has another class on line 1"), std::string::npos);
  EXPECT_NE(problem("a 1\n2\n").find("line 2: some lines name"), std::string::npos);
  EXPECT_NE(problem("n01\nn01\nn01", "n01\n").find("line 1: expected"), std::string::npos);
  EXPECT_NE(problem("n01\nn01\nn01", "n01 a\nn01 b\n").find("twice"), std::string::npos);
  EXPECT_NE(problem("n01\nn01\nn01", "{\"n01\": 3}").find("not JSON"), std::string::npos);
  EXPECT_NE(problem("").find("no class in it"), std::string::npos);

  paint("folders/n02/1.png", 1);
  paint("folders/n01/1.png", 1);
  EXPECT_NE(message_of([&] { open(folder_ / "folders"); }).find("data.ground_truth"),
            std::string::npos);
  options_.ground_truth.clear();
  options_.classes = write("classes.txt", mapping);
  EXPECT_EQ(open(folder_ / "folders")->class_names(), (Names{"tench, Tinca tinca", "goldfish"}));
  options_.classes = write("classes.txt", "n07 x\n");
  EXPECT_NE(message_of([&] { open(folder_ / "folders"); }).find("knows none"), std::string::npos);
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
  EXPECT_NE(message_of([&] { open(write("bad.csv", "where\nx\n"), "csv"); }).find("'path'"),
            std::string::npos);
  // A label as large as memory must not become that many class names.
  EXPECT_EQ(
      open(write("absurd.csv", "path,label\nx/1.png,99999999999\n"), "csv")->class_names().size(),
      1u);
}

TEST_F(Data, CsvAsPeopleWriteIt) {
  paint("x/1.png", 1);
  paint("x/a, b.png", 2);
  paint("x/c;d.png", 3);
  using Names = std::vector<std::string>;
  const auto expect = [&](const std::string& content) {
    const auto data = open(write("table.csv", content), "csv");
    EXPECT_EQ(data->class_names(), (Names{"cat", "zebra"})) << content;
    EXPECT_EQ(data->labels(), (std::vector<std::int64_t>{1, 0})) << content;
    EXPECT_EQ(data->pixels(1)[0][0][0].item<int>(), 2) << content;
    log_.warnings.clear();
  };
  expect("path;label\nx/1.png;zebra\nx/a, b.png;cat\n");
  expect("path\tlabel\nx/1.png\tzebra\nx/a, b.png\tcat\n");
  expect("\xef\xbb\xbfPath,Label\r\nx/1.png,zebra\r\n\"x/a, b.png\",cat\r\n\r\n");
  expect("id,filename,label,split\n7,x/1.png, zebra ,val\n8,\"x/a, b.png\",cat,val\n");
  expect("x/1.png;zebra\nx/a, b.png;cat");
  expect("image_path;class\nx\\1.png;zebra\nx\\a, b.png;cat\n");
  std::string wide = "\xff\xfe";
  for (const char c : std::string("path;label\r\nx/1.png;zebra\r\nx/a, b.png;cat\r\n"))
    wide += std::string{c, '\0'};
  expect(wide);
  const auto table = [&](const std::string& content) {
    return open(write("table.csv", content), "csv");
  };
  EXPECT_EQ(table("x/1.png\nx/c;d.png\n")->size(), 2);
  EXPECT_TRUE(log_.warnings.empty());
  EXPECT_TRUE(table("path,breed\nx/1.png,pug\n")->labels().empty());
  ASSERT_EQ(log_.warnings.size(), 1u);
  EXPECT_NE(log_.warnings[0].find("no column 'label' among path, breed"), std::string::npos);
  const auto problem = [&](const std::string& content) {
    return message_of([&] { table(content); });
  };
  EXPECT_NE(problem("x/1.png,1,2\n").find("no column 'path'"), std::string::npos);
  EXPECT_NE(problem("path,label\nx/1.png,a\nx/1.png\n").find("record 3 has 1 cells"),
            std::string::npos);
  EXPECT_NE(problem("path,label\n,a\n").find("record 2: the path is empty"), std::string::npos);
  EXPECT_NE(problem("path,label\nx/1.png,\n").find("record 2: the label is empty"),
            std::string::npos);
  EXPECT_NE(problem("path,label\n").find("lists no images"), std::string::npos);
  EXPECT_NE(problem("path\nnone.png\n").find("none.png: No such file"), std::string::npos);
  EXPECT_NE(problem(std::string("p\0a\0", 4)).find("iconv -f utf-16le"), std::string::npos);
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
