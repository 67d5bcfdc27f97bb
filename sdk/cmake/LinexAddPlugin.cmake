# linex_add_plugin(NAME <name> KIND model|labeler|solver|evaluator SOURCES <file>...
#                  [PARTS <file>...] [LINK <target>...] [LICENSE <text>] [CHECK <argument>...])
#
# One plugin library, linex_<kind>_<name>.so, the same way inside linex and outside of it. NAME and
# KIND are those of the LINEX_..._PLUGIN macro. PARTS are sources without that macro; they become the
# library linex_<kind>_<name>_parts, which tests link. The plugin is installed to <libdir>/linex/plugins/<kind>s and
# `linex check` of it, with the CHECK arguments, becomes a CTest.
function(linex_add_plugin)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;KIND;LICENSE" "SOURCES;PARTS;LINK;CHECK")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "linex_add_plugin: unknown argument '${arg_UNPARSED_ARGUMENTS}'")
  endif()
  if(NOT arg_NAME MATCHES "^[a-z][a-z0-9_]*$")
    message(FATAL_ERROR "linex_add_plugin: NAME '${arg_NAME}' is not [a-z][a-z0-9_]*")
  endif()
  if(NOT arg_KIND MATCHES "^(model|labeler|solver|evaluator)$")
    message(FATAL_ERROR "linex_add_plugin(${arg_NAME}): KIND '${arg_KIND}' is none of "
                        "model, labeler, solver, evaluator")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "linex_add_plugin(${arg_NAME}): no SOURCES")
  endif()
  include(GNUInstallDirs)

  set(exports "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin_exports.map")
  set(target linex_${arg_KIND}_${arg_NAME})
  set(folder linex/plugins/${arg_KIND}s)
  add_library(${target} MODULE ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE linex::sdk ${arg_LINK})
  target_compile_features(${target} PRIVATE cxx_std_17)
  if(arg_PARTS)
    add_library(${target}_parts STATIC ${arg_PARTS})
    target_link_libraries(${target}_parts PUBLIC linex::sdk ${arg_LINK})
    target_include_directories(${target}_parts PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
    target_compile_features(${target}_parts PUBLIC cxx_std_17)
    set_target_properties(${target}_parts PROPERTIES
      CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(${target} PRIVATE ${target}_parts)
  endif()
  if(arg_LICENSE)
    target_compile_definitions(${target} PRIVATE "LINEX_PLUGIN_LICENSE=\"${arg_LICENSE}\"")
  endif()
  # One exported symbol: nothing of a plugin is visible to another one. Missing symbols are found
  # here and not in the middle of a run. Never unmapped: tensors and exceptions may outlive calls.
  set(no_undefined LINKER:-z,defs)
  if(LINEX_SANITIZE)  # the sanitizer's runtime is in the host only
    set(no_undefined)
  endif()
  target_link_options(${target} PRIVATE
    "LINKER:-z,nodelete" "LINKER:--exclude-libs,ALL"
    "LINKER:--version-script=${exports}"
    ${no_undefined})
  set_target_properties(${target} PROPERTIES
    PREFIX "" OUTPUT_NAME ${target}
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}/${folder}
    LINK_DEPENDS "${exports}"
    INSTALL_RPATH "$ORIGIN/../../.." INSTALL_RPATH_USE_LINK_PATH ON)
  if(TARGET linex_pch)  # inside linex only
    target_precompile_headers(${target} REUSE_FROM linex_pch)
    if(arg_PARTS)
      target_precompile_headers(${target}_parts REUSE_FROM linex_pch)
    endif()
    add_dependencies(linex_app ${target})
  endif()
  # The host refuses what others may write to, which a umask of 002 would leave behind.
  add_custom_command(TARGET ${target} POST_BUILD
    COMMAND chmod go-w $<TARGET_FILE:${target}> $<TARGET_FILE_DIR:${target}> VERBATIM)
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/${folder})

  if(TARGET linex)
    set(linex_command $<TARGET_FILE:linex>)
  elseif(LINEX_EXECUTABLE)
    set(linex_command ${LINEX_EXECUTABLE})
  else()
    return()
  endif()
  add_test(NAME check_${arg_KIND}_${arg_NAME}
           COMMAND ${linex_command} check $<TARGET_FILE:${target}> ${arg_CHECK})
endfunction()
