// Units of another basis: directions, sparse autoencoders, principal components.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "linex/conformance.hpp"
#include "tests/small_run.hpp"
#include "tests/test_models.hpp"
#include "tests/toy_model.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"
#include "toolkit/checkpoint/safetensors.hpp"
#include "toolkit/data/activation_store.hpp"
#include "toolkit/explanations/explanation_csv.hpp"
#include "toolkit/intervention/ablation.hpp"
#include "toolkit/intervention/variant_runner.hpp"
#include "toolkit/probe/unit_maps.hpp"
#include "toolkit/units/basis_file.hpp"
#include "toolkit/units/basis_model.hpp"
#include "toolkit/units/pca.hpp"

namespace linex {
namespace {

namespace fs = std::filesystem;
using test::fixtures;
using test::input_error_of;
using units::Activation;
using units::Basis;
using units::BasisOptions;
using units::Kind;

torch::Tensor array(const std::string& name) { return map_npy(fixtures("units") / name).clone(); }

Basis read(const fs::path& path) {
  BasisOptions options;
  options.file = path;
  return units::read_basis(options).basis;
}

/// A message of Error(usage), on one line.
template <class Body>
std::string usage_error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// ------------------------------------------------------------------------------- files of writers

struct Written {
  const char* name;
  const char* file;
  const char* x = "x.npy";
};

class Writers : public ::testing::TestWithParam<Written> {};

TEST_P(Writers, LatentsAndChangesAreThoseOfTheDefinition) {
  const auto& [name, file, x_name] = GetParam();
  const Basis basis = read(fixtures("units") / file);
  const auto x = array(x_name), latents = array(std::string(name) + ".latents.npy");
  const auto found = units::encode(basis, x, 2);
  EXPECT_LT(test::relative_difference(found.to(torch::kFloat64), latents), 1e-6);
  EXPECT_TRUE(torch::equal(found.eq(0), latents.eq(0))) << "other latents are active";
  EXPECT_TRUE(torch::equal(found, units::encode(basis, x, 1)));
  EXPECT_TRUE(torch::equal(units::encode_some(basis, x, {7, 2}, 2),
                           found.index_select(1, torch::tensor({7, 2}))));

  auto change = torch::zeros_like(found);
  change.select(1, 3).fill_(0.5);
  auto expected = array(std::string(name) + ".change.npy").expand({x.size(0), x.size(1)});
  EXPECT_LT(test::relative_difference(units::decode_change(basis, change, x, 2).to(torch::kFloat64),
                                      expected),
            1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Four, Writers,
    ::testing::Values(Written{"lens_first", "lens_first"}, Written{"lens_second", "lens_second"},
                      Written{"lens_gated", "lens_gated"}, Written{"lens_third", "lens_third"},
                      Written{"lens_log", "lens_log"}, Written{"lens_rescaled", "lens_rescaled"},
                      Written{"lens_ties", "lens_ties/sae_weights.safetensors", "whole.npy"},
                      Written{"dl_plain", "dl_plain"}, Written{"dl_new", "dl_new/ae.pt"},
                      Written{"dl_gated", "dl_gated"}, Written{"dl_jump", "dl_jump"},
                      Written{"dl_topk", "dl_topk", "whole.npy"}, Written{"dl_batch", "dl_batch"},
                      Written{"dl_matryoshka", "dl_matryoshka"}, Written{"saev_old", "saev_old.pt"},
                      Written{"saev_one", "saev_one.pt"},
                      Written{"saev_one_later", "saev_one_later.pt"},
                      Written{"saev_two", "saev_two.pt", "whole.npy"},
                      Written{"prisma_folder", "prisma_folder"},
                      Written{"prisma_topk", "prisma_topk/weights.pt"},
                      Written{"prisma_object", "prisma_object.pt"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Basis, AmongEqualValuesTheLowerUnitsStay) {
  Basis basis;
  basis.source = "ties";
  basis.encoder = torch::tensor({1, 1, 1, 2, 1, -1}, torch::kFloat32).unsqueeze(0);
  basis.decoder = torch::ones({6, 1});
  basis.activation = Activation::topk;
  basis.k = 3;
  units::finish(basis);
  const auto x = torch::tensor({{1.F}, {0.F}, {-1.F}});
  EXPECT_TRUE(
      torch::equal(units::encode(basis, x, 1), torch::tensor({{1.F, 1.F, 0.F, 2.F, 0.F, 0.F},
                                                              {0.F, 0.F, 0.F, 0.F, 0.F, 0.F},
                                                              {0.F, 0.F, 0.F, 0.F, 0.F, 1.F}})));
  basis.rectify = false;
  EXPECT_TRUE(torch::equal(units::encode(basis, x.narrow(0, 2, 1), 1),
                           torch::tensor({{-1.F, -1.F, 0.F, 0.F, 0.F, 1.F}})));
}

TEST(Basis, TopKIsTorchsWhereThatIsDefined) {
  torch::manual_seed(1);
  Basis basis;
  basis.source = "random";
  basis.encoder = torch::randn({16, 700});
  basis.decoder = torch::randn({700, 16});
  basis.activation = Activation::topk;
  basis.k = 31;
  basis.rectify = false;
  units::finish(basis);
  const auto x = torch::randn({600, 16});  // more than two tiles
  const auto p = x.matmul(basis.encoder);
  const auto [values, columns] = p.topk(31, 1);
  const auto expected = torch::zeros_like(p).scatter(1, columns, values);
  EXPECT_LT(test::relative_difference(units::encode(basis, x, 2), expected), 1e-5);
  EXPECT_TRUE(torch::equal(units::encode(basis, x, 2), units::encode(basis, x, 1)));
}

TEST(Basis, OptionsOverrideTheFile) {
  const auto x = array("x.npy");
  BasisOptions options;
  options.file = fixtures("units") / "lens_first";
  options.activation = "topk";
  options.k = 2;
  const auto two = units::encode(units::read_basis(options).basis, x, 1);
  EXPECT_LE(two.ne(0).sum(1).max().item<std::int64_t>(), 2);
  options.activation = "identity";
  options.k = 0;
  EXPECT_TRUE((units::encode(units::read_basis(options).basis, x, 1) < 0).any().item<bool>());
  options.activation = "batch_topk";
  EXPECT_NE(usage_error_of([&] { units::read_basis(options); }).find("depends on its other images"),
            std::string::npos);
  options.activation = "topk";
  EXPECT_NE(usage_error_of([&] { units::read_basis(options); }).find("units.k"), std::string::npos);
  options.activation = "auto";
  options.k = 4;
  EXPECT_NE(usage_error_of([&] { units::read_basis(options); }).find("no top-k"),
            std::string::npos);

  // The k of a batch is that of each position where it is asked for.
  options.file = fixtures("units") / "dl_batch";
  options.activation = "topk";
  options.k = 0;
  EXPECT_EQ(units::read_basis(options).basis.k, 3);
  // Two classes that look alike without the configuration.
  const fs::path alone = fs::temp_directory_path() / ("units_alone_" + std::to_string(::getpid()));
  fs::create_directories(alone);
  fs::copy_file(fixtures("units") / "dl_batch/ae.pt", alone / "ae.pt",
                fs::copy_options::overwrite_existing);
  options.file = alone;
  options.activation = "auto";
  EXPECT_NE(input_error_of([&] { units::read_basis(options); }).find("look alike"),
            std::string::npos);
  options.activation = "batch_topk";
  EXPECT_TRUE(torch::equal(units::encode(units::read_basis(options).basis, x, 1),
                           units::encode(read(fixtures("units") / "dl_batch"), x, 1)));
  fs::remove_all(alone);
}

TEST(Basis, APrefixIsTheFirstLatents) {
  for (const char* name : {"dl_matryoshka", "lens_second"}) {
    BasisOptions options;
    options.file = fixtures("units") / name;
    const auto x = array("x.npy");
    const auto all = units::encode(units::read_basis(options).basis, x, 1);
    options.components = 5;
    const Basis prefix = units::read_basis(options).basis;
    EXPECT_EQ(prefix.units(), 5);
    EXPECT_LT(test::relative_difference(units::encode(prefix, x, 1), all.narrow(1, 0, 5)), 1e-6);
    EXPECT_EQ(units::decode_change(prefix, torch::ones({14, 5}), x, 1).size(1), 6);
    options.components = 11;
    EXPECT_NE(input_error_of([&] { units::read_basis(options); }).find("of 10 units"),
              std::string::npos);
  }
}

TEST(Basis, StemsAreNames) {
  EXPECT_EQ(units::stem_of("a/b/probe v1.npy"), "probe_v1");
  EXPECT_EQ(units::stem_of(fixtures("units") / "dl_plain"), "dl_plain");
  EXPECT_EQ(units::stem_of((fixtures("units") / "dl_plain").string() + "/"), "dl_plain");
  EXPECT_EQ(units::stem_of(fixtures("units") / "saev_two.pt"), "saev_two");
}

// ------------------------------------------------------------------------------------- directions

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("linex_units_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& content) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  /// A copy of a fixture to spoil.
  fs::path copy(const std::string& name) const {
    fs::copy(fixtures("units") / name, folder_ / name,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    return folder_ / name;
  }
  std::string error(const fs::path& path, Kind kind = Kind::automatic) const {
    BasisOptions options;
    options.file = path;
    options.kind = kind;
    return input_error_of([&] { units::read_basis(options); });
  }
  fs::path folder_;
};

TEST_F(Files, DirectionsAreRowsOfAnyMatrix) {
  torch::manual_seed(2);
  auto matrix = torch::randn({5, 4});
  matrix[2].zero_();
  const auto bias = torch::randn({5}), x = torch::randn({9, 4});
  write_npy(folder_ / "d.npy", matrix.to(torch::kFloat64));
  write_safetensors(folder_ / "d.safetensors", {{"weight", matrix}, {"bias", bias}});
  save_checkpoint(folder_ / "d.pt", matrix);
  save_checkpoint(folder_ / "named.pt",
                  CheckpointNode::Dict{{"probe.weight", matrix}, {"other", matrix}});
  for (const char* name : {"d.npy", "d.pt", "d.safetensors", "named.pt:other"}) {
    const Basis basis = read(folder_ / name);
    const bool biased = std::string(name) == "d.safetensors";
    auto expected = x.matmul(matrix.t());
    if (biased) expected += bias;
    EXPECT_LT(test::relative_difference(units::encode(basis, x, 1), expected), 1e-6) << name;

    // The value follows the change, the other directions' only as far as they overlap.
    auto change = torch::zeros({9, 5});
    change.select(1, 1).fill_(0.7);
    const auto moved = x + units::decode_change(basis, change, x, 1);
    const auto after = units::encode(basis, moved, 1);
    EXPECT_LT(((after - expected).select(1, 1) - 0.7).abs().max().item<double>(), 1e-5);
    change.zero_().select(1, 2).fill_(0.7);
    EXPECT_EQ(units::decode_change(basis, change, x, 1).abs().max().item<double>(), 0);
  }
  EXPECT_NE(error(folder_ / "named.pt").find("several matrices"), std::string::npos);
  write_npy(folder_ / "vector.npy", bias);
  EXPECT_NE(error(folder_ / "vector.npy").find("(5)"), std::string::npos);
  write_npy(folder_ / "nan.npy", torch::full({2, 2}, NAN));
  EXPECT_NE(error(folder_ / "nan.npy").find("NaN"), std::string::npos);
}

// ---------------------------------------------------------------------------------------- hostile

TEST_F(Files, HostileFoldersEndInOneLine) {
  const auto holds = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  holds(error(folder_ / "nothing"), "nothing");
  fs::create_directories(folder_ / "empty");
  holds(error(folder_ / "empty"), "no sparse autoencoder's folder");

  // A pickled configuration is not read, let alone run.
  const auto lens = copy("lens_first");
  write("lens_first/cfg.json", std::string("\x80\x04\x95") + "cos\nsystem\n(S'true'\ntR.");
  holds(error(lens), "no JSON object");
  write("lens_first/cfg.json", std::string(100000, '['));
  holds(error(lens), "no JSON object");
  const auto cfg = [&](const std::string& text) {
    write("lens_first/cfg.json", text);
    return error(lens);
  };
  holds(cfg("{\"d_in\": 7}"), "do not belong together");
  holds(cfg("{\"d_sae\": \"ten\"}"), "not a whole number");
  holds(cfg("{\"d_sae\": 1e300}"), "not a whole number");
  holds(cfg("{\"architecture\": \"temporal\"}"), "'temporal' is not read");
  holds(cfg("{\"activation_fn\": \"tanh-relu\"}"), "'tanh-relu' is not read");
  holds(cfg("{\"normalize_activations\": \"other\"}"), "'other' is not known");
  holds(cfg("{\"architecture\": \"topk\", \"k\": 11}"), "k = 11 of 10 latents");
  holds(cfg("{\"architecture\": \"topk\"}"), "k = 0 of 10 latents");
  holds(cfg("{\"architecture\": \"topk\", \"k\": -3}"), "not a whole number");
  holds(cfg("{\"architecture\": \"jumprelu\"}"), "holds no threshold");
  holds(cfg("{\"architecture\": [1]}"), "not a text");
  fs::remove(lens / "cfg.json");
  holds(error(lens), "says in cfg.json");
  write("lens_first/cfg.json", "{}");
  fs::remove(lens / "sae_weights.safetensors");
  holds(error(lens), "no sae_weights.safetensors");

  const auto shapes = [&](std::map<std::string, torch::Tensor> tensors) {
    write_safetensors(lens / "sae_weights.safetensors", tensors);
    return error(lens);
  };
  const auto good = [] {
    return std::map<std::string, torch::Tensor>{{"W_enc", torch::randn({6, 10})},
                                                {"W_dec", torch::randn({10, 6})},
                                                {"b_enc", torch::randn({10})},
                                                {"b_dec", torch::randn({6})}};
  };
  auto bad = good();
  bad["W_dec"] = torch::randn({10, 5});
  holds(shapes(bad), "not its transpose");
  bad = good();
  bad["b_enc"] = torch::randn({9});
  holds(shapes(bad), "b_enc is (9), expected (10)");
  bad = good();
  bad["b_dec"] = torch::randn({6, 1});
  holds(shapes(bad), "b_dec is (6, 1)");
  bad = good();
  bad["W_enc"][2][3] = NAN;
  holds(shapes(bad), "NaN");
  bad = good();
  bad["W_enc"] = torch::empty({0, 10});
  holds(shapes(bad), "W_enc");
  bad = good();
  bad.erase("b_enc");
  holds(shapes(bad), "holds no b_enc");

  const auto dl = copy("dl_topk");
  write("dl_topk/config.json", "{\"trainer\": {\"dict_class\": \"CrossCoder\"}}");
  holds(error(dl), "'CrossCoder' is not read");
  write("dl_topk/config.json", "{\"trainer\": 3}");
  holds(error(dl), "look alike");
  write("dl_topk/ae.pt", "no checkpoint");
  holds(error(dl), "ae.pt");

  const std::string saev = read_file(fixtures("units") / "saev_two.pt");
  const auto header = [&](const std::string& line) {
    return error(write("s.pt", line + saev.substr(saev.find('\n'))));
  };
  holds(header("{\"schema\": 9}"), "schema 9");
  holds(header("{\"schema\": 2, \"cfg\": {\"activation\": {\"cls\": \"Tanh\"}}}"), "'Tanh'");
  holds(header("{\"schema\": 2, \"cfg\": {\"d_vit\": 8}}"), "d_vit is 8");
  holds(header("{\"schema\""), "no JSON object");
  holds(error(write("s.pt", "{" + std::string(1000, ' '))), "no header line");
  holds(error(write("s.pt", saev.substr(0, saev.find('\n') + 1))), "truncated");
  holds(error(write("s.pt", saev.substr(0, saev.size() / 2))), "s.pt");

  const auto prisma = copy("prisma_folder");
  fs::remove(prisma / "config.json");
  holds(error(prisma / "weights.pt"), "config.json");
  holds(error(copy("x.npy"), Kind::sae), "no encoder and decoder");
}

TEST_F(Files, EveryCutOfAFileIsAnError) {
  for (const char* name : {"saev_one.pt", "prisma_object.pt"}) {
    const std::string whole = read_file(fixtures("units") / name);
    for (std::size_t size = 1; size < whole.size(); size += 211)
      EXPECT_NE(error(write("cut.pt", whole.substr(0, size))).find("cut.pt"), std::string::npos)
          << name << " " << size;
  }
}

// -------------------------------------------------------------------------------------------- PCA

TEST(Pca, IsNumPys) {
  const auto x = array("x.npy"), components = array("pca.components.npy"),
             latents = array("pca.latents.npy"), share = array("pca.share.npy");
  units::CovarianceSum sum(2);
  sum.add(x.narrow(0, 0, 3));
  sum.add(x.narrow(0, 3, 11));
  const Basis basis = units::pca_basis(sum, 0, "layer");
  EXPECT_EQ(basis.units(), 6);
  EXPECT_LT(test::relative_difference(basis.encoder.t().to(torch::kFloat64), components), 1e-6);
  EXPECT_LT(test::relative_difference(units::encode(basis, x, 1).to(torch::kFloat64), latents),
            2e-6);
  EXPECT_EQ(units::pca_basis(sum, 2, "layer").units(), 2);
  for (std::int64_t m = 0; m < 5; ++m) {
    const double reached = share[m].item<double>();
    EXPECT_EQ(units::pca_basis(sum, reached - 1e-6, "layer").units(), m + 1);
    EXPECT_EQ(units::pca_basis(sum, reached + 1e-6, "layer").units(), m + 2);
  }
  EXPECT_NE(usage_error_of([&] { units::pca_basis(sum, 7, "layer"); }).find("6 components"),
            std::string::npos);
  units::CovarianceSum one(1);
  one.add(x.narrow(0, 0, 1));
  EXPECT_NE(input_error_of([&] { units::pca_basis(one, 0, "layer"); }).find("two positions"),
            std::string::npos);
}

TEST(Pca, SumsAreTheSameForAnyThreadsAndFarFromZero) {
  torch::manual_seed(3);
  const auto x = torch::randn({500, 200}) + 1000;
  units::CovarianceSum one(1), three(3);
  for (auto* sum : {&one, &three}) {
    sum->add(x.narrow(0, 0, 123));
    sum->add(x.narrow(0, 123, 377));
  }
  EXPECT_TRUE(torch::equal(one.covariance(), three.covariance()));
  const auto wide = x.to(torch::kFloat64), centred = wide - wide.mean(0);
  EXPECT_LT(test::relative_difference(one.covariance(), centred.t().matmul(centred) / 500), 1e-10);
}

// ---------------------------------------------------------------------------------------- network

/// 12 latents over the 6 channels of Toy's "first".
Basis toy_basis(Activation activation = Activation::relu) {
  torch::manual_seed(4);
  Basis basis;
  basis.source = basis.stem = "toy";
  basis.encoder = torch::randn({6, 12});
  basis.decoder = torch::randn({12, 6});
  basis.bias = torch::randn({12}) * 0.1;
  basis.shift = torch::rand({6});
  basis.activation = activation;
  basis.k = 4;
  units::finish(basis);
  return basis;
}

std::shared_ptr<units::BasisModel> toy_model(const Basis& basis) {
  return std::make_shared<units::BasisModel>(
      std::make_shared<test::Toy>(), basis.stem, basis.fingerprint,
      [&](const std::string&) -> const Basis& { return basis; }, 2);
}

torch::Tensor toy_images(std::int64_t n) {
  torch::manual_seed(6);
  return torch::rand({n, 3, 9, 9});
}

TEST(BasisModel, LayersAreThoseOfTheNetworkThroughTheBasis) {
  for (const auto activation : {Activation::relu, Activation::topk}) {
    const Basis basis = toy_basis(activation);
    const auto model = toy_model(basis);
    EXPECT_EQ(model->layers(), (std::vector<std::string>{"first@toy", "second@toy"}));
    const auto images = toy_images(3);
    test::Toy toy;
    const auto raw = toy.forward(images, {"first"}, true);
    const auto units = model->forward(images, {"first@toy"}, true);
    EXPECT_TRUE(torch::equal(units.logits, raw.logits));
    ASSERT_EQ(units.layers[0].sizes(), (torch::IntArrayRef{3, 12, 7, 7}));
    // Position by position, the obvious way.
    const auto at = raw.layers[0].select(3, 5).select(2, 2);
    EXPECT_LT(test::relative_difference(units.layers[0].select(3, 5).select(2, 2),
                                        units::encode(basis, at.contiguous(), 1)),
              1e-6);
    const auto some = model->forward_units(images, "first@toy", {11, 0});
    EXPECT_TRUE(torch::equal(some, units.layers[0].index_select(1, torch::tensor({11, 0}))));
    for (const Pool pool : {Pool::avg, Pool::max})
      EXPECT_LT(test::relative_difference(
                    model->forward_pooled(images, {"first@toy"}, false, pool).layers[0],
                    pool_output(units.layers[0], pool, "")),
                1e-6);
  }
}

TEST(BasisModel, ABasisForAnotherWidthIsOneLine) {
  const Basis basis = toy_basis();
  const auto model = toy_model(basis);
  EXPECT_NE(input_error_of([&] {
              model->forward(toy_images(1), {"second@toy"}, false);
            }).find("vectors of 6 values; layer second gives 8"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { model->forward(toy_images(1), {"first"}, false); }).find("@toy"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { model->split(toy_images(1), "second@toy"); }).find("gives 8"),
            std::string::npos);
}

TEST(BasisModel, ReplacingALatentAddsItsChangeTimesItsDecoder) {
  for (const auto activation : {Activation::relu, Activation::topk}) {
    const Basis basis = toy_basis(activation);
    const auto model = toy_model(basis);
    const auto images = toy_images(4);
    const auto tail = model->split(images, "first@toy");
    const auto latents = tail->activation();
    test::Toy toy;
    const auto base = toy.split(images, "first");
    EXPECT_TRUE(torch::equal(tail->logits(latents), base->logits(base->activation())));

    // Two variants at once: latent 3 removed, latent 8 set to 1.
    auto removed = latents.clone(), set = latents.clone();
    removed.select(1, 3).zero_();
    set.select(1, 8).fill_(1);
    const auto both = tail->logits(torch::cat({removed, set}));
    for (int v = 0; v < 2; ++v) {
      const int unit = v == 0 ? 3 : 8;
      auto x = base->activation().clone();
      for (std::int64_t n = 0; n < 4; ++n)
        for (std::int64_t h = 0; h < 7; ++h)
          for (std::int64_t w = 0; w < 7; ++w) {
            const double was = latents[n][unit][h][w].item<double>();
            const double change = (v == 0 ? 0.0 : 1.0) - was;
            for (std::int64_t d = 0; d < 6; ++d)
              x[n][d][h][w] += change * basis.decoder[unit][d].item<double>();
          }
      EXPECT_LT(test::relative_difference(both.narrow(0, 4 * v, 4), base->logits(x)), 1e-5);
    }
  }
}

TEST(BasisModel, AblationOfALatentIsTheObviousComputation) {
  const Basis basis = toy_basis();
  const auto model = toy_model(basis);
  const auto data = std::make_shared<test::Pictures>(40, 9, 4);
  Rows rows(40);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  RunSettings run;
  run.threads = 2;
  run.batch = 16;
  const conformance::TestContext context({}, run);
  const auto values = torch::rand({40});
  const VariantJob job{*model, data, "first@toy", Pool::avg, Fill::shift};
  const auto outcome = run_variants("", job, rows, {{5, values}}, 1.1, context);

  test::Toy toy;
  const auto images = load_batch(*data, rows, toy.preprocess(), 1);
  const auto base = toy.split(images, "first");
  const auto raw = base->activation();
  const auto f = units::output_of(units::encode(basis, units::positions_of(raw), 1), raw);
  const auto shift = values - f.select(1, 5).flatten(1).mean(1);
  const auto x = raw + shift.view({40, 1, 1, 1}) * basis.decoder[5].view({1, 6, 1, 1});
  const auto expected = intervention::log_odds_rows(base->logits(x), labels_of(*data, rows), 1.1);
  EXPECT_LT((outcome.variants[0] - expected).abs().max().item<double>(), 1e-5);
}

TEST(BasisModel, CachesAreKeyedByTheBasis) {
  const Basis first = toy_basis();
  Basis second = first;
  second.decoder = first.decoder.clone();
  second.decoder[3][2] += 1;
  units::finish(second);
  EXPECT_NE(first.fingerprint, second.fingerprint);
  EXPECT_NE(toy_model(first)->fingerprint(), toy_model(second)->fingerprint());
  EXPECT_NE(toy_model(first)->fingerprint(), test::Toy().fingerprint());

  const fs::path cache = fs::temp_directory_path() / ("units_cache_" + std::to_string(::getpid()));
  fs::remove_all(cache);
  RunSettings run;
  run.threads = 2;
  run.batch = 8;
  run.cache = cache;
  const conformance::TestContext context({}, run);
  const auto data = std::make_shared<test::Pictures>(20, 9, 4);
  const auto extract = [&](const Basis& basis) {
    return extract_activations(*toy_model(basis), data, {{"first@toy"}, Pool::avg, false, false},
                               context);
  };
  const auto computed = extract(first);
  EXPECT_EQ(computed.computed, 20);
  EXPECT_EQ(extract(first).computed, 0);
  EXPECT_EQ(extract(second).computed, 20);
  EXPECT_EQ(computed.layers[0].size(1), 12);
  fs::remove_all(cache);
}

TEST(BasisModel, MapsOfUnitsAreThoseOfTheWholeLayer) {
  const Basis basis = toy_basis(Activation::topk);
  const auto model = toy_model(basis);
  const auto data = std::make_shared<test::Pictures>(9, 9, 4);
  RunSettings run;
  run.threads = 2;
  run.batch = 4;
  const conformance::TestContext context({}, run);
  const auto images = load_batch(*data, {0, 1, 2, 3, 4, 5, 6, 7, 8}, model->preprocess(), 1);
  const auto whole = model->forward(images, {"first@toy"}, false).layers[0];
  std::vector<std::pair<std::int64_t, std::int64_t>> wanted{{8, 3}, {0, 11}, {0, 2}, {5, 3}};
  std::vector<torch::Tensor> maps(wanted.size());
  visit_maps(*model, data, "first@toy", wanted, context,
             [&](std::size_t i, const torch::Tensor& map) { maps[i] = map.clone(); });
  EXPECT_GT(whole.abs().max().item<double>(), 0.1);
  for (std::size_t i = 0; i < wanted.size(); ++i)
    EXPECT_LT((maps[i] - whole[wanted[i].first][wanted[i].second]).abs().max().item<double>(),
              1e-5);
  UnitMaps units(*model, data, "first@toy", {1, 7}, context);
  units.stream("", [&](const std::int64_t* rows, std::int64_t n, const torch::Tensor& some) {
    for (std::int64_t i = 0; i < n; ++i)
      EXPECT_LT((some[i] - whole[rows[i]].index_select(0, torch::tensor({1, 7})))
                    .abs()
                    .max()
                    .item<double>(),
                1e-5);
  });
}

// --------------------------------------------------------------------------------- the whole thing

/// Units that each stand for one concept, hidden by a rotation.
class PlantedUnits : public SmallRun {
 protected:
  static constexpr std::int64_t kImages = 900, kHidden = 24;

  void SetUp() override {
    SmallRun::SetUp();
    torch::manual_seed(7);
    const auto presence = (torch::rand({kImages, kHidden}) < 0.25).to(torch::kFloat32);
    const auto known = 2 * presence + 0.1 * torch::randn({kImages, kHidden});
    const auto rotation = std::get<0>(at::linalg_qr(torch::randn({kHidden, kHidden})));
    write_npy(folder_ / "A.npy", known.matmul(rotation).contiguous());
    write_npy(folder_ / "P.npy", presence);
    // Rows of the inverse: activations · column j of R⁻¹ is unit j.
    write_npy(folder_ / "inverse.npy", rotation.contiguous());
    std::string names;
    for (std::int64_t c = 0; c < kHidden; ++c) names += "concept " + std::to_string(c) + "\n";
    write("names.txt", names);
  }

  /// Share of units whose first concept is their own.
  double found(const std::string& out) const {
    const auto file = read_explanations(folder_ / out / "explanations.csv");
    EXPECT_EQ(file.explanations.size(), static_cast<std::size_t>(kHidden));
    double right = 0;
    for (const auto& explanation : file.explanations)
      right += !explanation.terms.empty() &&
               explanation.terms[0].concept_name == "concept " + std::to_string(explanation.unit);
    return right / kHidden;
  }
  nlohmann::json summary(const std::string& out) const {
    return nlohmann::json::parse(read_file(folder_ / out / "summary.json"));
  }
};

TEST_F(PlantedUnits, TheInverseRotationBringsTheConceptsBack) {
  ASSERT_EQ(run("explain " + recorded_ + "--run.out=plain").code, 0);
  const Ended ended = run("explain " + recorded_ + "--run.out=out --units.basis=inverse.npy");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_LT(found("plain"), 0.30);
  EXPECT_GE(found("out"), 0.95);
  const auto file = read_explanations(folder_ / "out/explanations.csv");
  EXPECT_EQ(file.layers.front(), "recorded@inverse");
  // run.ini runs again, evaluate takes the file, activations writes the units.
  ASSERT_EQ(run("explain --config out/run.ini --run.out=again").code, 0);
  EXPECT_EQ(explanations("again"), explanations("out"));
  const Ended scored = run("evaluate " + recorded_ +
                           "--explanations out/explanations.csv --units.basis=inverse.npy "
                           "--run.out=scored");
  ASSERT_EQ(scored.code, 0) << scored.error;
  EXPECT_EQ(explanations("scored"), explanations("out"));
  const Ended written =
      run("activations " + recorded_ + "--units.basis=inverse.npy --run.out=acts");
  ASSERT_EQ(written.code, 0) << written.error;
  const auto units = map_npy(folder_ / "acts/activations.npy");
  const auto expected = map_npy(folder_ / "A.npy").matmul(map_npy(folder_ / "inverse.npy").t());
  EXPECT_LT(test::relative_difference(units, expected), 1e-5);
}

TEST_F(PlantedUnits, AnUnfinishedRunKnowsAnotherBasis) {
  ASSERT_EQ(run("explain " + recorded_ + "--run.out=out --units.basis=inverse.npy").code, 0);
  const auto key = summary("out")["provenance"]["digests"]["run key"];
  write_npy(folder_ / "inverse.npy", torch::eye(kHidden));
  ASSERT_EQ(run("explain " + recorded_ + "--run.out=out --units.basis=inverse.npy").code, 0);
  EXPECT_NE(summary("out")["provenance"]["digests"]["run key"], key);
  EXPECT_LT(found("out"), 0.30);
}

TEST_F(PlantedUnits, LargeUnitsComeThroughAFileAndStayTheSame) {
  const std::string write = "activations " + recorded_ + "--units.basis=inverse.npy ";
  ASSERT_EQ(run(write + "--run.out=one").code, 0);
  EXPECT_FALSE(fs::exists(folder_ / "one/cache/units"));
  for (int i = 0; i < 2; ++i) {  // the second time the file is there
    const Ended ended = run(write + "--run.out=two --run.memory=0.0003");
    ASSERT_EQ(ended.code, 0) << ended.error;
    EXPECT_TRUE(fs::exists(folder_ / "two/cache/units"));
    EXPECT_EQ(read_file(folder_ / "one/activations.npy"),
              read_file(folder_ / "two/activations.npy"));
  }
}

TEST_F(PlantedUnits, PrincipalComponentsAreFittedOnceOnTheTrainingRows) {
  const std::string pca = "explain " + recorded_ + "--units.kind=pca --units.components=5 ";
  const Ended ended = run(pca + "--run.out=out");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_EQ(read_explanations(folder_ / "out/explanations.csv").layers.front(), "recorded@pca");
  EXPECT_EQ(summary("out")["units"], 5);
  std::size_t kept = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "out/cache/pca")) {
    ++kept;
    std::ofstream(entry.path()) << "damaged";
  }
  EXPECT_EQ(kept, 1U);
  const Ended again = run(pca + "--run.out=out --run.threads=1");
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_NE(again.error.find("computed again"), std::string::npos);
  ASSERT_EQ(run(pca + "--run.out=other --run.threads=2").code, 0);
  EXPECT_EQ(explanations("out"), explanations("other"));
  ASSERT_EQ(
      run("explain " + recorded_ + "--units.kind=pca --units.components=0.5 --run.out=half").code,
      0);
  EXPECT_LT(summary("half")["units"], 24);
}

TEST_F(PlantedUnits, DeadLatentsAreCounted) {
  auto bias = torch::zeros({kHidden});
  bias[4] = bias[9] = -100;
  write_safetensors(folder_ / "dead.safetensors",
                    {{"weight", map_npy(folder_ / "inverse.npy")}, {"bias", bias}});
  const Ended ended = run("explain " + recorded_ +
                          "--run.out=out --units.basis=dead.safetensors --units.activation=relu");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_EQ(summary("out")["status_counts"]["dead"], 2);
}

TEST_F(PlantedUnits, ABenchmarkComparesBases) {
  write("b.ini",
        "[run]\nout = bench\nreport = none\n[model]\nplugin = recorded\nactivations = A.npy\n"
        "[labeler]\nplugin = recorded\nconcepts = P.npy\nnames = names.txt\n"
        "[network raw]\nunits.basis =\n[network turned]\nunits.basis = inverse.npy\n"
        "[method le]\nsolver = linear\nlabeler = recorded\nlabeler.concepts = P.npy\n"
        "labeler.names = names.txt\n");
  const Ended ended = run("benchmark --config b.ini");
  ASSERT_EQ(ended.code, 0) << ended.error;
  EXPECT_GE(found("bench/turned/le"), 0.95);
  EXPECT_LT(found("bench/raw/le"), 0.30);
}

TEST_F(PlantedUnits, WrongConfigurationsEndInOneLine) {
  write_npy(folder_ / "narrow.npy", torch::eye(7));
  const std::string explain = "explain " + recorded_ + "--run.out=out ";
  expect_error(explain + "--units.basis=narrow.npy", 3, "vectors of 7 values");
  expect_error(explain + "--units.basis=nothing.npy", 3, "nothing.npy");
  expect_error(explain + "--units.kind=sae", 2, "units.basis");
  expect_error(explain + "--units.k=3", 2, "units.basis");
  expect_error(explain + "--units.kind=pca --units.basis=inverse.npy", 2, "reads no file");
  expect_error(explain + "--units.kind=pca --units.k=2", 2, "units.k");
  expect_error(explain + "--units.kind=pca --units.components=25", 2, "24 components");
  expect_error(explain + "--units.kind=pca --units.components=2.5", 2, "whole number");
  expect_error(explain + "--units.basis=inverse.npy --units.components=0.5", 2, "units.kind=pca");
  expect_error(explain + "--units.basis=inverse.npy --units.activation=topk", 2, "units.k");
  expect_error(explain + "--units.basis=inverse.npy --units.activation=topk --units.k=25", 3,
               "k = 25");
  expect_error(explain + "--units.basis=inverse.npy --units.components=25", 3, "of 24 units");
  expect_error(explain + "--units.basis=inverse.npy --run.units=24", 2, "0 to 23");
  expect_error(explain + "--units.base=inverse.npy", 2, "units.basis");
}

}  // namespace
}  // namespace linex
