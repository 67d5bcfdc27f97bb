# The template as a stranger uses it: copied out of an installation, renamed, built with nothing but
# find_package(linex), checked, listed and run, while linex itself is not built again.
cmake_minimum_required(VERSION 3.25)

function(run name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OUTPUT" "COMMAND")
  execute_process(COMMAND ${arg_COMMAND} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${name}: exit ${code}\n${out}\n${err}")
  endif()
  if(arg_OUTPUT)
    set(${arg_OUTPUT} "${out}" PARENT_SCOPE)
  endif()
endfunction()

function(require_match text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "no '${pattern}' in:\n${text}")
  endif()
endfunction()

# A float32 .npy file; each value is one of 0, 1, 2, 3.
function(write_npy file rows cols values)
  set(word_0 "\\000\\000\\000\\000")
  set(word_1 "\\000\\000\\200\\077")
  set(word_2 "\\000\\000\\000\\100")
  set(word_3 "\\000\\000\\100\\100")
  set(header "{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${cols}), }")
  string(LENGTH "${header}" length)
  math(EXPR missing "117 - ${length}")
  string(REPEAT " " ${missing} padding)
  set(content "\\223NUMPY\\001\\000\\166\\000${header}${padding}\\n")
  foreach(value IN LISTS values)
    string(APPEND content "${word_${value}}")
  endforeach()
  execute_process(COMMAND /usr/bin/env printf "${content}" OUTPUT_FILE ${file}
                  COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK})
set(stage ${WORK}/stage)
set(name nearest_concept)
run(install COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${stage})
set(linex ${stage}/${BINDIR}/linex)

# Copy and rename.
file(COPY ${stage}/${DATADIR}/linex/template/ DESTINATION ${WORK}/source)
file(RENAME ${WORK}/source/my_solver.cpp ${WORK}/source/${name}.cpp)
foreach(file IN ITEMS CMakeLists.txt ${name}.cpp)
  file(READ ${WORK}/source/${file} text)
  string(REPLACE my_solver ${name} text "${text}")
  string(REPLACE MySolver NearestConcept text "${text}")
  file(WRITE ${WORK}/source/${file} "${text}")
endforeach()

run(configure COMMAND ${CMAKE_COMMAND} -S ${WORK}/source -B ${WORK}/build -G ${GENERATOR}
    -D CMAKE_PREFIX_PATH=${stage} -D CMAKE_BUILD_TYPE=${BUILD_TYPE})
run(build COMMAND ${CMAKE_COMMAND} --build ${WORK}/build)
set(folder ${WORK}/build/${LIBDIR}/linex/plugins/solvers)
set(plugin ${folder}/linex_solver_${name}.so)

# `linex check` is the CTest that linex_add_plugin() made.
run(check COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --output-on-failure OUTPUT out)
require_match("${out}" "100% tests passed, 0 tests failed out of 1")
run(check COMMAND ${linex} check ${plugin} OUTPUT out)
require_match("${out}" "solver/${name}: [0-9]+ passed, 0 failed")

set(ENV{LINEX_PLUGIN_PATH} ${folder})
run(list COMMAND ${linex} list OUTPUT out)
require_match("${out}" "  ${name} +0\\.1\\.0")
require_match("${out}" "  linear ")
run(inspect COMMAND ${linex} inspect solver/${name} OUTPUT out)
require_match("${out}" "--solver.weight real")

# 40 rows, two concepts; unit 0 follows "stripes", unit 1 "dots".
set(activations "")
set(concepts "")
foreach(row RANGE 39)
  math(EXPR stripes "${row} % 2")
  math(EXPR dots "(${row} / 2) % 2")
  math(EXPR first "${stripes} * 3")
  math(EXPR second "${dots} * 2")
  list(APPEND concepts ${stripes} ${dots})
  list(APPEND activations ${first} ${second})
endforeach()
write_npy(${WORK}/a.npy 40 2 "${activations}")
write_npy(${WORK}/p.npy 40 2 "${concepts}")
file(WRITE ${WORK}/names.txt "stripes\ndots\n")
run(explain COMMAND ${linex} explain --model.plugin=recorded --model.activations=${WORK}/a.npy
    --labeler.plugin=recorded --labeler.concepts=${WORK}/p.npy --labeler.names=${WORK}/names.txt
    --solver.plugin=${name} --solver.weight=2 --run.out=${WORK}/run)
file(STRINGS ${WORK}/run/explanations.csv rows)
list(LENGTH rows count)
if(NOT count EQUAL 3)
  message(FATAL_ERROR "explanations.csv has ${count} lines, not 3:\n${rows}")
endif()
list(GET rows 1 first)
list(GET rows 2 second)
require_match("${first}" ",0,.*2(\\.0)?,stripes")
require_match("${second}" ",1,.*2(\\.0)?,dots")

# A plugin of the toolkit: its version is in the note, and parallel loops in headers, LibTorch's and
# the toolkit's, use the threads of the run.
run(configure COMMAND ${CMAKE_COMMAND} -S ${SOURCE}/tests/fixtures/out_of_tree -B ${WORK}/threads
    -G ${GENERATOR} -D CMAKE_PREFIX_PATH=${stage} -D CMAKE_BUILD_TYPE=${BUILD_TYPE})
run(build COMMAND ${CMAKE_COMMAND} --build ${WORK}/threads)
set(ENV{LINEX_PLUGIN_PATH} ${WORK}/threads/${LIBDIR}/linex/plugins/solvers)
run(inspect COMMAND ${linex} inspect solver/count_threads OUTPUT out)
require_match("${out}" "toolkit  [0-9]+\\.[0-9]+\n")
run(explain COMMAND ${linex} explain --model.plugin=recorded --model.activations=${WORK}/a.npy
    --labeler.plugin=recorded --labeler.concepts=${WORK}/p.npy --labeler.names=${WORK}/names.txt
    --solver.plugin=count_threads --run.threads=2 --run.out=${WORK}/threads_run)
file(READ ${WORK}/threads_run/summary.json summary)
require_match("${summary}" "\"threads of torch\": 2")
require_match("${summary}" "\"threads of toolkit\": 2")
