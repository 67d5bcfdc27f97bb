// Classes of images that no folder tells, as ImageNet's validation images come.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace linex {

struct GroundTruth {
  std::vector<std::int64_t> labels;      ///< one an image, in [0, class_names.size())
  std::vector<std::string> class_names;  ///< none of them empty
};

/// Reads what class each of `images` (names relative to the root, sorted) is of. `file` has a class
/// a line: one for each image in order, or "NAME CLASS" with a blank, tab, comma or semicolon
/// between, in any order (extensions and folders of NAME do not count; more words behind CLASS do
/// not either; a header line is known by its names). A class is a number or a synset or another
/// name; classes are numbered in sorted order of their names, numbers are taken as they are.
///
/// `classes`, if not empty, names them: lines "SYNSET NAME" or "SYNSET NUMBER NAME", or JSON
/// {"NUMBER": ["SYNSET", "NAME"], ...} or {"SYNSET": "NAME", ...}. Labels then are positions in the
/// sorted order of synsets, torchvision's. A ground truth of numbers needs NUMBERs in `classes`, or
/// a zero in itself to be read as lines of `classes`: the numbers from 1 of ILSVRC2012 are in no
/// other file's order.
///
/// Throws Error(input) naming file and line, or the image without a class.
GroundTruth read_ground_truth(const std::filesystem::path& file,
                              const std::filesystem::path& classes,
                              const std::vector<std::string>& images);

/// `written` (class folders, labels), each by its name in `classes` (as above) where that knows it
/// by synset, or by number (without NUMBERs: its place among the synsets, from 0); as they are
/// where `classes` is empty. Throws Error(input) where it knows none.
std::vector<std::string> called(const std::vector<std::string>& written,
                                const std::filesystem::path& classes);

}  // namespace linex
