#include "toolkit/net/image_options.hpp"

#include <cmath>
#include <cstdlib>

#include "linex/error.hpp"
#include "toolkit/base/text.hpp"

namespace linex {
namespace {

void read_triple(const std::string& text, const std::string& name, std::array<float, 3>& into) {
  if (text.empty()) return;
  const auto parts = linex::split(text, ',');
  bool good = parts.size() == 3;
  for (std::size_t i = 0; good && i < 3; ++i) {
    const std::string digits = trim(parts[i]);
    char* end = nullptr;
    into[i] = std::strtof(digits.c_str(), &end);
    good =
        !digits.empty() && *end == '\0' && std::isfinite(into[i]) && (name != "std" || into[i] > 0);
  }
  if (!good)
    throw usage_error("model." + name + "=" + text +
                      ": give three numbers, e.g. 0.485,0.456,0.406");
}

}  // namespace

bool tells_preprocess(const OptionValues& options) {
  return !options.text("mean").empty() || !options.text("std").empty() ||
         options.integer("resize") >= 0 || options.integer("crop") >= 0;
}

Preprocess override_preprocess(Preprocess preprocess, const OptionValues& options) {
  read_triple(options.text("mean"), "mean", preprocess.mean);
  read_triple(options.text("std"), "std", preprocess.std);
  if (const auto crop = options.integer("crop"); crop >= 0) preprocess.crop = crop;
  if (const auto size = options.integer("resize"); size >= 0) {
    preprocess.size = size;
    if (size == 0)
      preprocess.resize = Preprocess::Resize::none;
    else if (preprocess.resize == Preprocess::Resize::none)
      preprocess.resize = Preprocess::Resize::short_side;
  }
  const std::string& mode = options.text("resize_mode");
  if (mode != "auto" && preprocess.resize != Preprocess::Resize::none)
    preprocess.resize =
        mode == "squash" ? Preprocess::Resize::squash : Preprocess::Resize::short_side;
  const std::string& interpolation = options.text("interpolation");
  if (interpolation != "auto")
    preprocess.interpolation = interpolation == "bicubic" ? Preprocess::Interpolation::bicubic
                                                          : Preprocess::Interpolation::bilinear;
  return preprocess;
}

}  // namespace linex
