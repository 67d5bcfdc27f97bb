# A Debian package: `cpack -G DEB` in a release build, or `./run package`.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME linex)
set(CPACK_PACKAGE_VENDOR "linex")
set(LINEX_MAINTAINER "linex developers <linex@users.noreply.github.com>" CACHE STRING
    "Who a Debian package names as its maintainer")
set(CPACK_PACKAGE_CONTACT "${LINEX_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "explains neurons of vision networks by sums of concepts")
set(CPACK_PACKAGE_DESCRIPTION
  "linex answers what one unit of a vision network stands for with a weighted
sum of concepts, and measures how well that sum predicts the unit's activation
on unseen images. Target models, sources of concepts, solvers and evaluators
are plugins; the published baselines are among them.

The package holds the program, its plugins, and headers and templates for
plugins of your own.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL OFF)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
# LibTorch calls a BLAS through its virtual package; OpenMP's threads are what linex counts on.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libopenblas0-openmp")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libtorch-dev, cmake, g++, python3-numpy")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

# What Debian asks of a package: its libraries in the linker's cache, and papers.
set(papers ${CMAKE_BINARY_DIR}/share)
file(WRITE ${papers}/triggers "activate-noawait ldconfig\n")
file(WRITE ${papers}/shlibs
     "liblinex_sdk 2 linex (>= ${PROJECT_VERSION})\n"
     "liblinex_toolkit ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} linex (>= ${PROJECT_VERSION})\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${papers}/triggers ${papers}/shlibs)
string(TIMESTAMP date "%a, %d %b %Y 00:00:00 +0000" UTC)
file(WRITE ${papers}/changelog.Debian
     "linex (${PROJECT_VERSION}-1) unstable; urgency=medium\n\n"
     "  * Version ${PROJECT_VERSION}; changelog.gz tells what is new.\n\n"
     " -- ${CPACK_PACKAGE_CONTACT}  ${date}\n")
execute_process(COMMAND ${LINEX_GZIP} -9nf ${papers}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)
configure_file(cmake/copyright.in ${papers}/copyright @ONLY)
execute_process(COMMAND ${LINEX_GZIP} -9nc ${PROJECT_SOURCE_DIR}/CHANGELOG.md
                OUTPUT_FILE ${papers}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)
install(FILES ${papers}/copyright ${papers}/changelog.gz ${papers}/changelog.Debian.gz
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Debian's linker finds the libraries under /usr without being told where.
install(CODE "
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
    file(GLOB_RECURSE files
         \"\$ENV{DESTDIR}/usr/${CMAKE_INSTALL_LIBDIR}/liblinex_*.so*\"
         \"\$ENV{DESTDIR}/usr/${CMAKE_INSTALL_LIBDIR}/linex/*.so\"
         \"\$ENV{DESTDIR}/usr/${CMAKE_INSTALL_BINDIR}/linex\")
    foreach(file IN LISTS files)
      if(NOT IS_SYMLINK \${file})
        file(RPATH_REMOVE FILE \${file})
      endif()
    endforeach()
  endif()")
include(CPack)
