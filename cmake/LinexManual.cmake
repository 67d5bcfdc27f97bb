# What the program writes about itself, for installations: manual page and completions.
find_program(LINEX_GZIP gzip REQUIRED)
set(manual ${CMAKE_BINARY_DIR}/share)
get_property(plugin_targets DIRECTORY plugins PROPERTY BUILDSYSTEM_TARGETS)
set(plugins "")
foreach(target IN LISTS plugin_targets)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL MODULE_LIBRARY)
    list(APPEND plugins ${target})
  endif()
endforeach()
# LibTorch allocates with one new and frees with another's delete, which sanitizers mind.
set(inspect ${CMAKE_COMMAND} -E env ASAN_OPTIONS=detect_leaks=0:new_delete_type_mismatch=0
    $<TARGET_FILE:linex> inspect --no-plugins-from-env)
add_custom_command(
  OUTPUT ${manual}/linex.1.gz ${manual}/linex ${manual}/_linex
  COMMAND ${CMAKE_COMMAND} -E make_directory ${manual}
  COMMAND ${inspect} --man > ${manual}/linex.1
  COMMAND ${LINEX_GZIP} -9nf ${manual}/linex.1
  COMMAND ${inspect} --bash > ${manual}/linex
  COMMAND ${inspect} --zsh > ${manual}/_linex
  DEPENDS linex ${plugins}
  COMMENT "Manual page and completions" VERBATIM)
add_custom_target(linex_manual DEPENDS ${manual}/linex.1.gz ${manual}/linex ${manual}/_linex)
add_dependencies(linex_app linex_manual)
install(FILES ${manual}/linex.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${manual}/linex DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${manual}/_linex DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
