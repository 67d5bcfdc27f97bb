// Do products of concepts and links predict better at the same number of concepts?
// usage: terms_quality [SEED or FOLDER...]
// SEED: a generated problem; FOLDER: recorded matrices as generate_problem writes them.
// LINEX_SHARED names the folder with golden/ and data/. Nothing of products and links was chosen by
// what is printed here: pass seeds that nobody looked at.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include "tests/bench/generated.hpp"
#include "tests/bench/split.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/concepts/matrix_presence.hpp"
#include "toolkit/explanations/simulate.hpp"
#include "toolkit/math/linear_explanations.hpp"
#include "toolkit/math/product_search.hpp"

namespace {

using namespace linex;

class Named final : public ConceptLabeler {
 public:
  Named(std::vector<std::string> names, std::shared_ptr<const Presence> presence)
      : names_(std::move(names)), presence_(std::move(presence)) {}
  void attach(std::shared_ptr<const DataSet>) override {}
  std::vector<std::string> concepts() const override { return names_; }
  std::shared_ptr<const Presence> presence() override { return presence_; }

 private:
  std::vector<std::string> names_;
  std::shared_ptr<const Presence> presence_;
};

void compare(const std::string& name, const torch::Tensor& presence,
             const torch::Tensor& activations, const Split& split) {
  const auto source = std::make_shared<MatrixPresence>(presence);
  std::vector<std::string> names;
  for (std::int64_t j = 0; j < source->cols(); ++j) names.push_back(std::to_string(j));
  Named labeler(names, source);
  const auto units = all_columns(activations.size(1));
  RegressionOptions how;
  how.moments.threads = 2;
  Regression regression({*source, activations, units, split}, how);
  std::vector<Selection> selections;
  {
    const HeldOut validation = regression.validation();
    explain(regression, validation, names, 0, regression.unit_count(), LinearOptions(), 2,
            &selections);
  }
  const torch::Tensor actual = activations.index_select(0, torch::tensor(split.test));
  const auto test = [&](const std::vector<ProductSelection>& found, std::size_t length) {
    std::vector<Explanation> explanations;
    for (std::size_t k = 0; k < found.size(); ++k) {
      ProductModel model = length == 0                        ? found[k].chosen
                           : found[k].lengths.size() < length ? ProductModel()
                                                              : found[k].lengths[length - 1];
      explanations.push_back(
          explanation_of(regression, names, static_cast<std::int64_t>(k), model));
    }
    return pearson_columns(Simulation(explanations, labeler).predict(split.test, 2, 1LL << 28),
                           actual);
  };
  std::map<std::string, std::vector<ProductSelection>> found;
  for (const auto& [label, products, link] :
       {std::tuple("plain", false, Link::Kind::identity),
        std::tuple("products", true, Link::Kind::identity),
        std::tuple("relu", false, Link::Kind::relu),
        std::tuple("softplus", false, Link::Kind::softplus),
        std::tuple("products+softplus", true, Link::Kind::softplus)}) {
    ProductOptions options;
    options.products = products;
    options.link = link;
    options.link_every_length = true;
    options.threads = 2;
    found[label] = search_products(regression, units, selections, options);
  }
  const auto print = [&](const std::string& label, std::size_t length) {
    const auto plain = test(found["plain"], length), other = test(found[label], length);
    std::vector<double> values, difference;
    for (std::size_t k = 0; k < plain.size(); ++k) {
      if (std::isnan(plain[k]) || std::isnan(other[k])) continue;
      values.push_back(other[k]);
      difference.push_back(other[k] - plain[k]);
    }
    const MeanSem mean = mean_sem(values), paired = mean_sem(difference);
    double concepts = 0;
    if (length == 0)
      for (const auto& selection : found[label])
        concepts += static_cast<double>(selection.chosen.concepts()) /
                    static_cast<double>(found[label].size());
    else
      concepts = static_cast<double>(length);
    std::printf("%-22s %-18s concepts %.2f  test %.4f  difference %+.4f ± %.4f  (n %ld)\n",
                name.c_str(), label.c_str(), concepts, mean.mean, paired.mean, paired.sem,
                static_cast<long>(paired.n));
    std::fflush(stdout);
  };
  for (const std::size_t length : {2, 3, 4})
    for (const char* label : {"plain", "products", "relu", "softplus", "products+softplus"})
      print(label, length);
  for (const char* label : {"plain", "products", "softplus", "products+softplus"}) print(label, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* shared = std::getenv("LINEX_SHARED")) {
    const std::string golden = std::string(shared) + "/golden/resnet20_cifar10";
    std::ifstream file(std::string(shared) + "/data/cifar10/superclass_to_ids.json");
    const auto groups = nlohmann::ordered_json::parse(file);
    const torch::Tensor labels = map_npy(golden + "/labels.npy");
    torch::Tensor presence =
        torch::zeros({labels.size(0), 10 + static_cast<std::int64_t>(groups.size())});
    for (std::int64_t i = 0; i < labels.size(0); ++i) {
      const std::int64_t label = labels[i].item<std::int64_t>();
      presence[i][label] = 1;
      std::int64_t column = 10;
      for (const auto& group : groups) {
        for (const auto& member : group)
          if (member.get<std::int64_t>() == label) presence[i][column] = 1;
        ++column;
      }
    }
    for (const std::string layer : {"layer2_avg", "layer3_avg"})
      compare("cifar10_" + layer, presence, map_npy(golden + "/" + layer + ".npy").clone(),
              bench::read_split(golden));
  }
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path folder = argv[i];
    if (std::filesystem::is_directory(folder)) {
      compare(folder.filename().string(), map_npy(folder / "concepts.npy").clone(),
              map_npy(folder / "activations.npy").clone(), bench::read_split(folder));
      continue;
    }
    bench::GeneratedOptions options;
    options.seed = std::strtoull(argv[i], nullptr, 10);
    const bench::Generated made(options);
    const auto tile = made.tile(0, options.rows);
    compare(std::string("similarity seed ") + argv[i], tile.presence, tile.activations,
            made.split());
  }
  return 0;
}
