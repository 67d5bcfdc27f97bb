#include "toolkit/units/pca.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/checkpoint/safetensors.hpp"

namespace linex::units {
namespace fs = std::filesystem;

namespace {

/// Everything there is to know of a layer's components, all of them.
struct Components {
  torch::Tensor mean, vectors, variance;  ///< float32 (D), (D, D) one a column, (D) falling
};

Components decompose(const CovarianceSum& sum, const std::string& source) {
  if (sum.count() < 2)
    throw input_error(source + ": principal components need two positions of training images");
  torch::Tensor variance, vectors;
  // LAPACK's own threads would decide about the last bits.
  parallel_for(1, 1, [&](std::int64_t) {
    const torch::NoGradGuard no_gradients;
    std::tie(variance, vectors) = at::linalg_eigh(sum.covariance());
  });
  variance = variance.flip(0).clamp_min(0);
  vectors = vectors.flip(1);
  const auto at = vectors.abs().argmax(0, true);
  const auto largest = vectors.gather(0, at);
  vectors =
      vectors * torch::where(largest < 0, -torch::ones_like(largest), torch::ones_like(largest));
  return {sum.mean().to(torch::kFloat32).contiguous(), vectors.to(torch::kFloat32).contiguous(),
          variance.to(torch::kFloat32).contiguous()};
}

std::int64_t wanted(const Components& components, double asked, const std::string& source) {
  const std::int64_t all = components.variance.size(0);
  if (asked == 0) return all;
  if (asked >= 1) {
    if (asked > static_cast<double>(all))
      throw usage_error("units.components=" + format_number(asked) + ": " + source + " has " +
                        std::to_string(all) + " components");
    return static_cast<std::int64_t>(asked);
  }
  const auto variance = components.variance.to(torch::kFloat64);
  const double total = variance.sum().item<double>();
  double explained = 0;
  for (std::int64_t i = 0; i < all; ++i) {
    explained += variance[i].item<double>();
    if (explained >= asked * total) return i + 1;
  }
  return all;
}

Basis basis_of(const Components& components, double asked, const std::string& source) {
  const std::int64_t count = wanted(components, asked, source);
  Basis basis;
  basis.source = source;
  basis.stem = "pca";
  basis.shift = components.mean;
  basis.encoder = components.vectors.narrow(1, 0, count);
  basis.decoder = basis.encoder.t();
  finish(basis);
  return basis;
}

/// What was kept, or undefined tensors where it is not there or damaged.
Components read_kept(const fs::path& file, Logger& log) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return {};
  try {
    StateDict kept;
    read_safetensors(std::make_shared<MappedFile>(file), file.string(), kept);
    const Components found{kept.get("mean"), kept.get("vectors"), kept.get("variance")};
    const bool fits = found.mean.defined() && found.vectors.defined() && found.variance.defined() &&
                      found.mean.dim() == 1 && found.vectors.dim() == 2 &&
                      found.vectors.size(0) == found.mean.size(0) &&
                      found.vectors.size(1) == found.mean.size(0) &&
                      found.variance.sizes() == found.mean.sizes();
    if (fits) return found;
  } catch (const Error& failure) {
    log.warning(std::string(failure.what()) + "; it is computed again");
  }
  return {};
}

}  // namespace

void CovarianceSum::add(const torch::Tensor& x) {
  const torch::NoGradGuard no_gradients;
  if (x.size(0) == 0) return;
  const std::int64_t d = x.size(1);
  const torch::Tensor values = x.to(torch::kFloat64);
  if (!sum_.defined()) {
    origin_ = values.mean(0);
    sum_ = torch::zeros({d}, torch::kFloat64);
    products_ = torch::zeros({d, d}, torch::kFloat64);
  }
  const torch::Tensor centred = (values - origin_).contiguous();
  sum_.add_(centred.sum(0));
  constexpr std::int64_t kColumns = 128;
  const torch::Tensor transposed = centred.t();
  parallel_for((d + kColumns - 1) / kColumns, threads_, [&](std::int64_t block) {
    const torch::NoGradGuard none;
    const std::int64_t begin = block * kColumns, n = std::min(kColumns, d - begin);
    products_.narrow(0, begin, n).addmm_(transposed.narrow(0, begin, n), centred);
  });
  count_ += x.size(0);
}

torch::Tensor CovarianceSum::mean() const { return origin_ + sum_ / static_cast<double>(count_); }

torch::Tensor CovarianceSum::covariance() const {
  const auto n = static_cast<double>(count_);
  const auto offset = sum_ / n;
  return products_ / n - offset.unsqueeze(1) * offset.unsqueeze(0);
}

Basis pca_basis(const CovarianceSum& sum, double components, const std::string& source) {
  return basis_of(decompose(sum, source), components, source);
}

Basis stored_pca(const std::string& key, double components, const std::string& source,
                 const PluginContext& context, const std::function<void(CovarianceSum&)>& fill) {
  fs::path file;
  if (!context.run().cache.empty())
    file = context.run().cache / "pca" / (Sha256().add(key).hex().substr(0, 32) + ".safetensors");
  Components found;
  if (!file.empty()) found = read_kept(file, context.log());
  if (!found.mean.defined()) {
    CovarianceSum sum(context.run().threads);
    fill(sum);
    found = decompose(sum, source);
    if (!file.empty()) {
      try {
        fs::create_directories(file.parent_path());
        write_safetensors(
            file, {{"mean", found.mean}, {"vectors", found.vectors}, {"variance", found.variance}});
      } catch (const std::exception& failure) {
        context.log().warning(std::string("run.cache cannot be used: ") + failure.what());
      }
    }
  }
  return basis_of(found, components, source);
}

}  // namespace linex::units
