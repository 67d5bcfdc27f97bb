# What linex is built with. Only find_package: nothing is fetched.
find_program(LINEX_CCACHE ccache)
if(LINEX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness makes ccache accept precompiled headers (ccache manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LINEX_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()

include(sdk/cmake/LinexTorch.cmake)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options filesystem)
find_package(OpenCV REQUIRED COMPONENTS core imgproc imgcodecs)
find_package(ZLIB REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
# SentencePiece ships no CMake package on Debian 12.
find_library(LINEX_SENTENCEPIECE sentencepiece REQUIRED)
find_path(LINEX_SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)

# The wheel brings headers of another fmt than the one spdlog was built with.
if(TARGET fmt::fmt AND EXISTS "${linex_torch_prefix}/include/fmt")
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
