# Finds LibTorch, 1.13 (Debian) to 2.x (PyPI's wheel, a libtorch archive), for linex and for whatever
# is built against it. The C++ standard, at least 17, and the ABI flags are what Torch's targets ask
# for.
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
