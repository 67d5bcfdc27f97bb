#include "toolkit/net/network.hpp"

#include <algorithm>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

using torch::Tensor;

Tensor to_device(const Tensor& values, const ExecutionOptions& options) {
  const Tensor moved = values.to(options.device, options.type);
  return moved.dim() == 4 ? moved.contiguous(at::MemoryFormat::ChannelsLast) : moved;
}

/// "classifier[4]" -> "classifier.4".
std::string canonical(const std::string& layer) {
  std::string path;
  for (const char c : layer)
    if (c == '[')
      path += '.';
    else if (c != ']')
      path += c;
  return path;
}

}  // namespace

Network::Network() { steps_.push_back({}); }

Network::Node Network::add(OpPtr op, std::vector<Node> inputs) {
  steps_.push_back({std::move(op), std::move(inputs)});
  return output_ = static_cast<Node>(steps_.size()) - 1;
}

void Network::name(const std::string& name, Node node) { names_.emplace_back(name, node); }

void Network::to(const Placement& place) {
  for (Step& step : steps_)
    if (step.op) step.op->to(place);
}

std::vector<std::string> Network::layers() const {
  auto sorted = names_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<std::string> names;
  for (const auto& entry : sorted) names.push_back(entry.first);
  return names;
}

Network::Node Network::find(const std::string& layer) const {
  const std::string path = canonical(layer);
  for (const auto& [name, node] : names_)
    if (name == path) return node;
  throw input_error("the network has no layer '" + layer + "'" + did_you_mean(path, layers()) +
                    "; its first are " + [&] {
                      auto names = layers();
                      names.resize(std::min<std::size_t>(names.size(), 5));
                      return join(names, ", ");
                    }());
}

std::vector<Tensor> Network::evaluate(Values values, const std::vector<Node>& targets) const {
  const std::size_t count = steps_.size();
  std::vector<int> uses(count, 0);
  // Given values, and what is asked for, are kept as they are.
  std::vector<bool> needed(count, false), fixed(count, false);
  for (std::size_t node = 0; node < count; ++node) fixed[node] = values[node].defined();
  std::vector<bool> given = fixed;
  for (const Node target : targets) {
    needed[target] = fixed[target] = true;
    ++uses[target];
  }
  for (std::size_t node = count; node-- > 0;) {
    if (!needed[node] || given[node]) continue;
    for (const Node input : steps_[node].inputs) {
      needed[input] = true;
      ++uses[input];
    }
  }

  std::vector<Tensor> inputs;
  for (std::size_t node = 0; node < count; ++node) {
    if (!needed[node] || given[node]) continue;
    const Step& step = steps_[node];
    inputs.clear();
    for (const Node input : step.inputs) inputs.push_back(values[input]);
    const Node first = step.inputs.front();
    const bool reuse = uses[first] == 1 && !fixed[first];
    values[node] = step.op->run(inputs, reuse);
    if (step.op->aliases()) {
      // Two nodes share memory from here on: neither may be overwritten.
      fixed[node] = true;
      for (const Node input : step.inputs) fixed[input] = true;
    }
    for (const Node input : step.inputs)
      if (--uses[input] == 0) values[input] = Tensor();
  }
  std::vector<Tensor> results;
  for (const Node target : targets) results.push_back(values[target]);
  return results;
}

std::vector<Tensor> Network::run(const Tensor& images, const std::vector<Node>& targets,
                                 const ExecutionOptions& options) const {
  const auto ranges = split_pieces(images, options);
  std::vector<std::vector<Tensor>> parts(targets.size(), std::vector<Tensor>(ranges.size()));
  parallel_for(static_cast<std::int64_t>(ranges.size()), piece_workers(options),
               [&](std::int64_t p) {
                 const at::NoGradGuard no_grad;
                 Values values(steps_.size());
                 values[0] = to_device(images.narrow(0, ranges[p].first, ranges[p].count), options);
                 auto results = evaluate(std::move(values), targets);
                 for (std::size_t t = 0; t < targets.size(); ++t)
                   parts[t][p] = to_result(results[t]);
               });
  const at::NoGradGuard no_grad;
  std::vector<Tensor> joined;
  for (const auto& target : parts) joined.push_back(join_pieces(target));
  return joined;
}

