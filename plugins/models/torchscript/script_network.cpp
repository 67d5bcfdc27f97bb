#include "script_network.hpp"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "linex/error.hpp"
#include "script_archive.hpp"
#include "script_graph.hpp"
#include "script_layout.hpp"
#include "script_portable.hpp"
#include "script_runtime.hpp"
#include "toolkit/base/file_digest.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/net/builder.hpp"
#include "toolkit/net/image_model.hpp"
#include "toolkit/net/layers.hpp"

namespace linex {
namespace {

using c10::IValue;
using torch::Tensor;
using torch::jit::Stack;

/// A copy of a carried value that a tail may overwrite; what was one tensor stays one.
class Copier {
 public:
  IValue operator()(const IValue& value) {
    if (value.isTensor()) return copy(value.toTensor());
    if (value.isList()) {
      const auto list = value.toList();
      c10::impl::GenericList copies(list.elementType());
      for (const IValue& element : list) copies.push_back((*this)(element));
      return copies;
    }
    if (value.isTuple()) {
      std::vector<IValue> copies;
      for (const IValue& element : value.toTupleRef().elements())
        copies.push_back((*this)(element));
      return c10::ivalue::Tuple::create(std::move(copies));
    }
    return value;
  }

 private:
  Tensor copy(const Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    Tensor& made = made_[tensor.unsafeGetTensorImpl()];
    if (!made.defined()) made = tensor.clone();
    return made;
  }
  std::unordered_map<const void*, Tensor> made_;
};

}  // namespace

struct ScriptNetwork::Impl {
  struct Split {
    torch::jit::Code head, tail;
    std::size_t carried = 0;
    bool tail_writes = false;
  };
  std::string source, fingerprint;
  ScriptOptions settings;
  ExecutionOptions options;
  bool converted = false;
  torch::jit::Module module;
  ScriptGraph script;
  std::map<std::string, torch::jit::Code> taps;  ///< by what was asked for
  std::map<std::string, std::shared_ptr<const Split>> splits;
  mutable std::mutex layout_mutex;
  mutable std::map<std::pair<std::string, std::size_t>, ScriptLayout> layouts;

  /// Throws Error(input) for a layer that cannot be tapped. Returns its path.
  std::string find(const std::string& name) const;
  const torch::jit::Code& tap(const std::vector<std::string>& layers, bool logits);
  std::shared_ptr<const Split> split(const std::string& layer);

  Tensor to_input(const Tensor& images, const ImageRange& range) const {
    return images.narrow(0, range.first, range.count)
        .to(options.device, torch::kFloat)
        .contiguous();
  }
  /// Runs `code` on `stack` in place of which its outputs remain.
  void run(const torch::jit::Code& code, Stack& stack) const;
  /// The order of axes of what `layer` gives; found once, then told.
  ScriptLayout layout_of(const std::string& layer, c10::IntArrayRef sizes) const;
  ScriptLayout find_layout_of(const std::string& layer, c10::IntArrayRef sizes) const;
  /// `value`, of `rows` images, as results are given.
  Tensor result(const IValue& value, std::int64_t rows, const std::string& layer) const;
  /// Logits of `rows` images; undefined where the network has none.
  Tensor logits_of(const IValue& value, std::int64_t rows) const;
};

std::string ScriptNetwork::Impl::find(const std::string& name) const {
  const std::string layer = normalise_layer(name);
  const auto has = [&](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), layer) != names.end();
  };
  if (has(script.layers)) return layer;
  if (has(script.hidden))
    throw input_error(source + ": layer '" + layer +
                      "' runs inside an if or a loop of the script, where it cannot be tapped; "
                      "save the model with torch.jit.trace");
  throw input_error(source + ": the network has no layer '" + name + "'" +
                    did_you_mean(layer, script.layers));
}

const torch::jit::Code& ScriptNetwork::Impl::tap(const std::vector<std::string>& layers,
                                                 bool logits) {
  const std::string key = join(layers, ",") + (logits ? ":logits" : "");
  const auto found = taps.find(key);
  if (found != taps.end()) return found->second;
  return taps.emplace(key, torch::jit::Code(tap_graph(script, layers, logits), "linex_taps"))
      .first->second;
}

std::shared_ptr<const ScriptNetwork::Impl::Split> ScriptNetwork::Impl::split(
    const std::string& layer) {
  auto& kept = splits[layer];
  if (!kept) {
    const SplitGraph graphs = split_graph(script, layer);
    kept = std::make_shared<const Split>(Split{torch::jit::Code(graphs.head, "linex_head"),
                                               torch::jit::Code(graphs.tail, "linex_tail"),
                                               graphs.carried, graphs.tail_writes});
  }
  return kept;
}

