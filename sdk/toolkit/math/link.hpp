// A link: what bends the sum of an explanation's terms to what a rectified unit can be.
#pragma once

#include <optional>
#include <string>

namespace linex {

/// Prediction of a sum z, both in units of activation: z, max(z, 0), or scale·log(1 + e^(z/scale)).
struct Link {
  enum class Kind { identity, relu, softplus };
  Kind kind = Kind::identity;
  double scale = 1;  ///< of softplus; > 0

  double operator()(double z) const;
  /// Derivative; of relu at 0: 0.
  double slope(double z) const;
};

/// "relu", "softplus(0.25)" with the scale; "" for the identity.
std::string to_text(const Link& link);
/// Inverse of to_text; none for another text (a scale that is not a number above 0, too).
std::optional<Link> link_from_text(const std::string& text);

}  // namespace linex
