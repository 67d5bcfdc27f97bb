// Names of Broden's labels (docs/methods.md §1.15, §2.2).
#pragma once

#include <set>
#include <string>

namespace linex {

/// A Broden label as words: "black-c" to "black color", "field-cultivated-s" to "field,
/// cultivated", "door_frame" to "door frame". A scene whose name is among `others` (plain names of
/// other labels) becomes "aqueduct(scene)". Unlike the published cleaning (§1.16.8), which made
/// "plastic-clear" "plastic colorlear", only a suffix is a suffix.
std::string plain_label(const std::string& label, const std::set<std::string>& others = {});

/// Whether the label is a scene's ("…-s").
bool is_scene_label(const std::string& label);

}  // namespace linex
