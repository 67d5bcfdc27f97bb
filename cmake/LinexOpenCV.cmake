# OpenCV's core, imgproc and imgcodecs. Debian has OpenCV's CMake package only in libopencv-dev, which brings
# every module; with the development packages of these three alone they are found by name.
set(opencv_modules core imgproc imgcodecs)
find_package(OpenCV QUIET COMPONENTS ${opencv_modules})
if(OpenCV_FOUND)
  return()
endif()
find_path(OpenCV_INCLUDE_DIRS opencv2/core.hpp PATH_SUFFIXES opencv4 REQUIRED)
foreach(module IN LISTS opencv_modules)
  find_library(OpenCV_${module}_LIBRARY opencv_${module} REQUIRED)
  if(NOT TARGET opencv_${module})
    add_library(opencv_${module} UNKNOWN IMPORTED)
    set_target_properties(opencv_${module} PROPERTIES
      IMPORTED_LOCATION ${OpenCV_${module}_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${OpenCV_INCLUDE_DIRS})
  endif()
endforeach()
