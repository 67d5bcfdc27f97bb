#include "core/net/builder.hpp"

#include "core/base/text.hpp"
#include "linex/error.hpp"

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

/// Counters only training uses; checkpoints from before PyTorch 0.4.1 lack them.
bool is_bookkeeping(const std::string& name) {
  const std::string suffix = "num_batches_tracked";
  return name.size() >= suffix.size() &&
         name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

}  // namespace

std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + ")";
}

Tensor NetworkBuilder::parameter(const std::string& name, const Shape& shape) {
  const Tensor found = weights_.get(name);
  read_.insert(name);
  if (!found.defined()) {
    missing_.push_back(name);
    return torch::zeros(shape);
  }
  if (found.sizes() != at::IntArrayRef(shape)) {
    mismatched_.push_back(name + " " + shape_text(found.sizes().vec()) + " instead of " +
                          shape_text(shape));
    return torch::zeros(shape);
  }
  // A copy: the file may change while we run.
  const Tensor value = found.to(torch::kCPU, torch::kFloat).contiguous().clone();
  if (!at::isfinite(value).all().item<bool>())
    throw input_error(weights_.source + ": " + name +
                      " holds NaN or infinity; the training has diverged or the file is damaged");
  digest_.add(name).add(shape_text(shape)).add(value.data_ptr(), value.nbytes());
  return value;
}

Tensor NetworkBuilder::optional_parameter(const std::string& name, const Shape& shape) {
  return weights_.has(name) ? parameter(name, shape) : Tensor();
}

NetworkBuilder::Node NetworkBuilder::add(const std::string& name, OpPtr op,
                                         std::vector<Node> inputs) {
  const Node node = network_.add(std::move(op), std::move(inputs));
  if (!name.empty()) network_.name(name, node);
  return node;
}

NetworkBuilder::Node NetworkBuilder::conv(const std::string& name, Node x, std::int64_t in,
                                          std::int64_t out, std::int64_t kernel,
                                          ConvOptions options, bool bias) {
  const Tensor weight = parameter(name + ".weight", {out, in / options.groups, kernel, kernel});
  return add(name, make_conv(weight, bias ? parameter(name + ".bias", {out}) : Tensor(), options),
             {x});
}

NetworkBuilder::Node NetworkBuilder::batch_norm(const std::string& name, Node x,
                                                std::int64_t channels, double eps) {
  const Tensor weight = parameter(name + ".weight", {channels});
  const Tensor bias = parameter(name + ".bias", {channels});
  const Tensor mean = parameter(name + ".running_mean", {channels});
  return add(name,
             make_batch_norm(weight, bias, mean, parameter(name + ".running_var", {channels}), eps),
             {x});
}

NetworkBuilder::Node NetworkBuilder::layer_norm(const std::string& name, Node x, std::int64_t width,
                                                double eps) {
  const Tensor weight = parameter(name + ".weight", {width});
  return add(name, make_layer_norm(weight, parameter(name + ".bias", {width}), eps), {x});
}

NetworkBuilder::Node NetworkBuilder::linear(const std::string& name, Node x, std::int64_t in,
                                            std::int64_t out, bool bias) {
  const Tensor weight = parameter(name + ".weight", {out, in});
  return add(name, make_linear(weight, bias ? parameter(name + ".bias", {out}) : Tensor()), {x});
}

NetworkBuilder::Node NetworkBuilder::activation(const std::string& name, Node x, Activation kind) {
  return add(name, make_activation(kind), {x});
}

NetworkBuilder::Node NetworkBuilder::self_attention(const std::string& name, Node x,
                                                    std::int64_t width, std::int64_t heads,
                                                    Tensor mask) {
  const Tensor in_weight = parameter(name + ".in_proj_weight", {3 * width, width});
  const Tensor in_bias = parameter(name + ".in_proj_bias", {3 * width});
  const Tensor out_weight = parameter(name + ".out_proj.weight", {width, width});
  const Tensor out_bias = parameter(name + ".out_proj.bias", {width});
  return add(name, make_attention(heads, in_weight, in_bias, out_weight, out_bias, std::move(mask)),
             {x});
}

Network NetworkBuilder::finish(const std::string& arch, Node output) {
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : weights_.tensors)
    if (!read_.count(name) && !is_bookkeeping(name)) unexpected.push_back(name);
  std::vector<std::string> problems;
  for (const std::string& problem :
       {summarize(missing_, "missing"), summarize(mismatched_, "of another shape"),
        summarize(unexpected, "unexpected")})
    if (!problem.empty()) problems.push_back(problem);
  if (!problems.empty())
    throw input_error(weights_.source + ": the weights do not fit " + arch + ": " +
                      join(problems, ", ") + "; check model.arch (auto infers it)");
  digest_.add(arch);
  fingerprint_ = digest_.hex();
  network_.set_output(output);
  return std::move(network_);
}

}  // namespace linex
