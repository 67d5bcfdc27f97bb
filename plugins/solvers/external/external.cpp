// A method in any language as a solver: docs/external.md.
#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "linex/plugin.hpp"
#include "toolkit/external/answers.hpp"
#include "toolkit/external/session.hpp"

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

/// Hands explanations on in blocks: each costs the host a sync of its journal.
class Blocks {
 public:
  explicit Blocks(const linex::ExplanationSink& emit) : emit_(emit) {}
  void add(linex::Explanation explanation) {
    block_.push_back(std::move(explanation));
    constexpr std::size_t kMost = 256;
    if (block_.size() >= kMost) flush();
    flush_old();
  }
  void flush_old() {
    constexpr std::chrono::seconds kLongest{1};
    if (Clock::now() - last_ >= kLongest) flush();
  }
  void flush() {
    std::vector<linex::Explanation> block;
    block.swap(block_);  // a sink that throws does not get them twice
    last_ = Clock::now();
    if (!block.empty()) emit_(block);
  }

 private:
  const linex::ExplanationSink& emit_;
  std::vector<linex::Explanation> block_;
  Clock::time_point last_ = Clock::now();
};

class External final : public linex::SparseSolver {
 public:
  static constexpr auto kOptions = linex::external_options(
      std::array{linex::option::flag("images", false, "tell the command the names of the images")});

  explicit External(const linex::PluginContext& context)
      : context_(context), session_(context, "solver", 1) {}

  linex::SolverNeeds needs() const override {
    linex::SolverNeeds needs;
    needs.model = context_.options().flag("images");
    return needs;
  }

  linex::SolveReport solve(const linex::Problem& problem,
                           const linex::ExplanationSink& emit) override {
    const auto begin = Clock::now();
    session_.call("solve", describe(problem));
    linex::SolveReport report;
    report.timings_s["hand over"] = std::chrono::duration<double>(Clock::now() - begin).count();

    const linex::ExplanationReader reader(problem.concepts);
    Blocks blocks(emit);
    session_.when_idle([&] { blocks.flush_old(); });
    std::size_t next = problem.finished;
    Json done;
    try {
      for (;;) {
        Json message = session_.receive({"explanation"});
        if (message["type"] == "done") {
          done = std::move(message);
          break;
        }
        if (next == problem.units.size())
          session_.fail("sent an explanation after all " + std::to_string(problem.units.size()) +
                        " units were explained");
        try {
          blocks.add(reader.read(message, problem.units[next]));
        } catch (const std::invalid_argument& error) {
          session_.fail(error.what());
        }
        ++next;
      }
    } catch (...) {
      blocks.flush();  // what is finished is not lost
      throw;
    }
    blocks.flush();
    if (next < problem.units.size())
      session_.fail("said done after " + std::to_string(next) + " of " +
                    std::to_string(problem.units.size()) + " units");
    if (const auto figures = done.find("figures"); figures != done.end() && figures->is_object())
      for (const auto& [name, value] : figures->items())
        if (value.is_number()) report.figures[name] = value.get<double>();
    session_.finish();
    return report;
  }

 private:
  Json describe(const linex::Problem& problem) {
    const linex::Exchange& exchange = session_.exchange();
    const auto first = problem.units.begin();
    const auto due = first + static_cast<std::ptrdiff_t>(problem.finished);
    Json content{{"concepts", problem.concepts},
                 {"layer", problem.layer},
                 {"pool", linex::to_string(problem.pool)},
                 {"units", std::vector<std::int64_t>(due, problem.units.end())},
                 {"finished", std::vector<std::int64_t>(first, due)},
                 {"activations", exchange.give("activations", problem.activations)}};
    if (problem.presence)
      content["presence"] = exchange.give("presence", *problem.presence, context_);
    for (const auto& [name, rows] : {std::pair{"train", &problem.split.train},
                                     {"val", &problem.split.val},
                                     {"test", &problem.split.test}})
      content["split"][name] = exchange.give(name, torch::tensor(*rows, torch::kInt64));
    if (problem.data) {
      Json names = Json::array();
      for (std::int64_t row = 0; row < problem.data->size(); ++row)
        names.push_back(problem.data->name(row));
      content["images"] = exchange.give("images", names);
    }
    return content;
  }

  const linex::PluginContext& context_;
  linex::Session session_;
};

}  // namespace

LINEX_SOLVER_PLUGIN(External, "external", "0.1.0", "A method in any language: runs a command")
