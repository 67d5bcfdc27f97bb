#include "toolkit/explanations/explanation_bytes.hpp"

namespace linex {

void put(ByteWriter& bytes, const std::vector<Explanation>& explanations) {
  bytes.put(static_cast<std::uint64_t>(explanations.size()));
  for (const Explanation& explanation : explanations) {
    bytes.put(explanation.unit);
    bytes.put(static_cast<std::uint64_t>(explanation.terms.size()));
    for (const Term& term : explanation.terms) {
      bytes.put(term.concept_name);
      bytes.put(term.weight);
    }
    bytes.put(explanation.bias);
    bytes.put(explanation.text);
    bytes.put(explanation.status);
    bytes.put(explanation.val_correlation);
    bytes.put(explanation.objective);
    bytes.put(explanation.duality_gap);
    bytes.put(explanation.iterations);
  }
}

void take(ByteReader& bytes, std::vector<Explanation>& explanations) {
  explanations.resize(bytes.count(1));
  for (Explanation& explanation : explanations) {
    bytes.take(explanation.unit);
    explanation.terms.resize(bytes.count(1));
    for (Term& term : explanation.terms) {
      bytes.take(term.concept_name);
      bytes.take(term.weight);
    }
    bytes.take(explanation.bias);
    bytes.take(explanation.text);
    bytes.take(explanation.status);
    bytes.take(explanation.val_correlation);
    bytes.take(explanation.objective);
    bytes.take(explanation.duality_gap);
    bytes.take(explanation.iterations);
  }
}

void put(ByteWriter& bytes, const std::vector<ScoreColumn>& columns) {
  bytes.put(static_cast<std::uint64_t>(columns.size()));
  for (const ScoreColumn& column : columns) {
    bytes.put(column.name);
    bytes.put(column.higher_is_better);
    bytes.put(column.value);
    bytes.put(column.status);
    bytes.put(column.low);
    bytes.put(column.high);
    bytes.put(column.sanity);
  }
}

void take(ByteReader& bytes, std::vector<ScoreColumn>& columns) {
  columns.resize(bytes.count(1));
  for (ScoreColumn& column : columns) {
    bytes.take(column.name);
    bytes.take(column.higher_is_better);
    bytes.take(column.value);
    bytes.take(column.status);
    bytes.take(column.low);
    bytes.take(column.high);
    bytes.take(column.sanity);
  }
}

void put(ByteWriter& bytes, const SolveReport& report) {
  bytes.put(report.timings_s);
  bytes.put(report.figures);
}

void take(ByteReader& bytes, SolveReport& report) {
  bytes.take(report.timings_s);
  bytes.take(report.figures);
}

}  // namespace linex
