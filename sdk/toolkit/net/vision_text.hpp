// CLIP and SigLIP: an image tower and a text tower into one space.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>

#include "linex/context.hpp"
#include "linex/model.hpp"
#include "toolkit/net/vision_text_config.hpp"

namespace linex {

/// SigLIP's pooling: one learnt query attends to all patches, then an MLP (Zhai et al. 2022).
class MapHead {
 public:
  MapHead() = default;
  MapHead(WeightReader& reader, Naming naming, const TransformerSize& size);
  /// (n, T, width) to (n, width).
  torch::Tensor forward(const torch::Tensor& x) const;
  void visit(const TensorVisitor& visitor);

 private:
  TransformerSize size_;
  torch::Tensor probe_;  // (1, 1, width)
  Affine query_, key_value_, out_, norm_, fc1_, fc2_;
  std::shared_ptr<const Op> activation_;
};

/// Vision transformer with a class token and a projection (CLIP) or a MapHead (SigLIP).
class VisionTower {
 public:
  VisionTower() = default;
  VisionTower(WeightReader& reader, const VisionTextConfig& config);
  /// images (n, 3, H, W) to (n, embed).
  torch::Tensor forward(const torch::Tensor& images) const;
  void visit(const TensorVisitor& visitor);

 private:
  VisionTextConfig config_;
  torch::Tensor kernel_, kernel_bias_, class_token_, positions_, projection_;
  Affine norm_before_, norm_after_;
  Transformer transformer_;
  MapHead head_;
  ClipResnet resnet_;
};

class TextTower {
 public:
  TextTower() = default;
  TextTower(WeightReader& reader, const VisionTextConfig& config);
  /// ids int64 (n, context) to (n, embed). CLIP reads the first end token (the largest id), SigLIP
  /// the last position.
  torch::Tensor forward(const torch::Tensor& ids) const;
  void visit(const TensorVisitor& visitor);

 private:
  VisionTextConfig config_;
  torch::Tensor tokens_, positions_, mask_;
  Affine norm_, projection_;
  Transformer transformer_;
};

/// Both towers. Embeddings are not normalised. [any thread]
class VisionText {
 public:
  VisionText() = default;
  /// `share`: the towers use the tensors of `weights` themselves, for training.
  VisionText(StateDict weights, const VisionTextConfig& config, bool share = false);
  /// Reads a checkpoint. Throws Error(input) in one line naming the file.
  static VisionText load(const std::filesystem::path& file, const VisionTextOverrides& overrides);

  const VisionTextConfig& config() const { return config_; }
  Preprocess preprocess() const;
  /// Whether its own preprocessing halves an odd margin of the crop downwards, as Hugging Face's
  /// processors do, and not to even, as torchvision does.
  bool crops_down() const { return config_.vision_naming == Naming::hugging_face; }
  /// Digest of sizes, names and values.
  const std::string& fingerprint() const { return fingerprint_; }

  /// Where and in which floating-point type embed_*() compute.
  void prepare(const RunSettings& run, torch::Dtype type = torch::kFloat);
  /// images float32 (n, 3, H, W) to float32 (n, embed) on the CPU.
  torch::Tensor embed_images(const torch::Tensor& images) const;
  /// ids int64 (n, context) to float32 (n, embed) on the CPU.
  torch::Tensor embed_texts(const torch::Tensor& ids) const;

  const VisionTower& vision() const { return vision_; }
  const TextTower& text() const { return text_; }

 private:
  VisionTextConfig config_;
  std::string fingerprint_;
  VisionTower vision_;
  TextTower text_;
  torch::Device device_ = torch::kCPU;
  torch::ScalarType type_ = torch::kFloat;
  int threads_ = 1;
};

}  // namespace linex
