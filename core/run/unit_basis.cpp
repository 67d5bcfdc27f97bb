#include "core/run/unit_basis.hpp"

#include <algorithm>
#include <cmath>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/data/loader.hpp"
#include "toolkit/units/basis_file.hpp"

namespace linex {

namespace fs = std::filesystem;

namespace {

constexpr char kPca[] = "pca";

std::string gigabytes(double bytes) { return significant(bytes / 1e9) + " GB"; }

std::string rows_digest(const Rows& rows) {
  return Sha256().add(rows.data(), rows.size() * sizeof(rows[0])).hex();
}

units::Kind kind_of(const std::string& word) {
  if (word == "directions") return units::Kind::directions;
  return word == "sae" ? units::Kind::sae : units::Kind::automatic;
}

}  // namespace

UnitBasis::UnitBasis(std::shared_ptr<const units::Basis> file, double components,
                     const PluginContext& context)
    : file_(std::move(file)),
      components_(components),
      context_(context),
      stem_(file_ ? file_->stem : kPca) {}

const units::Basis& UnitBasis::of(const std::string& layer) {
  if (file_) return *file_;
  const auto found = fitted_.find(layer);
  if (found != fitted_.end()) return found->second;
  auto basis = units::stored_pca(key_ + " layer=" + layer, components_,
                                 "the principal components of " + layer, context_,
                                 [&](units::CovarianceSum& sum) { fill_(layer, sum); });
  return fitted_.emplace(layer, std::move(basis)).first->second;
}

std::shared_ptr<TargetModel> UnitBasis::attach(std::shared_ptr<TargetModel> network,
                                               std::shared_ptr<const DataSet> data,
                                               const Rows& train) {
  key_ = "pca model=" + network->fingerprint() + " " + network->preprocess().describe() +
         " data=" + data->fingerprint() + " train=" + rows_digest(train) +
         (context_.run().device == "cpu" ? " cpu" : " cuda");
  fill_ = [this, network, data, train](const std::string& layer, units::CovarianceSum& sum) {
    const torch::NoGradGuard no_gradients;
    const RunSettings& run = context_.run();
    const std::int64_t batch = batch_size(*network, run);
    BatchLoader loader(data, train, network->preprocess(),
                       {batch, run.threads, batches_ahead(run.device, run.threads)});
    const auto progress = context_.progress("principal components of " + layer,
                                            static_cast<std::int64_t>(train.size()), "images");
    for (auto loaded = loader.next(); loaded.images.defined(); loaded = loader.next()) {
      check_cancelled(context_);
      const auto output = network->forward(loaded.images, {layer}, false).layers.at(0);
      const auto positions = units::positions_of(output.to(torch::kCPU, torch::kFloat32));
      if (!torch::isfinite(positions).all().item<bool>())
        throw input_error("the output of layer " + layer +
                          " is not finite; check the weights and the preprocessing");
      sum.add(positions);
      progress->advance(loaded.images.size(0));
    }
  };
  const std::string fingerprint =
      file_ ? file_->fingerprint : key_ + " components=" + format_number(components_);
  return std::make_shared<units::BasisModel>(
      std::move(network), stem_, fingerprint,
      [self = shared_from_this()](const std::string& layer) -> const units::Basis& {
        return self->of(layer);
      },
      context_.run().threads);
}

void UnitBasis::attach(const torch::Tensor& recorded, const std::string& fingerprint,
                       const Rows& train) {
  key_ = "pca recorded=" + fingerprint + " train=" + rows_digest(train);
  fill_ = [this, recorded, train](const std::string&, units::CovarianceSum& sum) {
    constexpr std::size_t kRowsAtOnce = 1024;
    for (std::size_t begin = 0; begin < train.size(); begin += kRowsAtOnce) {
      check_cancelled(context_);
      const Rows rows(
          train.begin() + static_cast<std::ptrdiff_t>(begin),
          train.begin() + static_cast<std::ptrdiff_t>(std::min(begin + kRowsAtOnce, train.size())));
      const auto positions = units::positions_of(copy_rows(recorded, rows).to(torch::kFloat32));
      if (!torch::isfinite(positions).all().item<bool>())
        throw input_error("the recorded activations hold NaN or infinite values in rows " +
                          std::to_string(rows.front()) + " to " + std::to_string(rows.back()) +
                          "; activations must be finite");
      sum.add(positions);
    }
  };
}

void UnitBasis::check(TargetModel& network, const DataSet& data,
                      const std::vector<std::string>& layers) {
  auto& model = dynamic_cast<units::BasisModel&>(network);
  const torch::NoGradGuard no_gradients;
  std::vector<std::string> names;
  for (const auto& layer : layers) names.push_back(model.base_layer(layer));
  const auto image = load_batch(data, {0}, model.preprocess(), 1);
  const auto outputs = model.base().forward(image, names, false).layers;
  double bytes = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::int64_t units = outputs[i].size(outputs[i].dim() == 4 ? 1 : -1);
    if (file_) {
      units::check_width(*file_, outputs[i], names[i]);
      units = file_->units();
    } else if (components_ > static_cast<double>(units)) {
      throw usage_error("units.components=" + format_number(components_) + ": layer " + names[i] +
                        " has " + std::to_string(units) + " values a position");
    }
    bytes += 4.0 * static_cast<double>(data.size()) * static_cast<double>(units);
  }
  if (bytes > static_cast<double>(context_.run().memory_bytes))
    throw input_error("units.basis: pooled units of " + std::to_string(data.size()) +
                      " images are " + gigabytes(bytes) + " of float32 and run.memory is " +
                      gigabytes(static_cast<double>(context_.run().memory_bytes)) +
                      "; take fewer images (data.limit) or units (units.components), or raise "
                      "run.memory");
}

