// OpenBLAS chooses its kernels by processors it knows, and takes 20-year-old ones for a newer one.
#pragma once

namespace linex {

/// Asks OpenBLAS, by OPENBLAS_CORETYPE of the environment, for kernels this processor has where it
/// would choose ones without AVX2 (0.3.21 on an Intel Xeon of 2023: a fifth of the speed). Does
/// nothing where that variable is set, or where another BLAS is used. Call it before OpenBLAS is
/// loaded by whom it is for: it is read once.
void ask_for_known_blas_core();

/// The same for a program that has loaded OpenBLAS by now: starts it again, with `argv`, where
/// other kernels are to be chosen. Call it first in main.
void restart_with_known_blas_core(char** argv);

}  // namespace linex
