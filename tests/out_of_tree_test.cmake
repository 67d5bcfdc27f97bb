# Plugins as strangers make them: the templates, copied out of an installation and renamed, and the
# bigger ones of out_of_tree/. Built with nothing but find_package(linex), checked, listed and run.
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

# The cell of column `name` in row `row` (from 0) of a CSV file whose cells hold no comma.
function(read_cell file row name result)
  file(STRINGS ${file} lines)
  list(GET lines 0 header)
  string(REPLACE "," ";" header "${header}")
  list(FIND header "${name}" column)
  math(EXPR row "${row} + 1")
  list(LENGTH lines count)
  if(column LESS 0 OR NOT row LESS count)
    message(FATAL_ERROR "no row ${row} with '${name}' in ${file}:\n${lines}")
  endif()
  list(GET lines ${row} line)
  string(REPLACE "," ";" cells "${line}")
  list(GET cells ${column} cell)
  set(${result} "${cell}" PARENT_SCOPE)
endfunction()

function(require_between value low high what)
  if(NOT (value GREATER_EQUAL low AND value LESS_EQUAL high))
    message(FATAL_ERROR "${what} is '${value}', not within ${low} and ${high}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
set(stage ${WORK}/stage)
run(install COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${stage})
set(linex ${stage}/${BINDIR}/linex)

# Copy and rename.
set(templates "")
foreach(template IN ITEMS "model|my_model|MyModel|tiny_net|TinyNet"
                          "labeler|my_labeler|MyLabeler|main_colours|MainColours"
                          "solver|my_solver|MySolver|nearest_concept|NearestConcept"
                          "evaluator|my_evaluator|MyEvaluator|sim_error|SimError")
  string(REPLACE "|" ";" template ${template})
  list(POP_FRONT template kind old old_class name class)
  set(folder ${WORK}/templates/${name})
  file(COPY ${stage}/${DATADIR}/linex/template/${kind}/ DESTINATION ${folder})
  file(GLOB files RELATIVE ${folder} ${folder}/*)
  foreach(file IN LISTS files)
    string(REPLACE ${old} ${name} renamed ${file})
    file(RENAME ${folder}/${file} ${folder}/${renamed})
    if(renamed MATCHES "(txt|cpp)$")
      file(STRINGS ${folder}/${renamed} lines)
      list(LENGTH lines count)
      if(count GREATER 40)
        message(FATAL_ERROR "template/${kind}/${file} has ${count} lines, more than 40")
      endif()
      file(READ ${folder}/${renamed} text)
      string(REPLACE ${old} ${name} text "${text}")
      string(REPLACE ${old_class} ${class} text "${text}")
      file(WRITE ${folder}/${renamed} "${text}")
    endif()
  endforeach()
  list(APPEND templates ${folder})
endforeach()

set(sanitize "")
if(SANITIZE)  # of a program all parts have them, or none
  set(sanitize "-DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE} -fno-omit-frame-pointer")
endif()
run(configure COMMAND ${CMAKE_COMMAND} -S ${SOURCE}/tests/out_of_tree -B ${WORK}/build
    -G ${GENERATOR} -D CMAKE_PREFIX_PATH=${stage} -D CMAKE_BUILD_TYPE=${BUILD_TYPE}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} "-DTEMPLATES=${templates}" ${sanitize})
run(build COMMAND ${CMAKE_COMMAND} --build ${WORK}/build)
set(files ${WORK}/build/files)

# `linex check` is the CTest that linex_add_plugin() made. It fails where a check was
# skipped that its CHECK arguments do not state.
run(check COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --verbose OUTPUT out)
require_match("${out}" "100% tests passed, 0 tests failed out of 8")
foreach(plugin IN ITEMS model/tiny_net model/small_convnext labeler/main_colours labeler/word_colour
                        solver/nearest_concept solver/count_threads evaluator/sim_error
                        evaluator/linear_share)
  set(skips 0)
  if(plugin MATCHES "labeler")
    set(skips 1)
  elseif(plugin MATCHES "count_threads")
    set(skips 4)
  endif()
  string(REGEX MATCH "${plugin}: [0-9]+ passed, [^\n]*" summary "${out}")
  message(STATUS "${summary}")
  require_match("${summary}" "0 failed, ${skips} skipped")
endforeach()

set(ENV{LINEX_PLUGIN_PATH} ${WORK}/build/${LIBDIR}/linex/plugins)
run(list COMMAND ${linex} list OUTPUT out)
foreach(name IN ITEMS tiny_net main_colours nearest_concept sim_error small_convnext word_colour
                      linear_share linear clip)
  require_match("${out}" "  ${name} ")
endforeach()
run(inspect COMMAND ${linex} inspect solver/nearest_concept OUTPUT out)
require_match("${out}" "--solver.weight real")
run(inspect COMMAND ${linex} inspect solver/count_threads OUTPUT out)
require_match("${out}" "toolkit  [0-9]+\\.[0-9]+\n")

# Recorded matrices: each unit by its nearest concept, and what that leaves out.
set(recorded --model.plugin=recorded --model.activations=${files}/a.npy
    --labeler.plugin=recorded --labeler.concepts=${files}/p.npy --labeler.names=${files}/names.txt)
run(explain COMMAND ${linex} explain ${recorded} --solver.plugin=nearest_concept --solver.weight=2
    --evaluator.plugin=sim_error,linear_share --run.out=${WORK}/nearest)
file(STRINGS ${WORK}/nearest/explanations.csv rows)
list(LENGTH rows count)
if(NOT count EQUAL 4)
  message(FATAL_ERROR "explanations.csv has ${count} lines, not 4:\n${rows}")
endif()
list(GET rows 1 first)
list(GET rows 2 second)
require_match("${first}" ",0,.*2(\\.0)?,stripes")
require_match("${second}" ",1,.*2(\\.0)?,dots")

# Parallel loops in headers, LibTorch's and the toolkit's, use the threads of the run.
run(explain COMMAND ${linex} explain ${recorded} --solver.plugin=count_threads --run.threads=2
    --run.out=${WORK}/threads)
file(READ ${WORK}/threads/summary.json summary)
require_match("${summary}" "\"threads of torch\": 2")
require_match("${summary}" "\"threads of toolkit\": 2")

# Scores: a unit that is its concept, one that is half of it, and nothing but that could be explained.
set(table ${WORK}/nearest/explanations.csv)
foreach(row IN ITEMS 0 1)
  read_cell(${table} ${row} "linear share" share)
  require_between("${share}" 0.999 1.001 "linear share of unit ${row}")
endforeach()
read_cell(${table} 2 "linear share" share)
require_between("${share}" 0.2 0.8 "linear share of the unit of two concepts")
read_cell(${table} 1 "sim error" error)  # 2 dots, simulated by weight 2
require_between("${error}" 0 0.001 "sim error of unit 1")
read_cell(${table} 0 "sim error" error)  # 3 stripes, simulated by weight 2
require_between("${error}" 0.5 5 "sim error of unit 0")

# A ConvNeXt: every block tapped; its units explained by another family's labeler and replaced by
# what those explanations predict.
set(pictures --data.root=${files}/pictures --run.report=none --run.threads=2)
set(words --labeler.plugin=word_colour --labeler.weights=${files}/word_colour.pt
    --labeler.concepts=${files}/concepts.txt)
set(blocks features.1.0 features.1.1 features.3.0)
list(JOIN blocks "," layers)
run(explain COMMAND ${linex} explain ${pictures} ${words} --model.plugin=small_convnext
    --model.weights=${files}/convnext.pt --model.resize=32 --model.crop=32 --model.layer=${layers}
    --run.units=0:3 --evaluator.plugin=simulation_ablation --run.out=${WORK}/convnext)
set(row 0)
foreach(block IN LISTS blocks)
  foreach(unit RANGE 2)
    read_cell(${WORK}/convnext/explanations.csv ${row} layer layer)
    read_cell(${WORK}/convnext/explanations.csv ${row} status status)
    require_match("${layer} ${status}" "^${block} ok$")
    read_cell(${WORK}/convnext/explanations.csv ${row} "sim ablation(optim)" score)
    require_between("${score}" -1 1.0001 "ablation score of ${block}/${unit}")
    math(EXPR row "${row} + 1")
  endforeach()
endforeach()

# How red and how blue the pictures are, found by a family that knows the words.
run(explain COMMAND ${linex} explain ${pictures} ${words} --model.plugin=recorded
    --model.activations=${files}/colours.npy --evaluator.plugin=linear_share --run.out=${WORK}/words)
read_cell(${WORK}/words/explanations.csv 0 concept0 first)
read_cell(${WORK}/words/explanations.csv 1 concept0 second)
require_match("${first} ${second}" "^red blue$")
read_cell(${WORK}/words/explanations.csv 0 "linear share" share)
require_between("${share}" 0.9 1.001 "linear share of red")

# The templates of a model and a labeler together.
run(explain COMMAND ${linex} explain ${pictures} --model.plugin=tiny_net --model.layer=relu2
    --model.weights=${WORK}/templates/tiny_net/tiny_net.safetensors --labeler.plugin=main_colours
    --evaluator.plugin=sim_error --run.out=${WORK}/tiny)
read_cell(${WORK}/tiny/explanations.csv 0 layer layer)
require_match("${layer}" "^relu2$")