void UnitBasis::check(const torch::Tensor& first_row, const std::string& layer) const {
  if (file_) units::check_width(*file_, first_row, layer);
}

torch::Tensor UnitBasis::pooled(const torch::Tensor& recorded, const std::string& layer,
                                Pool pool) {
  const units::Basis& basis = of(layer);
  const RunSettings& run = context_.run();
  const std::int64_t rows = recorded.size(0), units = basis.units();
  // Blocks that do not depend on the memory there is, so that the bytes do not.
  constexpr std::int64_t kRowsAtOnce = 1024;
  const auto progress = context_.progress("units of " + stem_, rows, "rows");
  const auto each_block = [&](const std::function<void(std::int64_t, const torch::Tensor&)>& take) {
    for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
      check_cancelled(context_);
      const std::int64_t n = std::min(kRowsAtOnce, rows - begin);
      const auto some = recorded.narrow(0, begin, n);
      take(begin, units::pooled_units(basis, some, pool, layer, run.threads));
      release_rows(recorded, begin, n);
      progress->advance(n);
    }
  };
  constexpr std::int64_t kShare = 4;
  if (rows * units * 4 <= run.memory_bytes / kShare || run.cache.empty()) {
    torch::Tensor all = torch::empty({rows, units});
    each_block([&](std::int64_t begin, const torch::Tensor& block) {
      all.narrow(0, begin, block.size(0)).copy_(block);
    });
    return all;
  }
  const fs::path file =
      run.cache / "units" /
      (Sha256().add(key_).add(basis.fingerprint).add(to_string(pool)).hex().substr(0, 32) + ".npy");
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    fs::create_directories(file.parent_path());
    NpyWriter writer(file, {rows, units});
    each_block([&](std::int64_t, const torch::Tensor& block) { writer.append(block); });
    writer.finish();
  }
  return map_npy(file);
}

std::shared_ptr<UnitBasis> open_unit_basis(Workplace& place) {
  const OptionValues& options = place.options("units");
  const fs::path& file = options.path("basis");
  const std::string kind = options.text("kind"), activation = options.text("activation");
  const double components = options.real("components");
  const std::int64_t k = options.integer("k");
  if (components >= 1 && components != std::floor(components))
    throw usage_error("units.components=" + format_number(components) +
                      ": a whole number, or a share of variance below 1");
  if (kind == kPca) {
    if (!file.empty())
      throw usage_error("units.basis: units.kind=pca fits its own basis and reads no file");
    if (activation != "auto" && activation != "identity")
      throw usage_error("units.activation=" + activation +
                        ": principal components have none; leave it out");
    if (k > 0) throw usage_error("units.k: only units.activation=topk takes it");
    return std::make_shared<UnitBasis>(nullptr, components, place.context());
  }
  if (file.empty()) {
    if (kind != "auto") throw usage_error("units.basis: units.kind=" + kind + " needs a file");
    for (const bool given : {activation != "auto", k > 0, components > 0})
      if (given)
        throw usage_error("units.basis: name the basis that the other keys of [units] are for");
    return nullptr;
  }
  if (components > 0 && components < 1)
    throw usage_error("units.components=" + format_number(components) +
                      ": a share of variance is for units.kind=pca");
  const auto read = units::read_basis(
      {file, kind_of(kind), activation, k, static_cast<std::int64_t>(components)});
  place.log().info("units: " + std::to_string(read.basis.units()) + " over vectors of " +
                   std::to_string(read.basis.width()) + " values, from " + file.string());
  for (const auto& note : read.notes) place.log().info("units: " + note);
  return std::make_shared<UnitBasis>(std::make_shared<const units::Basis>(read.basis), 0,
                                     place.context());
}

}  // namespace linex
