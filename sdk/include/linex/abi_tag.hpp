// The ABI tag: what must be equal on both sides for C++ objects to pass between host and plugin.
// Compared as text, before loading; the message names only the fields that differ.
#pragma once

#include <torch/version.h>

#include <cstddef>

#include "linex/plugin_abi.h"

// stdlib    layouts of std types: only libstdc++ is supported.
// gxxabi    mangling, vtables, exceptions. g++ and clang number their revisions differently; all of
//           1002..1999 are one family that links together (as pybind11 found).
// cxx11     std::string's layout; PyTorch's wheels were long built with 0.
// torch     at::Tensor and c10::Error change between versions.
// debug     _GLIBCXX_DEBUG containers have other layouts.
// sanitizer AddressSanitizer and ThreadSanitizer need the whole process to agree.
// types     LINEX_TYPES_REVISION: layouts of the structs that interfaces share.
// Eigen has no field: no Eigen type crosses the boundary.
#if !defined(__GLIBCXX__)
#error "linex plugins need libstdc++"
#endif
#if !defined(__GXX_ABI_VERSION) || __GXX_ABI_VERSION < 1002 || __GXX_ABI_VERSION >= 2000
#error "linex plugins need the Itanium C++ ABI of g++ or clang"
#endif

#if _GLIBCXX_USE_CXX11_ABI
#define LINEX_TAG_CXX11 "1"
#else
#define LINEX_TAG_CXX11 "0"
#endif

#ifdef _GLIBCXX_DEBUG
#define LINEX_TAG_DEBUG "1"
#else
#define LINEX_TAG_DEBUG "0"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define LINEX_TAG_SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define LINEX_TAG_SANITIZER "thread"
#elif defined(__has_feature)  // clang's; LibTorch's headers make one for g++ that knows nothing
#if __has_feature(address_sanitizer)
#define LINEX_TAG_SANITIZER "address"
#elif __has_feature(thread_sanitizer)
#define LINEX_TAG_SANITIZER "thread"
#endif
#endif
#ifndef LINEX_TAG_SANITIZER
#define LINEX_TAG_SANITIZER "none"
#endif

#define LINEX_TAG_TEXT_OF(value) #value
#define LINEX_TAG_TEXT(value) LINEX_TAG_TEXT_OF(value)
#define LINEX_TAG_TYPES LINEX_TAG_TEXT(LINEX_TYPES_REVISION)

namespace linex {

/// Fields "name=value" separated by single blanks.
inline constexpr char kAbiTag[] =
    "stdlib=libstdc++ gxxabi=1 cxx11=" LINEX_TAG_CXX11 " torch=" TORCH_VERSION
    " debug=" LINEX_TAG_DEBUG " sanitizer=" LINEX_TAG_SANITIZER " types=" LINEX_TAG_TYPES;

}  // namespace linex
