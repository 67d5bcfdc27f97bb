#include "toolkit/explanations/simulate.hpp"

#include <algorithm>
#include <unordered_map>

#include "toolkit/base/parallel.hpp"

namespace linex {

Simulation::Simulation(const std::vector<Explanation>& explanations, ConceptLabeler& simulator)
    : status_(explanations.size(), Status::ok),
      unknown_(explanations.size()),
      columns_(explanations.size()) {
  std::vector<std::string> texts;
  std::unordered_map<std::string, std::int64_t> column_of;  // -1: the simulator does not know it
  const auto column = [&](const std::string& text) {
    const auto found = column_of.find(text);
    if (found != column_of.end()) return found->second;
    std::int64_t index = -1;
    if (simulator.knows(text)) {
      index = static_cast<std::int64_t>(texts.size());
      texts.push_back(text);
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
  if (!texts.empty()) presence_ = simulator.presence_of(texts);
}

torch::Tensor Simulation::predict(const Rows& rows, int threads, std::int64_t memory_bytes) const {
  const auto n = static_cast<std::int64_t>(rows.size()),
             k = static_cast<std::int64_t>(columns_.size());
  auto predicted = torch::full({n, k}, kNone, torch::kFloat32);
  if (!presence_) return predicted;
  float* out = predicted.data_ptr<float>();
  const std::int64_t cols = presence_->cols();
  const std::int64_t row_bytes =
      std::max<std::int64_t>(cols, 1) * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t tile =
      std::clamp<std::int64_t>(memory_bytes / 4 / std::max(threads, 1) / row_bytes, 1, 512);
  parallel_for((n + tile - 1) / tile, threads, [&](std::int64_t t) {
    const std::int64_t begin = t * tile, count = std::min(tile, n - begin);
    std::vector<float> presence(static_cast<std::size_t>(count * cols));
    presence_->read(Ids(rows.data() + begin, count), Columns::all(), presence.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const float* p = presence.data() + i * cols;
      float* row = out + (begin + i) * k;
      for (std::int64_t j = 0; j < k; ++j) {
        if (status_[static_cast<std::size_t>(j)] != Status::ok) continue;
        const Column& column = columns_[static_cast<std::size_t>(j)];
        double sum = column.bias;
        for (const auto& [index, weight] : column.terms) sum += weight * p[index];
        row[j] = static_cast<float>(sum);
      }
    }
  });
  return predicted;
}

}  // namespace linex
