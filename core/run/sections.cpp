#include "core/run/sections.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "linex/option.hpp"
#include "toolkit/base/text.hpp"

namespace linex {

const std::vector<Section>& sections() {
  using namespace option;
  constexpr auto no_limit = kMaxInteger;
  static const std::vector<Section> all{
      {"run",
       "",
       {path("out", "linex-out", "folder for everything the run writes"),
        integer("seed", 0, 0, no_limit, "the only source of randomness"),
        integer("threads", 0, 0, 4096, "threads to use; 0 = all"),
        text("device", "auto", "auto, cpu, cuda or cuda:N"),
        text("units", "", "units to explain, e.g. 0:64,100; all if empty"),
        integer("batch", 0, 0, 65536,
                "images a forward pass, on a CPU in whole sixteens; 0 = the model's choice"),
        choice("precision", "float", "float|bf16",
               "of networks that linex builds and of embeddings: bf16 is faster where the "
               "processor or GPU has it, and moves their values"),
        text("cache", "",
             "folder for content-keyed caches; empty = run.out/cache, none = no cache"),
        flag("resume", true, "go on with an interrupted run of the same configuration"),
        choice("report", "full", "full|plain|none",
               "report/index.html: with images and maps, without, or not at all"),
        real("memory", 0, 0, 1e6, "bound on large temporaries in GB; 0 = half of the machine"),
        choice(
            "cluster", "auto", "auto|none|mpi",
            "several processes for one run: where mpirun or srun started them, never, or always"),
        choice("log-level", "info", "trace|debug|info|warning|error|off",
               "least severe message shown")}},
      {"data",
       "",
       {choice("kind", "image_folder", "image_folder|cifar10|cifar100|places365|csv|webdataset",
               "layout of the data set"),
        path("root", "",
             "folder of the data set (csv: file; webdataset: or shards-{000..099}.tar); not needed "
             "for recorded matrices"),
        text("split", "0.7,0.1,0.2",
             "folder with {train,val,test}_ids.{npy,pt}, or fractions shuffled from run.seed"),
        integer("limit", 0, 0, no_limit,
                "use at most this many images, as many of each class, chosen by run.seed; 0 = all"),
        path("ground_truth", "",
             "image_folder without class folders: a class a line, in order, or 'NAME CLASS'"),
        path("classes", "",
             "image_folder, webdataset: names of its classes, lines 'SYNSET NAME' or a JSON class "
             "index"),
        choice("on_error", "fail", "fail|skip", "what to do with an image that cannot be read"),
        choice("verify", "entries", "entries|content",
               "know the images by their names, sizes and times, or read them all at the start"),
        choice("part", "test", "test|train", "which images of cifar10 or cifar100"),
        choice("labels", "fine", "fine|coarse", "classes of cifar100: its 100, or its 20 groups"),
        text("label", "",
             "webdataset: where a sample's class is, cls, json, json:KEY, txt or none; empty = the "
             "first of them that is there")}},
      {"model",
       "model",
       {text("plugin", "", "target model, linex list names them; auto = found from model.weights"),
        text("layer", "", "layer to explain, torchvision's module path; a comma list for several"),
        choice("pool", "avg", "avg|max|first", "from a unit's map or tokens to one number")}},
      {"units",
       "",
       {path("basis", "",
             "units of another basis than the layer's own: a sparse autoencoder's file or folder, "
             "or a matrix with one direction a row (.npy, .npz, .safetensors, .pt, FILE:NAME)"),
        choice("kind", "auto", "auto|directions|sae|pca",
               "what the basis is; pca needs no file: principal components of the training images"),
        choice("activation", "auto", "auto|identity|relu|topk|batch_topk|jumprelu",
               "what becomes of a unit's value; auto = as the file says"),
        integer("k", 0, 0, no_limit, "of topk; 0 = the file's"),
        real("components", 0, 0, 1e9,
             "pca: how many, or below 1 the share of variance to explain; otherwise only the first "
             "so many units (a Matryoshka prefix); 0 = all")}},
      {"labeler", "labeler", {text("plugin", "", "source of concepts")}},
      {"solver", "solver", {text("plugin", "linear", "how explanations are found")}},
      {"evaluator",
       "evaluator",
       {text("plugin", "simulation_correlation",
             "scores to compute, a comma list; none = no scores")}},
      {"simulator",
       "labeler",
       {text("plugin", "", "labeler that simulates; empty = the run's labeler")}},
  };
  return all;
}

const Section& section(const std::string& name) {
  for (const auto& entry : sections())
    if (entry.name == name) return entry;
  throw std::logic_error("no section " + name);
}

namespace {

/// "0.7,0.1,0.2" as data.split takes it.
bool are_fractions(const std::string& text) {
  return std::count(text.begin(), text.end(), ',') == 2 &&
         text.find_first_not_of("0123456789.,eE+- \t") == std::string::npos;
}

}  // namespace

std::string absolute_text(const linex_option_spec& spec, const std::string& host_section,
                          const std::string& text) {
  const auto absolute = [](const std::filesystem::path& path) {
    return path.empty() ? std::string() : std::filesystem::absolute(path).string();
  };
  const std::string key = host_section + "." + spec.name;
  // Two of the host's keys are files or something else.
  if (key == "run.cache") return text == "none" ? text : absolute(text);
  if (key == "data.split") return are_fractions(text) ? text : absolute(text);
  if (spec.type == LINEX_OPTION_PATH) return absolute(text);
  if (spec.type != LINEX_OPTION_PATHS) return text;
  std::vector<std::string> files;
  for (const auto& path : option::split_paths(text)) files.push_back(absolute(path));
  return join(files, ",");
}

}  // namespace linex
