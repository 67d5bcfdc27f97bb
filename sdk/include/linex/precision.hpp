// What networks compute in: an optional ability of the host's context.
#pragma once

#include "linex/ability.hpp"
#include "linex/context.hpp"

namespace linex {

/// run.precision, as long as the context. A plugin that cannot follow it computes in float32 and
/// says so; what a plugin gives is float32 either way.
struct Precision {
  static constexpr char kAbility[] = "linex.precision/1";
  bool bf16 = false;  ///< bfloat16, which the device has instructions for
};

/// Whether the run asks for bfloat16.
inline bool wants_bf16(const PluginContext& context) {
  const auto* const precision = ability<Precision>(context);
  return precision && precision->bf16;
}

}  // namespace linex
