// A finished run in the formats of others.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/run/run_stages.hpp"
#include "toolkit/explanations/explanation_csv.hpp"

namespace linex {

/// jsonl, neuronpedia, exemplars, latex, svg, pdf.
const std::vector<std::string>& export_formats();
/// The formats of a comma list. Throws Error(usage) with near names for an unknown one.
std::vector<std::string> parse_export_formats(const std::string& list);

/// One JSON object a unit: layer, unit, status, terms [{concept, weight}], bias, text,
/// val_correlation, scores {name: value}; what is not defined is null.
std::string to_jsonl(const ExplanationFile& file);
/// Rows of Neuronpedia's table of explanations: modelId, layer, index, description, typeName,
/// explanationModelName. The description is the terms with their shares of the positive weights.
/// Units without an explanation have no row.
std::string to_neuronpedia(const ExplanationFile& file, const std::string& model,
                           const std::string& method);
/// Means of the scores (one row a layer) and the explanations of all units, as two tables of the
/// booktabs package.
std::string to_latex(const ExplanationFile& file);

/// Writes one format into `folder` and returns what was written. `exemplars` needs a network and
/// images: for each layer images.npy uint8 (units, k, 3, H, W), masks.npy uint8 (units, k, 1, H,
/// W), activations.csv and ids.csv, one line of k a unit (MILAN's layout), and units.npy int64
/// (units). `pdf` writes the figures of `svg` too. Throws Error(input) where the run has not what a
/// format needs.
std::filesystem::path export_run(const std::string& format, const std::filesystem::path& folder,
                                 const ExplanationFile& file, const std::string& method,
                                 Workplace& place);

}  // namespace linex
