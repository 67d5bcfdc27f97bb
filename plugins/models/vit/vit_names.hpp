// What libraries call the parts of a vision transformer.
#pragma once

#include <string>
#include <vector>

#include "toolkit/checkpoint/weights.hpp"

namespace linex {

/// Names of one library's modules and parameters; nullptr: it has no such part. Those of a block
/// follow its prefix.
struct VitNames {
  enum class Library { torchvision, timm, dinov2, hugging_face, open_clip, hugging_face_clip };
  Library library = Library::timm;
  const char* title = "";

  // From pixels to tokens.
  const char* patches = nullptr;       ///< the convolution
  const char* patch_tokens = nullptr;  ///< module that makes tokens of its output
  const char* class_token = nullptr;
  const char* distillation = nullptr;
  const char* registers = nullptr;
  const char* positions = nullptr;
  const char* embedded = nullptr;  ///< module that ends in tokens with their positions
  const char* norm_before = nullptr;

  // A block.
  const char* block = nullptr;  ///< what a block's number follows: "blocks."
  const char* norm1 = nullptr;
  const char* attention = nullptr;  ///< module that ends in the attention's output
  bool fused_parameters = false;    ///< its in_proj_weight and in_proj_bias
  const char* qkv = nullptr;        ///< or one linear map
  const char* query = nullptr;      ///< or three
  const char* key = nullptr;
  const char* value = nullptr;
  const char* query_norm = nullptr;
  const char* key_norm = nullptr;
  const char* mixed = nullptr;       ///< module that ends before the output's linear map
  const char* out = nullptr;         ///< that map
  const char* out_module = nullptr;  ///< module that ends with it
  const char* scale1 = nullptr;
  const char* scale2 = nullptr;
  const char* scale_parameter = nullptr;  ///< ".gamma"
  const char* norm2 = nullptr;
  const char* fc1 = nullptr;
  const char* activation = nullptr;
  const char* hidden_module = nullptr;  ///< module that ends with the activation
  const char* fc2 = nullptr;
  const char* mlp = nullptr;         ///< module that ends with fc2
  const char* end_module = nullptr;  ///< module that ends with the block
  const char* gated_in = nullptr;    ///< fc1 and fc2 of SwiGLU where they are called otherwise
  const char* gated_out = nullptr;

  // After the blocks.
  const char* blocks = nullptr;  ///< module of all blocks
  const char* norm = nullptr;
  const char* pooled_norm = nullptr;  ///< after averaging
  const char* norm_module = nullptr;  ///< module that ends with `norm`
  const char* pool = nullptr;         ///< learnt pooling: its prefix
  const char* pooler = nullptr;       ///< linear map and tanh beside the head
  const char* head = nullptr;
  const char* distillation_head = nullptr;
};

/// The tensors of a vision transformer among those of a checkpoint, under one library's present
/// names, and that library. Throws Error(input) where there is none.
struct NamedVit {
  StateDict weights;
  VitNames names;
};
NamedVit find_vit(StateDict weights);

}  // namespace linex
