// How the published vision transformers take pixels.
#pragma once

#include "toolkit/checkpoint/config_file.hpp"
#include "vit_spec.hpp"

namespace linex {

/// Fills `spec`'s preprocessing, and its guess where the weights do not tell: from timm's
/// `config` (config.json with a pretrained_cfg), from `processor` (Hugging Face's
/// preprocessor_config.json), else as the library's published weights have it. `asked`: the user
/// has chosen spec.image.
void set_preprocess(VitSpec& spec, const ConfigFile& config, const ConfigFile& processor,
                    bool asked);

}  // namespace linex
