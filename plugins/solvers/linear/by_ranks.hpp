// Units dealt to the ranks of a cluster.
#pragma once

#include <string>
#include <vector>

#include "linex/cluster.hpp"
#include "toolkit/math/linear_explanations.hpp"

namespace linex {

/// explain() by the ranks of a cluster, each a share of the units, and all end with all. Where the
/// Gram matrix is lazy every rank solves all of them: its rows are what is shared then.
std::vector<Explanation> explain_shared(const Cluster& cluster, Regression& regression,
                                        const HeldOut& validation,
                                        const std::vector<std::string>& concept_names,
                                        std::int64_t begin, std::int64_t end,
                                        const LinearOptions& options, int threads,
                                        std::vector<Selection>& found);

}  // namespace linex
