# What linex is built with. Only find_package: nothing is fetched.
find_program(LINEX_CCACHE ccache)
if(LINEX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness makes ccache accept precompiled headers (ccache manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LINEX_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()

find_package(Torch 1.13 REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options filesystem)
find_package(OpenCV REQUIRED COMPONENTS core imgproc imgcodecs)

# Torch's own flags (the C++ ABI it was built with) hold for every target.
separate_arguments(linex_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${linex_torch_flags}>")
