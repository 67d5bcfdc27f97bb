#include "host/finished_run.hpp"

#include "core/run/summary.hpp"
#include "core/run/workplace.hpp"
#include "host/arguments.hpp"
#include "linex/error.hpp"

namespace linex {

FinishedRun read_finished_run(PluginRegistry& registry, const std::filesystem::path& folder) {
  const auto ini = folder / "run.ini", file = folder / "explanations.csv";
  if (!std::filesystem::exists(ini) || !std::filesystem::exists(file))
    throw input_error(folder.string() +
                      " holds no finished run (run.ini and explanations.csv); name the run.out of "
                      "linex explain or evaluate");
  FinishedRun run;
  run.explanations = read_explanations(file);
  run.explanations.sanity = read_sanity(folder / "summary.json");
  const CommandSyntax syntax{"report", "", {}, {}, true};
  run.sections =
      parse_arguments(syntax, {"--config=" + ini.string(), "--run.out=" + folder.string()},
                      [&](const Sections& first) { return known_keys(registry, first); })
          .sections;
  return run;
}

}  // namespace linex
