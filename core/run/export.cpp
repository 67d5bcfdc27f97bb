#include "core/run/export.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/report/plots.hpp"
#include "core/report/unit_details.hpp"
#include "core/run/pdf.hpp"
#include "linex/error.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/npy.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/stats.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/explanations/in_words.hpp"
#include "toolkit/probe/exemplars.hpp"

namespace linex {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::string line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Layers in their order, each with the positions of its explanations.
std::vector<std::pair<std::string, std::vector<std::size_t>>> by_layer(
    const ExplanationFile& file) {
  std::vector<std::pair<std::string, std::vector<std::size_t>>> layers;
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const auto found = std::find_if(layers.begin(), layers.end(), [&](const auto& entry) {
      return entry.first == file.layers[i];
    });
    if (found == layers.end())
      layers.push_back({file.layers[i], {i}});
    else
      found->second.push_back(i);
  }
  return layers;
}

/// "striped (62 %), red (38 %)", or the text.
std::string describe(const Explanation& explanation) {
  if (explanation.terms.empty()) return explanation.text;
  double total = 0;
  for (const auto& term : explanation.terms) total += std::max(term.weight, 0.0);
  std::vector<std::string> parts;
  for (const auto& term : explanation.terms)
    if (term.weight > 0)
      parts.push_back(
          term.concept_name +
          (explanation.terms.size() == 1
               ? ""
               : " (" + std::to_string(std::lround(100 * term.weight / total)) + " %)"));
  return join(parts, ", ");
}

std::string escape_latex(const std::string& text) {
  std::string escaped;
  for (const char c : text) switch (c) {
      case '\\':
        escaped += "\\textbackslash{}";
        break;
      case '~':
        escaped += "\\textasciitilde{}";
        break;
      case '^':
        escaped += "\\textasciicircum{}";
        break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        escaped += '\\';
        [[fallthrough]];
      default:
        escaped += c;
    }
  return escaped;
}

std::string decimals(double value, int places) {
  if (!std::isfinite(value)) return "--";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", places, value);
  return text;
}

/// A name that is one component of a path.
std::string file_name(const std::string& layer) {
  std::string name = layer.empty() ? "layer" : layer;
  for (char& c : name)
    if (c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20) c = '_';
  return name == "." || name == ".." ? "_" : name;
}

std::vector<std::int64_t> units_of(const ExplanationFile& file,
                                   const std::vector<std::size_t>& rows) {
  std::set<std::int64_t> units;
  for (const std::size_t i : rows) units.insert(file.explanations[i].unit);
  return {units.begin(), units.end()};
}

void write_exemplars(const fs::path& folder, const std::string& layer,
                     const std::vector<std::int64_t>& units, const Source& source,
                     const PluginContext& context) {
  UnitMaps maps(*source.model.object, source.data, layer, units, context);
  const Exemplars found = find_exemplars(maps, {});
  const Preprocess preprocess = source.model.object->preprocess();
  const std::int64_t k = found.rows.size(1), count = found.rows.size(0);
  const auto first = resize_and_crop(source.data->pixels(0), preprocess);
  const std::int64_t height = first.size(0), width = first.size(1);
  const double bytes = static_cast<double>(count * k) * 4.0 * static_cast<double>(height * width);
  if (bytes > static_cast<double>(context.run().memory_bytes))
    throw input_error("export exemplars: images and masks of " + std::to_string(count) +
                      " units are " + significant(bytes / 1e9) +
                      " GB, more than run.memory; explain fewer units (run.units) or raise it");
  torch::Tensor images = torch::empty({count, k, 3, height, width}, torch::kUInt8);
  torch::Tensor masks = torch::empty({count, k, 1, height, width}, torch::kUInt8);
  const auto progress = context.progress("exemplars of " + layer, count, "units");
  parallel_for(count, context.run().threads, [&](std::int64_t u) {
    check_cancelled(context);
    for (std::int64_t i = 0; i < k; ++i) {
      const auto row = found.rows[u][i].item<std::int64_t>();
      const auto pixels = resize_and_crop(source.data->pixels(row), preprocess);
      if (pixels.size(0) != height || pixels.size(1) != width)
        throw input_error("export exemplars: image " + source.data->name(row) +
                          " has another size than the first; set model.resize and model.crop");
      images[u][i].copy_(pixels.permute({2, 0, 1}));
      masks[u][i][0].copy_(
          exemplar_mask(found.maps[u][i], found.level[u].item<float>(), height, width));
    }
    progress->advance(1);
  });
  std::string ids, peaks;
  for (std::int64_t u = 0; u < count; ++u)
    for (std::int64_t i = 0; i < k; ++i) {
      const char* end = i + 1 < k ? "," : "\n";
      ids += std::to_string(found.rows[u][i].item<std::int64_t>()) + end;
      peaks += format_number(found.peaks[u][i].item<float>()) + end;
    }
  make_own_folder(folder);
  write_npy(folder / "images.npy", images);
  write_npy(folder / "masks.npy", masks);
  write_npy(folder / "units.npy", torch::tensor(units, torch::kInt64));
  write_file_atomic(folder / "ids.csv", ids);
  write_file_atomic(folder / "activations.csv", peaks);
}

