// The end of a command that was only asked something.
#pragma once

namespace linex {

/// Thrown where all that was asked for has been printed; the host exits with 0.
struct Finished {};

}  // namespace linex
