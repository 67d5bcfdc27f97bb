// Which operators a TorchScript file may use.
#pragma once

#include <string>

namespace linex {

/// Whether an operator ("aten::conv2d") only computes from its arguments: no files, no processes,
/// no devices of the machine, nothing that outlives the call. Unknown names are not.
bool is_pure_operator(const std::string& qualified_name);

/// Whether an operator only tells something (print, warnings): it is left out, not run.
bool is_message_operator(const std::string& qualified_name);

}  // namespace linex
