#include "toolkit/math/link.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "toolkit/base/text.hpp"

namespace linex {

double Link::operator()(double z) const {
  switch (kind) {
    case Kind::relu:
      return std::max(z, 0.0);
    case Kind::softplus: {
      const double t = z / scale;
      return scale * (std::max(t, 0.0) + std::log1p(std::exp(-std::fabs(t))));
    }
    default:
      return z;
  }
}

double Link::slope(double z) const {
  switch (kind) {
    case Kind::relu:
      return z > 0 ? 1 : 0;
    case Kind::softplus:
      return 1 / (1 + std::exp(-z / scale));
    default:
      return 1;
  }
}

std::string to_text(const Link& link) {
  switch (link.kind) {
    case Link::Kind::relu:
      return "relu";
    case Link::Kind::softplus:
      return "softplus(" + format_number(link.scale) + ")";
    default:
      return "";
  }
}

std::optional<Link> link_from_text(const std::string& text) {
  if (text.empty()) return Link{};
  if (text == "relu") return Link{Link::Kind::relu, 1};
  const std::string head = "softplus(";
  if (text.compare(0, head.size(), head) != 0 || text.back() != ')') return std::nullopt;
  Link link{Link::Kind::softplus, 0};
  const char* const end = text.data() + text.size() - 1;
  const auto read = std::from_chars(text.data() + head.size(), end, link.scale);
  if (read.ec != std::errc() || read.ptr != end || !(link.scale > 0) || !std::isfinite(link.scale))
    return std::nullopt;
  return link;
}

}  // namespace linex
