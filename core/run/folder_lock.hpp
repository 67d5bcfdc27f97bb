// One run for one output folder.
#pragma once

#include <filesystem>
#include <memory>

namespace linex {

/// Held while a run writes into `folder`, through the file ".lock" in it, which says who holds it.
/// A killed process lets go of it by ending; what it left of half-written files is removed. Within
/// one process a folder may be locked again. Throws Error(input) where another process has it ("in
/// use by process 12 on HOST") or it cannot be written to.
std::shared_ptr<const void> lock_folder(const std::filesystem::path& folder);

}  // namespace linex
