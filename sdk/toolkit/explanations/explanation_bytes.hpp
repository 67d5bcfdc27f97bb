// Explanations and scores as bytes, for ranks to tell each other: every bit comes back.
#pragma once

#include <string>
#include <vector>

#include "linex/data.hpp"
#include "linex/solver.hpp"
#include "toolkit/base/byte_stream.hpp"

namespace linex {

void put(ByteWriter& bytes, const std::vector<Explanation>& explanations);
void put(ByteWriter& bytes, const std::vector<ScoreColumn>& columns);
void put(ByteWriter& bytes, const SolveReport& report);

/// What put() wrote. Throws std::logic_error for other bytes.
void take(ByteReader& bytes, std::vector<Explanation>& explanations);
void take(ByteReader& bytes, std::vector<ScoreColumn>& columns);
void take(ByteReader& bytes, SolveReport& report);

}  // namespace linex