void ScriptNetwork::Impl::run(const torch::jit::Code& code, Stack& stack) const {
  guarded(source, "the module failed on these images (see model.resize and model.crop)", [&] {
    // Interpreted as it is: LibTorch's executor would rewrite it after some runs, and a result
    // would depend on what ran before.
    torch::jit::InterpreterState(code).run(stack);
    return true;
  });
}

Tensor ScriptNetwork::Impl::result(const IValue& value, std::int64_t rows,
                                   const std::string& layer) const {
  const Tensor& tensor = value.toTensor();
  if (tensor.dim() < 2 || tensor.dim() > 4 || tensor.size(0) != rows)
    throw input_error(source + ": layer '" + layer + "' gives " + shape_text(tensor.sizes().vec()) +
                      " for " + std::to_string(rows) +
                      " images; only outputs (n, C, H, W), (n, T, D) or (n, D) have units");
  const auto axes = axes_of(layout_of(layer, tensor.sizes()));
  return to_result(tensor.to(torch::kFloat)).permute(axes);
}

ScriptLayout ScriptNetwork::Impl::layout_of(const std::string& layer,
                                            c10::IntArrayRef sizes) const {
  const std::lock_guard<std::mutex> lock(layout_mutex);
  const auto key = std::make_pair(layer, sizes.size());
  const auto found = layouts.find(key);
  if (found != layouts.end()) return found->second;
  return layouts.emplace(key, find_layout_of(layer, sizes)).first->second;
}

ScriptLayout ScriptNetwork::Impl::find_layout_of(const std::string& layer,
                                                 c10::IntArrayRef sizes) const {
  const std::string& wanted = settings.layout;
  if (sizes.size() == 2) return ScriptLayout::nd;
  const bool map = sizes.size() == 4;
  if (map && wanted == "nchw") return ScriptLayout::nchw;
  if (map && wanted == "nhwc") return ScriptLayout::nhwc;
  if (!map && wanted == "ntd") return ScriptLayout::ntd;
  const std::string who = "layer '" + layer + "' gives " + shape_text(sizes.vec());
  const auto evidence = find_layout(layer_output(script, layer), static_cast<int>(sizes.size()));
  std::optional<ScriptLayout> layout;
  if (evidence.axis == 1) layout = map ? ScriptLayout::nchw : ScriptLayout::ndt;
  if (evidence.axis == static_cast<int>(sizes.size()) - 1)
    layout = map ? ScriptLayout::nhwc : ScriptLayout::ntd;
  if (layout) {
    settings.tell(who + ", read as " + to_string(*layout) + " (by its " + evidence.by + ")");
    return *layout;
  }
  const std::string remedy = map ? "model.layout=nchw or nhwc" : "model.layout=ntd";
  // Square pictures give square maps.
  if (map && !evidence.attention && sizes[2] == sizes[3] && sizes[1] != sizes[2])
    layout = ScriptLayout::nchw;
  if (map && !evidence.attention && sizes[1] == sizes[2] && sizes[2] != sizes[3])
    layout = ScriptLayout::nhwc;
  if (!map && !evidence.attention) layout = ScriptLayout::ntd;
  if (!layout)
    throw input_error(source + ": " + who + "; " +
                      (evidence.attention ? "it holds pairs of places (attention), not units"
                                          : "nothing around it tells which axis counts units") +
                      ": choose another layer, or say " + remedy);
  settings.doubt(who + "; assuming " + to_string(*layout) + ", as no operator around it tells (" +
                 remedy + " decides)");
  return *layout;
}

Tensor ScriptNetwork::Impl::logits_of(const IValue& value, std::int64_t rows) const {
  if (!value.isTensor() || value.toTensor().dim() != 2 || value.toTensor().size(0) != rows)
    return {};
  return value.toTensor().to(torch::kCPU, torch::kFloat).contiguous();
}

namespace {

/// What remains of the module after a layer, for one batch.
template <class Impl>
class ScriptTail final : public ModelTail {
 public:
  ScriptTail(std::shared_ptr<Impl> impl, const Tensor& images, std::string layer)
      : impl_(std::move(impl)),
        layer_(std::move(layer)),
        split_(impl_->split(layer_)),
        ranges_(split_pieces(images, impl_->options)),
        images_(images.size(0)) {
    pieces_.resize(ranges_.size());
    parallel_for(static_cast<std::int64_t>(ranges_.size()), piece_workers(impl_->options),
                 [&](std::int64_t p) {
                   const at::NoGradGuard no_grad;
                   Stack stack{impl_->module._ivalue(), impl_->to_input(images, ranges_[p])};
                   impl_->run(split_->head, stack);
                   // Refuses what is no layer of units.
                   pieces_[p].result = impl_->result(stack[0], ranges_[p].count, layer_);
                   pieces_[p].activation = stack[0].toTensor();
                   pieces_[p].carried.assign(stack.begin() + 1, stack.end());
                 });
  }

