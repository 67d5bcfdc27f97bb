// What every model must do.
#include <set>

#include "conformance_runner.hpp"
#include "conformance_world.hpp"

namespace linex::conformance {
namespace {

torch::Tensor make_images(const Preprocess& preprocess, std::int64_t count) {
  const std::int64_t side = preprocess.crop > 0   ? preprocess.crop
                            : preprocess.size > 0 ? preprocess.size
                                                  : 32;
  Noise noise(31);
  const torch::Tensor images = torch::empty({count, 3, side, side});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data_ptr<float>()[i] = static_cast<float>(2 * noise.next() - 1);
  return images;
}

bool close(const torch::Tensor& a, const torch::Tensor& b, double tolerance) {
  if (!a.sizes().equals(b.sizes())) return false;
  const double scale = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() <= tolerance * (1e-6 + scale);
}

void check_recorded(Runner& runner, const torch::Tensor& recorded) {
  runner.run("recorded activations", [&] {
    require(recorded.dim() >= 2 && recorded.dim() <= 4 && recorded.scalar_type() == torch::kFloat,
            "not float32 (N, K), (N, T, K) or (N, K, H, W)");
    require(recorded.numel() > 0, "they are empty");
  });
}

}  // namespace

std::vector<Check> check_model(const Make<TargetModel>& make, const Setup& setup) {
  Runner runner(setup);
  const TestContext context(setup.options);
  std::shared_ptr<TargetModel> model;
  if (!runner.open("create", [&] { model = make(context); })) return runner.finish();

  torch::Tensor recorded;
  runner.run("recorded", [&] { recorded = model->recorded(); });
  if (recorded.defined()) {
    check_recorded(runner, recorded);
    return runner.finish();
  }

  torch::Tensor images;
  std::vector<std::string> ends;  // first and last layer
  ForwardResult expected;
  const bool runs = runner.open("forward", [&] {
    const auto layers = model->layers();
    require(!layers.empty(), "there is no layer");
    require(std::set<std::string>(layers.begin(), layers.end()).size() == layers.size(),
            "two layers have the same name");
    images = make_images(model->preprocess(), 2);
    ends = {layers.front(), layers.back()};
    if (layers.size() == 1) ends.pop_back();
    expected = model->forward(images, ends, true);
  });
  if (!runs) return runner.finish();

  const double tolerance = setup.quirks.tolerance;
  const bool has_logits = expected.logits.defined();
  runner.run("shapes", [&] {
    require(expected.layers.size() == ends.size(), "another number of layers than asked for");
    for (const torch::Tensor& layer : expected.layers) {
      require(layer.scalar_type() == torch::kFloat, "a layer is not float32");
      require(layer.dim() >= 2 && layer.dim() <= 4 && layer.size(0) == 2,
              "a layer is not (n, C, H, W), (n, T, D) or (n, D)");
      require(torch::isfinite(layer).all().item<bool>(), "a layer is not finite");
    }
    require(!has_logits || (expected.logits.dim() == 2 && expected.logits.size(0) == 2),
            "logits are not (n, classes)");
  });
  runner.run("same input, same bytes", [&] {
    const ForwardResult again = make(context)->forward(images, ends, true);
    for (std::size_t i = 0; i < ends.size(); ++i)
      require(torch::equal(again.layers[i], expected.layers[i]), "layer " + ends[i] + " differs");
    require(!has_logits || torch::equal(again.logits, expected.logits), "logits differ");
  });
  runner.run("one image alone", [&] {
    const ForwardResult alone = model->forward(images.narrow(0, 1, 1), ends, false);
    for (std::size_t i = 0; i < ends.size(); ++i)
      require(close(alone.layers[i], expected.layers[i].narrow(0, 1, 1), tolerance),
              "layer " + ends[i] + " depends on the other images of its batch");
  });
  runner.run("unknown layer", [&] {
    try {
      model->forward(images, {"no.such.layer"}, false);
    } catch (const Error& error) {
      require(error.kind() == ErrorKind::input || error.kind() == ErrorKind::usage,
              "another kind of error");
      return;
    }
    throw Failure{"was accepted"};
  });
  runner.run("fingerprint", [&] {
    require(!model->fingerprint().empty(), "it is empty");
    require(model->fingerprint() == make(context)->fingerprint(), "it changes");
  });
  runner.run("preferred batch", [&] { require(model->preferred_batch() > 0, "it is below 1"); });
  runner.run("replacing a layer by itself changes nothing", [&] {
    if (!has_logits) throw Skip{"it has no logits"};
    for (std::size_t i = 0; i < ends.size(); ++i) {
      const auto tail = model->split(images, ends[i]);
      require(tail != nullptr, "split() is null");
      const torch::Tensor own = tail->activation();
      require(close(own, expected.layers[i], tolerance), "activation() is not layer " + ends[i]);
      require(torch::equal(tail->logits(own), expected.logits), "logits differ at " + ends[i]);
      require(close(tail->logits(torch::cat({own, own})),
                    torch::cat({expected.logits, expected.logits}), tolerance),
              "stacked variants differ at " + ends[i]);
    }
  });
  runner.run("linear head", [&] {
    if (!has_logits) throw Skip{"it has no logits"};
    bool found = false;
    for (const std::string& layer : model->layers()) {
      const LinearHead head = model->linear_head(layer);
      if (!head.weight.defined()) continue;
      found = true;
      torch::Tensor pooled = model->forward(images, {layer}, false).layers.at(0);
      if (pooled.dim() == 4) pooled = pooled.mean({2, 3});
      torch::Tensor logits = torch::matmul(pooled, head.weight.t());
      if (head.bias.defined()) logits = logits + head.bias;
      require(close(logits, expected.logits, tolerance), "of " + layer + " gives other logits");
    }
    if (!found) throw Skip{"it states none"};
  });
  return runner.finish();
}

}  // namespace linex::conformance
