// linex find DIR TEXT: the units whose explanation says TEXT.
#include <cstdio>

#include "core/run/find.hpp"
#include "core/run/workplace.hpp"
#include "host/finished_run.hpp"
#include "host/run_commands.hpp"
#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace {

std::size_t parse_top(const std::string& text) {
  if (text.empty()) return 10;
  if (text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos ||
      std::stoul(text) == 0)
    throw usage_error("--top=" + printable(text) + " is no number of units");
  return std::stoul(text);
}

/// Through the text encoder of the run's simulator or labeler, where it has one.
std::vector<FoundUnit> find_by_meaning(PluginRegistry& registry, const FinishedRun& run,
                                       const std::string& text, std::size_t top) {
  Sections sections = run.sections;
  sections["run"]["log-level"] = "error";
  Workplace place(registry, sections);
  for (const char* section : {"simulator", "labeler"}) {
    if (!place.has_plugin(section)) continue;
    const auto encoder = place.open_unattached(section);
    const auto* embeddings = ability<ImageTextEmbeddings>(*encoder.object);
    if (!embeddings || !encoder.object->knows(text)) continue;
    return find_units(run.explanations, like_meaning(text, *embeddings), top);
  }
  return {};
}

}  // namespace

int run_find(PluginRegistry& registry, const std::string& folder, const std::string& text,
             const std::string& top, bool json) {
  const std::size_t count = parse_top(top);
  if (trim(text).empty()) throw usage_error("linex find: the text is empty");
  if (!is_utf8(text)) throw usage_error("linex find: the text is not UTF-8");
  const FinishedRun run = read_finished_run(registry, folder);
  auto found = find_units(run.explanations, like_words(text), count);
  if (found.empty()) found = find_by_meaning(registry, run, text, count);
  if (json) {
    std::fputs(to_json(found).c_str(), stdout);
    return 0;
  }
  if (found.empty())
    std::printf("no unit's explanation says '%s'%s\n", printable(text).c_str(),
                did_you_mean(text, explaining_concepts(run.explanations)).c_str());
  for (const auto& unit : found)
    std::printf("%.4f  %s %lld  %s\n", unit.score, unit.layer.c_str(),
                static_cast<long long>(unit.unit), printable(unit.term).c_str());
  return 0;
}

}  // namespace linex
