# What linex is built with. Only find_package: nothing is fetched.
find_program(LINEX_CCACHE ccache)
if(LINEX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness makes ccache accept precompiled headers (ccache manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LINEX_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options filesystem)
include(cmake/LinexOpenCV.cmake)
find_package(ZLIB REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
# Image formats that OpenCV does not read as Pillow does; libwebp ships no CMake package on Debian 12.
find_package(PNG REQUIRED)
find_package(TIFF REQUIRED)
find_package(GIF REQUIRED)
find_library(LINEX_WEBPDEMUX webpdemux REQUIRED)
find_path(LINEX_WEBP_INCLUDE webp/demux.h REQUIRED)
# SentencePiece ships no CMake package on Debian 12.
find_library(LINEX_SENTENCEPIECE sentencepiece REQUIRED)
find_path(LINEX_SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
# After spdlog, whose fmt it may have to put first.
include(sdk/cmake/LinexTorch.cmake)