std::vector<bool> Network::dependents(Node node) const {
  std::vector<bool> depends(steps_.size(), false);
  depends[node] = true;
  for (std::size_t later = node + 1; later < steps_.size(); ++later)
    for (const Node input : steps_[later].inputs)
      if (depends[input]) depends[later] = true;
  return depends;
}

std::vector<Network::Node> Network::carried(Node node) const {
  const std::vector<bool> depends = dependents(node);
  std::vector<bool> on_the_way(steps_.size(), false);
  on_the_way[output_] = true;
  std::vector<Node> crossing;
  for (Node later = output_; later > node; --later) {
    if (!on_the_way[later] || !depends[later]) continue;
    for (const Node input : steps_[later].inputs) {
      if (!depends[input] && !on_the_way[input]) crossing.push_back(input);
      on_the_way[input] = true;
    }
  }
  return crossing;
}

LinearWeights Network::linear_head(Node node) const {
  const auto is = [this](Node at, bool (*kind)(const Op&)) {
    return at != 0 && kind(*steps_[at].op);
  };
  const auto skip_identities = [&](Node at) {
    while (at != node && is(at, is_identity)) at = steps_[at].inputs[0];
    return at;
  };
  Node at = skip_identities(output_);
  if (at == 0 || at == node) return {};
  const LinearWeights head = linear_weights(*steps_[at].op);
  if (!head.weight.defined()) return {};
  at = skip_identities(steps_[at].inputs[0]);
  if (at == node) return head;
  if (!is(at, is_flatten)) return {};
  at = skip_identities(steps_[at].inputs[0]);
  if (!is(at, is_global_avg_pool)) return {};
  if (at != node) at = skip_identities(steps_[at].inputs[0]);
  return at == node ? head : LinearWeights{};
}

NetworkTail::NetworkTail(const Network& network, Network::Node layer, const Tensor& images,
                         const ExecutionOptions& options)
    : network_(network),
      layer_(layer),
      options_(options),
      carried_(network.carried(layer)),
      images_(images.size(0)) {
  const auto ranges = split_pieces(images, options);
  pieces_.resize(ranges.size());
  std::vector<Network::Node> targets = carried_;
  targets.push_back(layer);
  parallel_for(
      static_cast<std::int64_t>(ranges.size()), piece_workers(options), [&](std::int64_t p) {
        const at::NoGradGuard no_grad;
        Network::Values values(network_.steps_.size());
        values[0] = to_device(images.narrow(0, ranges[p].first, ranges[p].count), options_);
        auto results = network_.evaluate(std::move(values), targets);
        Piece& piece = pieces_[p];
        piece.first = ranges[p].first;
        piece.count = ranges[p].count;
        piece.activation = results.back();
        results.pop_back();
        piece.carried = std::move(results);
      });
}

Tensor NetworkTail::activation() const {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  for (const Piece& piece : pieces_)
    parts.push_back(piece.activation.to(torch::kCPU, torch::kFloat));
  return join_pieces(parts);
}

Tensor NetworkTail::logits(const Tensor& replaced) const {
  if (images_ == 0 || replaced.size(0) % images_ != 0 ||
      replaced.sizes().slice(1) != pieces_[0].activation.sizes().slice(1))
    throw std::logic_error("replaced must stack whole variants of the layer's output");
  const auto count = static_cast<std::int64_t>(pieces_.size());
  const std::int64_t variants = replaced.size(0) / images_;
  std::vector<Tensor> parts(static_cast<std::size_t>(variants * count));
  parallel_for(variants * count, piece_workers(options_), [&](std::int64_t task) {
    const at::NoGradGuard no_grad;
    const Piece& piece = pieces_[task % count];
    const std::int64_t first = task / count * images_ + piece.first;
    // The layout decides which kernel runs, so it has to be the one of the plain pass.
    const Tensor part = replaced.narrow(0, first, piece.count);
    const Tensor value = in_layout_of(piece.activation, part);
    Network::Values values(network_.steps_.size());
    values[layer_] = value;
    for (std::size_t c = 0; c < carried_.size(); ++c) values[carried_[c]] = piece.carried[c];
    parts[task] =
        network_.evaluate(std::move(values), {network_.output()})[0].to(torch::kCPU, torch::kFloat);
  });
  const at::NoGradGuard no_grad;
  return join_pieces(parts);
}

}  // namespace linex
