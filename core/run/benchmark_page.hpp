// A benchmark as a page: the table as bars with errors, and the way to each network's report.
#pragma once

#include <map>
#include <string>

#include "core/run/benchmark_table.hpp"

namespace linex {

/// One HTML file that opens from disk. `reports`: where the page of a network (as the table calls
/// it) lies, relative to this page, as a path; networks without one get no link.
std::string benchmark_page(const BenchmarkTable& table,
                           const std::map<std::string, std::string>& reports);

}  // namespace linex
