#include "toolkit/explanations/simulate.hpp"

#include <algorithm>
#include <unordered_map>

#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/concept_texts.hpp"

namespace linex {

Link link_of(const Explanation& explanation) {
  if (explanation.terms.empty()) return {};
  return link_from_text(explanation.text).value_or(Link{});
}

Simulation::Simulation(const std::vector<Explanation>& explanations, ConceptLabeler& simulator)
    : status_(explanations.size(), Status::ok),
      unknown_(explanations.size()),
      columns_(explanations.size()) {
  ConceptTexts meaning(simulator);
  std::vector<std::string> texts;
  std::unordered_map<std::string, std::int64_t> column_of;  // -1: the simulator does not know it
  const auto column = [&](const std::string& text) {
    const auto found = column_of.find(text);
    if (found != column_of.end()) return found->second;
    std::int64_t index = -1;
    // Simulators have no blanks around their names; a file may.
    for (const std::string& known : {text, trim(text)})
      if (index < 0 && meaning.knows(known)) {
        index = static_cast<std::int64_t>(texts.size());
        texts.push_back(known);
      }
    return column_of.emplace(text, index).first->second;
  };

  for (std::size_t i = 0; i < explanations.size(); ++i) {
    const Explanation& explanation = explanations[i];
    std::vector<Term> terms = explanation.terms;
    if (terms.empty() && !explanation.text.empty()) terms = {{explanation.text, 1.0}};
    // A unit whose solver did not quite converge still has an explanation worth a score.
    if (explanation.status != Status::ok && explanation.status != Status::not_converged) {
      status_[i] = explanation.status;
      continue;
    }
    if (terms.empty()) {
      status_[i] = Status::empty;
      continue;
    }
    columns_[i].bias = explanation.bias;
    columns_[i].link = link_of(explanation);
    for (const auto& term : terms) {
      const std::int64_t index = column(term.concept_name);
      if (index < 0) {
        status_[i] = Status::unknown_concept;
        unknown_[i] = term.concept_name;
        break;
      }
      columns_[i].terms.emplace_back(index, term.weight);
    }
  }
  if (!texts.empty()) presence_ = meaning.presence_of(texts);
}

torch::Tensor Simulation::predict(const Rows& rows, int threads, std::int64_t memory_bytes) const {
  return predict(rows, 0, columns_.size(), threads, memory_bytes);
}

torch::Tensor Simulation::predict(const Rows& rows, std::size_t begin_unit, std::size_t end_unit,
                                  int threads, std::int64_t memory_bytes) const {
  const auto n = static_cast<std::int64_t>(rows.size()),
             k = static_cast<std::int64_t>(end_unit - begin_unit);
  auto predicted = torch::full({n, k}, kNone, torch::kFloat32);
  // Concepts in the order of their first use; place_of[c] is where a tile holds concept c.
  std::vector<std::int64_t> used;
  std::vector<std::int64_t> place_of(static_cast<std::size_t>(presence_ ? presence_->cols() : 0),
                                     -1);
  for (std::size_t i = begin_unit; i < end_unit; ++i)
    for (const auto& term : columns_[i].terms) {
      std::int64_t& place = place_of[static_cast<std::size_t>(term.first)];
      if (place >= 0) continue;
      place = static_cast<std::int64_t>(used.size());
      used.push_back(term.first);
    }
  if (used.empty()) return predicted;
  float* out = predicted.data_ptr<float>();
  const auto cols = static_cast<std::int64_t>(used.size());
  const std::int64_t row_bytes =
      std::max<std::int64_t>(cols, 1) * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t tile =
      std::clamp<std::int64_t>(memory_bytes / 4 / std::max(threads, 1) / row_bytes, 1, 512);
  parallel_for((n + tile - 1) / tile, threads, [&](std::int64_t t) {
    const std::int64_t begin = t * tile, count = std::min(tile, n - begin);
    std::vector<float> presence(static_cast<std::size_t>(count * cols));
    presence_->read(Ids(rows.data() + begin, count), Columns(used), presence.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const float* p = presence.data() + i * cols;
      float* row = out + (begin + i) * k;
      for (std::int64_t j = 0; j < k; ++j) {
        const std::size_t unit = begin_unit + static_cast<std::size_t>(j);
        if (status_[unit] != Status::ok) continue;
        const Column& column = columns_[unit];
        double sum = column.bias;
        for (const auto& [index, weight] : column.terms)
          sum += weight * p[place_of[static_cast<std::size_t>(index)]];
        row[j] = static_cast<float>(column.link(sum));
      }
    }
  });
  return predicted;
}

void simulate_all(const Simulation& simulation, const std::vector<Explanation>& explanations,
                  const torch::Tensor& activations, const Rows& rows, const PluginContext& context,
                  std::vector<Status>& status, const SimulatedBlock& block) {
  simulate_share(simulation, explanations, {0, static_cast<std::int64_t>(explanations.size())},
                 activations, rows, context, status, block);
}

namespace {

/// activations[rows, units], reading no more of a row than lies between the first unit and the
/// last.
torch::Tensor values_of(const torch::Tensor& activations, const Rows& rows,
                        std::vector<std::int64_t> units) {
  const auto [first, last] = std::minmax_element(units.begin(), units.end());
  const std::int64_t begin = *first;
  const torch::Tensor part = copy_rows(activations, rows, begin, *last + 1 - begin);
  bool as_they_are = part.size(1) == static_cast<std::int64_t>(units.size());
  for (std::size_t i = 0; i < units.size(); ++i) {
    units[i] -= begin;
    as_they_are = as_they_are && units[i] == static_cast<std::int64_t>(i);
  }
  if (as_they_are) return part;
  return part.index_select(1, torch::tensor(units, torch::kInt64));
}

}  // namespace

void simulate_share(const Simulation& simulation, const std::vector<Explanation>& explanations,
                    Share share, const torch::Tensor& activations, const Rows& rows,
                    const PluginContext& context, std::vector<Status>& status,
                    const SimulatedBlock& block) {
  const RunSettings& run = context.run();
  // Predictions and their pair of activations for as many units as fit into a quarter of the
  // memory.
  const std::int64_t at_once = std::max<std::int64_t>(
      1, run.memory_bytes / 16 / std::max<std::int64_t>(static_cast<std::int64_t>(rows.size()), 1) /
             4);
  for (std::int64_t first = share.begin; first < share.end; first += at_once) {
    check_cancelled(context);
    const auto begin = static_cast<std::size_t>(first),
               end = static_cast<std::size_t>(std::min(share.end, first + at_once));
    std::vector<std::int64_t> units;
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t unit = explanations[i].unit;
      const bool exists = unit >= 0 && unit < activations.size(1);
      units.push_back(exists ? unit : 0);
      if (!exists) status[i] = Status::unknown_unit;
    }
    block(begin, simulation.predict(rows, begin, end, run.threads, run.memory_bytes),
          values_of(activations, rows, std::move(units)));
  }
}

}  // namespace linex