/// Test correlations by rank: what the report's overview shows.
std::string score_figure(const ExplanationFile& file) {
  std::vector<PlotLine> lines;
  std::size_t longest = 0;
  for (const auto& [layer, rows] : by_layer(file))
    for (const auto& score : file.scores) {
      if (score.name != "sim correlation") continue;
      PlotLine line{layer, {}, {}};
      for (const std::size_t i : rows)
        if (std::isfinite(score.value[i])) line.y.push_back(std::clamp(score.value[i], 0.0, 1.0));
      std::sort(line.y.rbegin(), line.y.rend());
      longest = std::max(longest, line.y.size());
      if (!line.y.empty()) lines.push_back(std::move(line));
    }
  if (lines.empty()) return "";
  std::vector<double> rank;
  for (std::size_t i = 1; i <= longest; ++i) rank.push_back(static_cast<double>(i));
  // A shorter layer ends where its units do.
  for (auto& line : lines) line.y.resize(longest, line.y.back());
  return share_plot("Test correlation of units, best first", "rank", "correlation", rank, lines);
}

/// Writes them into `folder` and returns their names without extension.
std::vector<std::string> write_figures(const fs::path& folder, const ExplanationFile& file,
                                       const Source& source, const RecordedLayers& recorded) {
  std::vector<std::string> names;
  const auto write = [&](const std::string& name, const std::string& figure) {
    write_file_atomic(folder / (name + ".svg"), figure);
    names.push_back(name);
  };
  make_own_folder(folder);
  if (const std::string figure = score_figure(file); !figure.empty()) write("scores", figure);
  if (!source.data || source.data->labels().empty()) return names;
  for (const auto& [layer, rows] : by_layer(file))
    for (std::size_t l = 0; l < source.layers.size(); ++l) {
      if (source.layers[l] != layer) continue;
      for (const auto unit : units_of(file, rows)) {
        if (unit < 0 || unit >= recorded.layers[l].size(1)) continue;
        const auto composition =
            class_composition(recorded.layers[l].select(1, unit), source.data->labels(),
                              source.data->class_names(), 8, 6);
        if (composition.counts.empty()) continue;
        write(file_name(layer) + "-" + std::to_string(unit),
              composition_plot("Unit " + std::to_string(unit) + " of " + layer, composition));
      }
    }
  return names;
}

void write_pdfs(const fs::path& folder, const fs::path& figures,
                const std::vector<std::string>& names, const PluginContext& context) {
  make_own_folder(folder);
  const auto count = static_cast<std::int64_t>(names.size());
  const auto progress = context.progress("figures as PDF", count, "figures");
  parallel_for(count, context.run().threads, [&](std::int64_t i) {
    check_cancelled(context);
    const std::string& name = names[static_cast<std::size_t>(i)];
    write_pdf(figures / (name + ".svg"), folder / (name + ".pdf"));
    progress->advance(1);
  });
}

}  // namespace

const std::vector<std::string>& export_formats() {
  static const std::vector<std::string> all{"jsonl", "neuronpedia", "exemplars",
                                            "latex", "svg",         "pdf"};
  return all;
}

std::vector<std::string> parse_export_formats(const std::string& list) {
  std::vector<std::string> formats;
  for (const auto& part : split(list, ',')) {
    const std::string format = trim(part);
    const auto& known = export_formats();
    if (std::find(known.begin(), known.end(), format) == known.end())
      throw usage_error("export: there is no format '" + printable(format) + "'" +
                        did_you_mean(format, known) + " (" + join(known, ", ") + ")");
    formats.push_back(format);
  }
  return formats;
}

