#include "toolkit/net/clip_resnet.hpp"

namespace linex {

using torch::Tensor;

ClipResnet::ConvNorm ClipResnet::read_conv(WeightReader& reader, const std::string& conv,
                                           const std::string& norm, std::int64_t in,
                                           std::int64_t out, std::int64_t kernel) {
  ConvNorm read;
  read.kernel = reader.parameter(conv + ".weight", {out, in, kernel, kernel});
  read.norm = read_norm(reader, norm, out);
  read.mean = reader.parameter(norm + ".running_mean", {out});
  read.variance = reader.parameter(norm + ".running_var", {out});
  return read;
}

ClipResnet::ClipResnet(WeightReader& reader, const std::string& prefix,
                       const ClipResnetSize& size) {
  const std::int64_t half = size.width / 2;
  const std::int64_t stem[] = {3, half, half, size.width};
  for (int i = 0; i < 3; ++i) {
    const std::string number = std::to_string(i + 1);
    stem_.push_back(read_conv(reader, prefix + "conv" + number, prefix + "bn" + number, stem[i],
                              stem[i + 1], 3));
  }
  std::int64_t in = size.width;
  for (std::size_t stage = 0; stage < 4; ++stage) {
    const std::int64_t planes = size.width << stage, out = 4 * planes;
    for (std::int64_t i = 0; i < size.blocks[stage]; ++i) {
      const std::string name =
          prefix + "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
      Bottleneck block;
      block.stride = stage > 0 && i == 0 ? 2 : 1;
      block.one = read_conv(reader, name + "conv1", name + "bn1", in, planes, 1);
      block.two = read_conv(reader, name + "conv2", name + "bn2", planes, planes, 3);
      block.three = read_conv(reader, name + "conv3", name + "bn3", planes, out, 1);
      if (i == 0)
        block.down = read_conv(reader, name + "downsample.0", name + "downsample.1", in, out, 1);
      blocks_.push_back(std::move(block));
      in = out;
    }
  }
  const std::string pool = prefix + "attnpool.";
  constexpr std::int64_t kHeadWidth = 64;
  heads_ = in / kHeadWidth;
  positions_ = reader.parameter(pool + "positional_embedding", {size.grid * size.grid + 1, in});
  query_ = read_linear(reader, pool + "q_proj", in, in);
  key_ = read_linear(reader, pool + "k_proj", in, in);
  value_ = read_linear(reader, pool + "v_proj", in, in);
  out_ = read_linear(reader, pool + "c_proj", in, size.embed);
}

Tensor ClipResnet::run(const ConvNorm& conv, const Tensor& x, std::int64_t stride) {
  const std::int64_t padding = conv.kernel.size(2) / 2;
  return at::batch_norm(at::conv2d(x, conv.kernel, {}, stride, padding), conv.norm.weight,
                        conv.norm.bias, conv.mean, conv.variance, false, 0, 1e-5, false);
}

Tensor ClipResnet::run(const Bottleneck& block, const Tensor& x) {
  // Strides are average pools, so that nothing aliases.
  const auto shrink = [&](const Tensor& map) {
    return block.stride == 1 ? map : at::avg_pool2d(map, block.stride);
  };
  Tensor y = run(block.two, run(block.one, x).relu_()).relu_();
  y = run(block.three, shrink(y));
  return (block.down.kernel.defined() ? run(block.down, shrink(x)) + y : x + y).relu_();
}

Tensor ClipResnet::forward(const Tensor& images) const {
  Tensor x = images;
  for (std::size_t i = 0; i < stem_.size(); ++i) x = run(stem_[i], x, i == 0 ? 2 : 1).relu_();
  x = at::avg_pool2d(x, 2);
  for (const Bottleneck& block : blocks_) x = run(block, x);

  x = x.flatten(2).transpose(1, 2);
  x = at::cat({x.mean(1, true), x}, 1) + positions_;
  const Tensor query = apply_linear(query_, x.narrow(1, 0, 1));
  const Tensor mixed =
      attend(split_heads(query, heads_), split_heads(apply_linear(key_, x), heads_),
             split_heads(apply_linear(value_, x), heads_));
  return apply_linear(out_, join_heads(mixed)).select(1, 0);
}

void ClipResnet::visit(const TensorVisitor& visitor) {
  const auto visit_conv = [&](ConvNorm& conv) {
    if (!conv.kernel.defined()) return;
    for (Tensor* tensor : {&conv.kernel, &conv.mean, &conv.variance}) visitor(*tensor);
    conv.norm.visit(visitor);
  };
  for (ConvNorm& conv : stem_) visit_conv(conv);
  for (Bottleneck& block : blocks_)
    for (ConvNorm* conv : {&block.one, &block.two, &block.three, &block.down}) visit_conv(*conv);
  visitor(positions_);
  for (Affine* map : {&query_, &key_, &value_, &out_}) map->visit(visitor);
}

}  // namespace linex
