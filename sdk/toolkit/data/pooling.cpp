#include "toolkit/data/pooling.hpp"

#include <sstream>

#include "linex/error.hpp"

namespace linex {

torch::Tensor pool_output(const torch::Tensor& output, Pool pool, const std::string& layer) {
  const auto rank = output.dim();
  std::ostringstream shape;
  shape << output.sizes();
  if (rank < 2 || rank > 4)
    throw usage_error("layer " + layer + " gives " + shape.str() +
                      ", which is no map, token or vector output; choose another layer");
  if (pool == Pool::first && rank != 3)
    throw usage_error("model.pool=first takes the first of several tokens, but layer " + layer +
                      " gives " + shape.str() + "; use avg or max");
  torch::Tensor pooled = output;
  if (rank == 4) pooled = pool == Pool::avg ? output.mean({2, 3}) : output.amax({2, 3});
  if (rank == 3) {
    if (pool == Pool::first)
      pooled = output.select(1, 0);
    else
      pooled = pool == Pool::avg ? output.mean(1) : output.amax(1);
  }
  return pooled.to(torch::kFloat32).contiguous();
}

}  // namespace linex
