#include "toolkit/checkpoint/weight_reader.hpp"

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using torch::Tensor;
using Shape = std::vector<std::int64_t>;

/// "3 missing (a, b, ...)" or "".
std::string summarize(const std::vector<std::string>& names, const std::string& what) {
  if (names.empty()) return "";
  constexpr std::size_t kShown = 3;
  std::vector<std::string> shown(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())));
  if (names.size() > kShown) shown.emplace_back("...");
  return std::to_string(names.size()) + " " + what + " (" + join(shown, ", ") + ")";
}

/// Counters only training uses; checkpoints from before PyTorch 0.4.1 lack the first.
bool is_bookkeeping(const std::string& name) {
  const std::string suffix = "num_batches_tracked";
  return name == "n_averaged" ||
         (name.size() >= suffix.size() &&
          name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0);
}

/// Mean or deviation of the channels, kept by networks that normalise their input themselves.
bool is_normalisation(const std::string& name, const Tensor& tensor) {
  const std::string last = name.substr(name.rfind('.') + 1);
  return tensor.numel() == 3 &&
         (last == "mean" || last == "std" || last == "pixel_mean" || last == "pixel_std" ||
          last == "image_mean" || last == "image_std");
}

}  // namespace

std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + ")";
}

Tensor WeightReader::parameter(const std::string& name, const Shape& shape) {
  const Tensor found = weights_.get(name);
  read_.insert(name);
  if (!found.defined()) {
    const auto unread = weights_.unread.find(name);
    missing_.push_back(unread == weights_.unread.end() ? name : name + ": " + unread->second);
    return placeholder(shape);
  }
  if (found.sizes() != at::IntArrayRef(shape)) {
    mismatched_.push_back(name + " " + shape_text(found.sizes().vec()) + " instead of " +
                          shape_text(shape));
    return placeholder(shape);
  }
  if (share_) return found;
  // A copy: the file may change while we run.
  const Tensor value = found.to(torch::kCPU, torch::kFloat).contiguous().clone();
  if (!at::isfinite(value).all().item<bool>())
    throw input_error(weights_.source + ": " + name +
                      " holds NaN or infinity; the training has diverged or the file is damaged");
  digest_.add(name).add(shape_text(shape)).add(value.data_ptr(), value.nbytes());
  return value;
}

Tensor WeightReader::placeholder(const Shape& shape) {
  constexpr double kMost = 1 << 25;
  double elements = 1;
  for (const std::int64_t size : shape) elements *= static_cast<double>(size);
  placeholders_ += elements;
  if (placeholders_ > kMost)
    throw input_error(weights_.source + ": the weights do not fit the architecture: " +
                      problems({}) + "; check model.arch (auto infers it)");
  return torch::zeros(shape);
}

std::string WeightReader::problems(const std::vector<std::string>& unexpected) const {
  std::vector<std::string> all;
  for (const std::string& problem :
       {summarize(missing_, "missing"), summarize(mismatched_, "of another shape"),
        summarize(unexpected, "unexpected")})
    if (!problem.empty()) all.push_back(problem);
  return join(all, ", ");
}

void WeightReader::finish(const std::string& arch, const std::string& advice) {
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : weights_.tensors) {
    if (read_.count(name) || is_bookkeeping(name)) continue;
    if (is_normalisation(name, tensor))
      notes_.push_back(name + " is not used; give model.mean and model.std if the network " +
                       "normalises its input by it");
    else
      unexpected.push_back(name);
  }
  const std::string wrong = problems(unexpected);
  if (!wrong.empty())
    throw input_error(weights_.source + ": the weights do not fit " + arch + ": " + wrong + "; " +
                      advice);
  digest_.add(arch);
  fingerprint_ = digest_.hex();
}

}  // namespace linex
