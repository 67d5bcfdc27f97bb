#include "host/demo/world_methods.hpp"

#include "toolkit/base/files.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

namespace {

using Keys = std::map<std::string, std::string>;

Keys solved_by(const char* plugin) { return {{"plugin", plugin}}; }

/// The label maps of every aspect, as labeler.masks takes them.
Keys pixel_keys(const std::filesystem::path& world) {
  std::string folders;
  for (int aspect = 0; aspect < kAspects; ++aspect)
    folders +=
        (aspect ? "," : "") + (world / "masks" / to_string(static_cast<Aspect>(aspect))).string();
  return {{"plugin", "segmentation"},
          {"masks", folders},
          {"names", (world / "masks" / "names.txt").string()},
          {"ignore", "none"}};
}

/// Everything in the picture, 0 or 1.
Keys attribute_keys(const std::filesystem::path& world) {
  return {{"plugin", "recorded"},
          {"concepts", (world / "attributes.npy").string()},
          {"names", (world / "attribute_names.txt").string()}};
}

}  // namespace

std::map<std::string, std::string> siglip_keys(const MethodFiles& files) {
  return {{"plugin", "siglip"},
          {"weights", files.siglip->weights.string()},
          {"concepts", (files.world / "texts.txt").string()},
          {"a", format_number(files.siglip->sigmoid.a)},
          {"b", format_number(files.siglip->sigmoid.b)}};
}

std::vector<WorldMethod> world_methods(const MethodFiles& files) {
  const auto file = [&](const char* name) { return (files.world / name).string(); };
  const Keys label{{"plugin", "label"}, {"hierarchy", file("hierarchy.json")}};
  const Keys attributes = attribute_keys(files.world);
  // Sentences are judged by the words they share with a picture's own caption.
  const Keys captions{{"plugin", "captions"},
                      {"captions", file("captions.txt")},
                      {"names", file("attribute_names.txt")}};
  Keys milan{{"plugin", "milan"}, {"checkpoint", files.milan.string()}};
  if (!files.featurizer.empty()) milan["featurizer"] = files.featurizer.string();
  Keys single = solved_by("linear");
  single["max_length"] = "1";
  const char* everything = "everything in the picture";
  const char* seen = "words, as a small SigLIP sees";

  std::vector<WorldMethod> methods{{"Network Dissection", "net_dissect", "labelled pixels",
                                    pixel_keys(files.world), solved_by("net_dissect"), attributes},
                                   {"MILAN", "milan", "sentences", captions, milan, {}}};
  if (files.siglip) {
    Keys cosines = siglip_keys(files);
    cosines["presence"] = "cosine";
    methods.push_back({"CLIP-Dissect", "clip_dissect", seen, cosines, solved_by("clip_dissect"),
                       siglip_keys(files)});
  } else {
    methods.push_back(
        {"CLIP-Dissect", "clip_dissect", everything, attributes, solved_by("clip_dissect"), {}});
  }
  methods.push_back(
      {"LE(Label)", "label", "class labels and their groups", label, solved_by("linear"), {}});
  if (files.siglip)
    methods.push_back({"LE(SigLIP)", "siglip", seen, siglip_keys(files), solved_by("linear"), {}});
  methods.push_back(
      {"LE(attributes)", "attributes", everything, attributes, solved_by("linear"), {}});
  methods.push_back({"single concept", "single", everything, attributes, single, {}});
  return methods;
}

std::vector<WorldMethod> formula_methods(const MethodFiles& files) {
  const Keys attributes = attribute_keys(files.world);
  Keys compositional = solved_by("compositional");
  compositional["of"] = "maps";
  return {{"Compositional", "compositional", "labelled pixels", pixel_keys(files.world),
           compositional, attributes},
          {"INVERT", "invert", "everything in the picture", attributes, solved_by("invert"), {}}};
}

void write_texts(const World& world, const std::filesystem::path& folder) {
  std::string lines;
  for (const auto& attribute : World::attribute_names()) lines += attribute + "\n";
  for (const auto& name : world.class_names()) lines += name + "\n";
  write_file_atomic(folder / "texts.txt", lines);
}

}  // namespace linex
