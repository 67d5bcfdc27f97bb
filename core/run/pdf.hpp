// Figures as PDF, by librsvg's program.
#pragma once

#include <filesystem>

namespace linex {

/// Throws Error(input) saying what to install where rsvg-convert is not on PATH. Ask before long
/// work.
void need_pdf_converter();

/// Writes `pdf`, one page of the size of the figure `svg`, whole or not at all. Throws Error(input)
/// with the converter's words. May be called by several threads.
void write_pdf(const std::filesystem::path& svg, const std::filesystem::path& pdf);

}  // namespace linex
