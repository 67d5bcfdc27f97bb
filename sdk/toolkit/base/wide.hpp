// Vector code for every x86-64 in one object.
#pragma once

/// Compiles the function for several instruction sets; the loader picks the widest version the
/// machine has. Not under ThreadSanitizer: the loader asks before that has started, and crashes.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define LINEX_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LINEX_WIDE
#endif