  Tensor activation() const override {
    const at::NoGradGuard no_grad;
    std::vector<Tensor> parts;
    for (const Piece& piece : pieces_) parts.push_back(piece.result);
    return join_pieces(parts);
  }

  Tensor logits(const Tensor& replaced) const override {
    if (replaced.dim() != pieces_[0].result.dim() || replaced.size(0) % images_ != 0 ||
        replaced.sizes().slice(1) != pieces_[0].result.sizes().slice(1))
      throw std::logic_error("replaced must stack whole variants of the layer's output");
    const auto count = static_cast<std::int64_t>(pieces_.size());
    const std::int64_t variants = replaced.size(0) / images_;
    const auto axes =
        inverse_axes(axes_of(impl_->layout_of(layer_, pieces_[0].activation.sizes())));
    std::vector<Tensor> parts(static_cast<std::size_t>(variants * count));
    // One variant at a time: what crosses the cut (a batch size, a residual branch) fits as it is.
    parallel_for(variants * count, piece_workers(impl_->options), [&](std::int64_t task) {
      const at::NoGradGuard no_grad;
      const Piece& piece = pieces_[task % count];
      const auto& range = ranges_[task % count];
      Stack stack{
          impl_->module._ivalue(),
          in_layout_of(
              piece.activation,
              replaced.narrow(0, task / count * images_ + range.first, range.count).permute(axes))};
      Copier copy;
      for (const IValue& carried : piece.carried)
        stack.push_back(split_->tail_writes ? copy(carried) : carried);
      impl_->run(split_->tail, stack);
      parts[task] = impl_->logits_of(stack[0], range.count);
    });
    if (!parts[0].defined())
      throw input_error(impl_->source +
                        ": its output is not (images, classes), so it has no "
                        "logits");
    const at::NoGradGuard no_grad;
    return join_pieces(parts);
  }

 private:
  struct Piece {
    Tensor activation;  ///< as the module has it
    Tensor result;      ///< the same as results are given
    std::vector<IValue> carried;
  };
  std::shared_ptr<Impl> impl_;
  std::string layer_;
  std::shared_ptr<const typename Impl::Split> split_;
  std::vector<ImageRange> ranges_;
  std::int64_t images_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace

ScriptNetwork::ScriptNetwork(const std::filesystem::path& path, const ScriptOptions& options)
    : impl_(std::make_shared<Impl>()) {
  const torch::Device device = options.execution.device;
  impl_->source = path.string();
  impl_->settings = options;
  impl_->options = options.execution;
  impl_->module = load_module(path, device);
  impl_->fingerprint = digest_of_file(path) + " layout " + options.layout;
  impl_->script = guarded(impl_->source, "its code cannot be prepared",
                          [&] { return flatten_forward(impl_->module, impl_->source, device); });
  impl_->converted = use_float(impl_->module, *impl_->script.graph);
}

bool ScriptNetwork::converted() const { return impl_->converted; }

ScriptNetwork::~ScriptNetwork() = default;

const std::vector<std::string>& ScriptNetwork::layers() const { return impl_->script.layers; }

const std::string& ScriptNetwork::fingerprint() const { return impl_->fingerprint; }

ForwardResult ScriptNetwork::forward(const Tensor& images, const std::vector<std::string>& layers,
                                     bool logits) {
  check_images(images);
  std::vector<std::string> paths;
  for (const std::string& layer : layers) paths.push_back(impl_->find(layer));
  logits = logits && impl_->script.has_logits;
  ForwardResult result;
  if (paths.empty() && !logits) return result;
  const torch::jit::Code& code = impl_->tap(paths, logits);
  const auto ranges = split_pieces(images, impl_->options);
  std::vector<std::vector<Tensor>> parts(paths.size(), std::vector<Tensor>(ranges.size()));
  std::vector<Tensor> logit_parts(ranges.size());
  parallel_for(static_cast<std::int64_t>(ranges.size()), piece_workers(impl_->options),
               [&](std::int64_t p) {
                 const at::NoGradGuard no_grad;
                 Stack stack{impl_->module._ivalue(), impl_->to_input(images, ranges[p])};
                 impl_->run(code, stack);
                 for (std::size_t i = 0; i < paths.size(); ++i)
                   parts[i][p] = impl_->result(stack[i], ranges[p].count, paths[i]);
                 if (logits) logit_parts[p] = impl_->logits_of(stack.back(), ranges[p].count);
               });
  const at::NoGradGuard no_grad;
  for (const auto& part : parts) result.layers.push_back(join_pieces(part));
  if (logit_parts[0].defined()) result.logits = join_pieces(logit_parts);
  return result;
}

std::unique_ptr<ModelTail> ScriptNetwork::split(const Tensor& images, const std::string& layer) {
  check_images(images);
  return std::make_unique<ScriptTail<Impl>>(impl_, images, impl_->find(layer));
}

}  // namespace linex
