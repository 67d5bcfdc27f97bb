# Finds LibTorch, 1.13 (Debian) to 2.x (PyPI's wheel, a libtorch archive), for linex and for whatever
# is built against it, and does what either of them needs: the one place for their differences. The
# C++ standard, at least 17, and the ABI flags are what Torch's targets ask for. A build that uses
# spdlog finds it before this.
#
# Torch's config looks for its own libraries in the system first: two LibTorchs would be mixed.
if(NOT Torch_DIR AND DEFINED ENV{Torch_DIR})
  set(Torch_DIR "$ENV{Torch_DIR}")
endif()
if(EXISTS "${Torch_DIR}/../Caffe2/Caffe2Config.cmake")
  get_filename_component(linex_torch_prefix "${Torch_DIR}/../../.." ABSOLUTE)
  list(PREPEND CMAKE_PREFIX_PATH "${linex_torch_prefix}")
endif()
# A LibTorch with CUDA asks for the whole toolkit, which only CUDA code needs. There is none here, and
# the libraries find CUDA by their own run paths, so a machine without nvcc builds too. The config
# looks for nothing where its cudart target exists; nor for MKL, which the wheel has inside.
foreach(linex_target IN ITEMS torch::cudart caffe2::mkl)
  if(NOT TARGET ${linex_target})
    add_library(${linex_target} INTERFACE IMPORTED)
  endif()
endforeach()
find_package(Torch 1.13 REQUIRED)

# The wheel brings headers of another fmt than the one spdlog was built with.
if(TARGET spdlog::spdlog AND TARGET fmt::fmt AND EXISTS "${linex_torch_prefix}/include/fmt")
  get_target_property(linex_fmt_headers fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/include")
  file(CREATE_LINK "${linex_fmt_headers}/fmt" "${PROJECT_BINARY_DIR}/include/fmt" SYMBOLIC)
  set_property(TARGET spdlog::spdlog APPEND PROPERTY
               INTERFACE_COMPILE_OPTIONS "-I${PROJECT_BINARY_DIR}/include")
endif()

# Torch's own flags (the C++ ABI it was built with) hold for every target.
separate_arguments(linex_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${linex_torch_flags}>")
# g++ 12 warns wrongly about std::string in the C++20 that LibTorch 2 asks for (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13 AND
   Torch_VERSION VERSION_GREATER_EQUAL 2)
  add_compile_options(-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()