std::string to_jsonl(const ExplanationFile& file) {
  std::string text;
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const auto& explanation = file.explanations[i];
    Json object{{"layer", file.layers[i]},
                {"unit", explanation.unit},
                {"status", to_string(explanation.status)},
                {"terms", Json::array()},
                {"bias", number(explanation.bias)},
                {"text", explanation.text},
                {"val_correlation", number(explanation.val_correlation)},
                {"scores", Json::object()}};
    for (const auto& term : explanation.terms)
      object["terms"].push_back({{"concept", term.concept_name}, {"weight", number(term.weight)}});
    for (const auto& score : file.scores)
      object["scores"][score.name] = i < score.value.size() ? number(score.value[i]) : Json();
    text += line(object);
  }
  return text;
}

std::string to_neuronpedia(const ExplanationFile& file, const std::string& model,
                           const std::string& method) {
  std::string text;
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const std::string description = describe(file.explanations[i]);
    if (description.empty()) continue;
    text += line({{"modelId", model},
                  {"layer", file.layers[i]},
                  {"index", std::to_string(file.explanations[i].unit)},
                  {"description", description},
                  {"typeName", "linex"},
                  {"explanationModelName", method}});
  }
  return text;
}

std::string to_latex(const ExplanationFile& file) {
  std::string text = "% \\usepackage{booktabs,longtable}\n\\begin{tabular}{l";
  text += std::string(file.scores.size() + 1, 'r') + "}\n\\toprule\nlayer & units";
  for (const auto& score : file.scores) text += " & " + escape_latex(score.name);
  text += " \\\\\n\\midrule\n";
  for (const auto& [layer, rows] : by_layer(file)) {
    text += escape_latex(layer) + " & " + std::to_string(rows.size());
    for (const auto& score : file.scores) {
      std::vector<double> values;
      for (const std::size_t i : rows)
        if (i < score.value.size()) values.push_back(score.value[i]);
      const MeanSem mean = mean_sem(values);
      text += " & $" + decimals(mean.mean, 4) + " \\pm " + decimals(mean.sem, 4) + "$";
    }
    text += " \\\\\n";
  }
  text +=
      "\\bottomrule\n\\end{tabular}\n\n\\begin{longtable}{lrp{0.6\\linewidth}r}\n\\toprule\n"
      "layer & unit & explanation & correlation \\\\\n\\midrule\n\\endhead\n";
  for (std::size_t i = 0; i < file.explanations.size(); ++i) {
    const auto& explanation = file.explanations[i];
    double correlation = explanation.val_correlation;
    for (const auto& score : file.scores)
      if (score.name == "sim correlation" && i < score.value.size()) correlation = score.value[i];
    std::vector<std::string> terms;
    for (const auto& term : explanation.terms)
      terms.push_back("$" + significant(term.weight) + "\\cdot{}$" +
                      escape_latex(term.concept_name));
    const std::string what =
        !terms.empty() ? join(terms, " $+$ ")
                       : escape_latex(explanation.text.empty() ? to_string(explanation.status)
                                                               : explanation.text);
    text += escape_latex(file.layers[i]) + " & " + std::to_string(explanation.unit) + " & " + what +
            " & " + decimals(correlation, 3) + " \\\\\n";
  }
  return text + "\\bottomrule\n\\end{longtable}\n";
}

fs::path export_run(const std::string& format, const fs::path& folder, const ExplanationFile& file,
                    const std::string& method, Workplace& place) {
  make_own_folder(folder);
  const auto write = [&](const char* name, const std::string& content) {
    write_file_atomic(folder / name, content);
    return folder / name;
  };
  if (format == "jsonl") return write("explanations.jsonl", to_jsonl(file));
  if (format == "latex") return write("explanations.tex", to_latex(file));
  if (format == "neuronpedia")
    return write("neuronpedia.jsonl",
                 to_neuronpedia(file, place.options("model").text("plugin"), method));
  if (format == "pdf") need_pdf_converter();
  const auto data = place.open_data();
  const Source source = open_source(place, data);
  if (format == "svg" || format == "pdf") {
    StageClock clock;
    const auto names = write_figures(folder / "svg", file, source,
                                     record_activations(place, source, clock, false));
    if (format == "pdf") write_pdfs(folder / "pdf", folder / "svg", names, place.context());
    return folder / format;
  }
  if (!data || source.recorded.defined())
    throw input_error(
        "export exemplars: recorded activations have no network to show where in an "
        "image a unit is active; jsonl, neuronpedia, latex, svg and pdf do without");
  for (const auto& [layer, rows] : by_layer(file))
    if (std::find(source.layers.begin(), source.layers.end(), layer) != source.layers.end())
      write_exemplars(folder / "exemplars" / file_name(layer), layer, units_of(file, rows), source,
                      place.context());
  return folder / "exemplars";
}

}  // namespace linex
