// linex export DIR FORMAT: a finished run in the formats of others.
#include <cstdio>

#include "core/run/export.hpp"
#include "host/finished_run.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"

namespace linex {

int run_export(PluginRegistry& registry, const std::string& folder, const std::string& formats) {
  const auto wanted = parse_export_formats(formats);
  const FinishedRun run = read_finished_run(registry, folder);
  Workplace place(registry, run.sections);
  place.claim_out();
  for (const auto& format : wanted)
    std::printf("%s\n", export_run(format, place.out() / "export", run.explanations,
                                   method_name(place), place)
                            .c_str());
  return 0;
}

}  // namespace linex
