#include "networks.hpp"

#include <cmath>

#include "linex/error.hpp"
#include "toolkit/base/random.hpp"

namespace linex {

namespace {

std::string sizes_text(torch::IntArrayRef sizes) {
  std::string text = "(";
  for (std::size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + ")";
}

/// A parameter of a loaded network, checked before anything is computed with it.
const torch::Tensor& need(Parameters& parameters, const std::string& name,
                          std::vector<std::int64_t> shape, const std::string& source) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) throw input_error(source + ": no parameter '" + name + "'");
  torch::Tensor& tensor = found->second;
  bool fits = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = tensor.size(static_cast<std::int64_t>(i)) > 0 &&
           (shape[i] < 0 || tensor.size(static_cast<std::int64_t>(i)) == shape[i]);
  if (!fits)
    throw input_error(source + ": parameter '" + name + "' has shape " +
                      sizes_text(tensor.sizes()) + ", not " + sizes_text(shape));
  if (!tensor.requires_grad()) tensor = tensor.to(torch::kFloat32).contiguous();
  return tensor;
}

torch::Tensor uniform(std::vector<std::int64_t> shape, double bound, Random& random) {
  torch::Tensor tensor = torch::empty(shape);
  float* const values = tensor.data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i)
    values[i] = static_cast<float>(random.uniform(-bound, bound));
  return tensor;
}

/// torch.nn.Linear's initialisation: U(±1/√in) for weight and bias.
void add_linear(Parameters& parameters, const std::string& name, std::int64_t out, std::int64_t in,
                Random& random) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  parameters[name + ".weight"] = uniform({out, in}, bound, random);
  parameters[name + ".bias"] = uniform({out}, bound, random);
}

void add_embedding(Parameters& parameters, std::int64_t words, std::int64_t size, Random& random) {
  torch::Tensor table = torch::empty({words, size});
  for (std::int64_t i = 0; i < table.numel(); ++i)
    table.data_ptr<float>()[i] = static_cast<float>(random.normal());
  parameters["embedding.weight"] = table;
}

/// Input, forget, cell and output gates, as torch.nn.LSTMCell stacks them.
CaptionDecoder::State lstm(const torch::Tensor& gates, const torch::Tensor& c) {
  const auto part = gates.chunk(4, 1);
  const auto cell = part[1].sigmoid() * c + part[0].sigmoid() * part[2].tanh();
  return {part[3].sigmoid() * cell.tanh(), cell};
}

}  // namespace

CaptionDecoder::Context CaptionDecoder::Context::select(const torch::Tensor& index) const {
  return {features.index_select(0, index), keys.index_select(0, index)};
}

CaptionDecoder::CaptionDecoder(Parameters parameters, std::int64_t vocabulary,
                               const std::string& source)
    : parameters_(std::move(parameters)) {
  const auto get = [&](const std::string& name, std::vector<std::int64_t> shape) -> const auto& {
    return need(parameters_, name, std::move(shape), source);
  };
  sizes_.vocabulary = vocabulary;
  sizes_.embedding = get("embedding.weight", {vocabulary, -1}).size(1);
  sizes_.hidden = get("init_h.0.weight", {-1, -1}).size(0);
  sizes_.features = parameters_.at("init_h.0.weight").size(1);
  sizes_.attention = get("attend.query_to_hidden.weight", {-1, sizes_.hidden}).size(0);
  const std::int64_t h = sizes_.hidden, d = sizes_.features, a = sizes_.attention;
  get("init_h.0.bias", {h});
  get("init_c.0.weight", {h, d});
  get("init_c.0.bias", {h});
  get("attend.query_to_hidden.bias", {a});
  get("attend.key_to_hidden.weight", {a, d});
  get("attend.key_to_hidden.bias", {a});
  get("attend.output.0.weight", {1, a});
  get("attend.output.0.bias", {1});
  get("feature_gate.0.weight", {d, h});
  get("feature_gate.0.bias", {d});
  get("lstm.weight_ih", {4 * h, sizes_.embedding + d});
  get("lstm.weight_hh", {4 * h, h});
  get("lstm.bias_ih", {4 * h});
  get("lstm.bias_hh", {4 * h});
  get("output.1.weight", {vocabulary, h});
  get("output.1.bias", {vocabulary});
}

Parameters CaptionDecoder::initial(const DecoderSizes& sizes, std::uint64_t seed) {
  Random random = Random::stream(seed, 0);
  Parameters parameters;
  const std::int64_t h = sizes.hidden, d = sizes.features, a = sizes.attention;
  add_embedding(parameters, sizes.vocabulary, sizes.embedding, random);
  add_linear(parameters, "init_h.0", h, d, random);
  add_linear(parameters, "init_c.0", h, d, random);
  add_linear(parameters, "attend.query_to_hidden", a, h, random);
  add_linear(parameters, "attend.key_to_hidden", a, d, random);
  add_linear(parameters, "attend.output.0", 1, a, random);
  add_linear(parameters, "feature_gate.0", d, h, random);
  const double bound = 1.0 / std::sqrt(static_cast<double>(h));
  parameters["lstm.weight_ih"] = uniform({4 * h, sizes.embedding + d}, bound, random);
  parameters["lstm.weight_hh"] = uniform({4 * h, h}, bound, random);
  parameters["lstm.bias_ih"] = uniform({4 * h}, bound, random);
  parameters["lstm.bias_hh"] = uniform({4 * h}, bound, random);
  add_linear(parameters, "output.1", sizes.vocabulary, h, random);
  return parameters;
}

CaptionDecoder::Context CaptionDecoder::attend_to(const torch::Tensor& features) const {
  return {features,
          at::linear(features, at("attend.key_to_hidden.weight"), at("attend.key_to_hidden.bias"))};
}

CaptionDecoder::State CaptionDecoder::start(const torch::Tensor& features) const {
  const auto mean = features.mean(1);
  return {at::linear(mean, at("init_h.0.weight"), at("init_h.0.bias")).tanh(),
          at::linear(mean, at("init_c.0.weight"), at("init_c.0.bias")).tanh()};
}

CaptionDecoder::Step CaptionDecoder::step(const Context& context, const torch::Tensor& words,
                                          const State& state) const {
  const auto query =
      at::linear(state.h, at("attend.query_to_hidden.weight"), at("attend.query_to_hidden.bias"));
  const auto energy = at::linear((query.unsqueeze(1) + context.keys).tanh(),
                                 at("attend.output.0.weight"), at("attend.output.0.bias"));
  const auto attention = energy.squeeze(2).softmax(1);
  const auto seen = (attention.unsqueeze(2) * context.features).sum(1);
  const auto gate =
      at::linear(state.h, at("feature_gate.0.weight"), at("feature_gate.0.bias")).sigmoid();
  const auto input = torch::cat({at("embedding.weight").index_select(0, words), gate * seen}, 1);
  const auto gates = at::linear(input, at("lstm.weight_ih"), at("lstm.bias_ih")) +
                     at::linear(state.h, at("lstm.weight_hh"), at("lstm.bias_hh"));
  const State next = lstm(gates, state.c);
  return {next.h, attention, next};
}

torch::Tensor CaptionDecoder::log_probabilities(const torch::Tensor& output) const {
  return at::linear(output, at("output.1.weight"), at("output.1.bias")).log_softmax(-1);
}

LanguageModel::LanguageModel(Parameters parameters, std::int64_t vocabulary,
                             const std::string& source)
    : parameters_(std::move(parameters)) {
  const auto get = [&](const std::string& name, std::vector<std::int64_t> shape) -> const auto& {
    return need(parameters_, name, std::move(shape), source);
  };
  sizes_.vocabulary = vocabulary;
  sizes_.embedding = get("embedding.weight", {vocabulary, -1}).size(1);
  sizes_.hidden = get("lstm.weight_hh_l0", {-1, -1}).size(1);
  const std::int64_t h = sizes_.hidden;
  for (sizes_.layers = 0; parameters_.count("lstm.weight_ih_l" + std::to_string(sizes_.layers)) > 0;
       ++sizes_.layers) {
    const std::string layer = "_l" + std::to_string(sizes_.layers);
    get("lstm.weight_ih" + layer, {4 * h, sizes_.layers == 0 ? sizes_.embedding : h});
    get("lstm.weight_hh" + layer, {4 * h, h});
    get("lstm.bias_ih" + layer, {4 * h});
    get("lstm.bias_hh" + layer, {4 * h});
  }
  if (sizes_.layers == 0) throw input_error(source + ": no parameter 'lstm.weight_ih_l0'");
  get("output.0.weight", {vocabulary, h});
  get("output.0.bias", {vocabulary});
}

Parameters LanguageModel::initial(const LanguageModelSizes& sizes, std::uint64_t seed) {
  Random random = Random::stream(seed, 1);
  Parameters parameters;
  const std::int64_t h = sizes.hidden;
  const double bound = 1.0 / std::sqrt(static_cast<double>(h));
  add_embedding(parameters, sizes.vocabulary, sizes.embedding, random);
  for (std::int64_t l = 0; l < sizes.layers; ++l) {
    const std::string layer = "_l" + std::to_string(l);
    parameters["lstm.weight_ih" + layer] =
        uniform({4 * h, l == 0 ? sizes.embedding : h}, bound, random);
    parameters["lstm.weight_hh" + layer] = uniform({4 * h, h}, bound, random);
    parameters["lstm.bias_ih" + layer] = uniform({4 * h}, bound, random);
    parameters["lstm.bias_hh" + layer] = uniform({4 * h}, bound, random);
  }
  add_linear(parameters, "output.0", sizes.vocabulary, h, random);
  return parameters;
}

torch::Tensor LanguageModel::log_probabilities(const torch::Tensor& words,
                                               const Dropout& dropout) const {
  const std::int64_t n = words.size(0), length = words.size(1);
  torch::Tensor input =
      parameters_.at("embedding.weight").index_select(0, words.reshape({-1})).view({n, length, -1});
  for (std::int64_t l = 0; l < sizes_.layers; ++l) {
    if (l > 0 && dropout) input = dropout(input);
    const std::string layer = "_l" + std::to_string(l);
    const auto& recurrent = parameters_.at("lstm.weight_hh" + layer);
    const auto& recurrent_bias = parameters_.at("lstm.bias_hh" + layer);
    const auto gates_in = at::linear(input, parameters_.at("lstm.weight_ih" + layer),
                                     parameters_.at("lstm.bias_ih" + layer));
    CaptionDecoder::State state{torch::zeros({n, sizes_.hidden}), torch::zeros({n, sizes_.hidden})};
    std::vector<torch::Tensor> outputs;
    for (std::int64_t t = 0; t < length; ++t) {
      state = lstm(gates_in.select(1, t) + at::linear(state.h, recurrent, recurrent_bias), state.c);
      outputs.push_back(state.h);
    }
    input = torch::stack(outputs, 1);
  }
  return at::linear(input, parameters_.at("output.0.weight"), parameters_.at("output.0.bias"))
      .log_softmax(-1);
}

torch::Tensor LanguageModel::score(const torch::Tensor& words, std::int64_t start,
                                   std::int64_t stop) const {
  const std::int64_t n = words.size(0), length = words.size(1);
  const auto inputs =
      torch::cat({torch::full({n, 1}, start, torch::kInt64), words.narrow(1, 0, length - 1)}, 1);
  const auto each = log_probabilities(inputs).gather(2, words.unsqueeze(2)).squeeze(2);
  const auto dense = each.contiguous();
  const auto ids = words.contiguous();
  torch::Tensor total = torch::zeros({n}, torch::kFloat64);
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = 0;
    bool stopped = false;
    for (std::int64_t t = 0; t < length; ++t) {
      sum += static_cast<double>(dense.data_ptr<float>()[i * length + t]);
      if (stopped) break;  // the one word after the stop
      stopped = ids.data_ptr<std::int64_t>()[i * length + t] == stop;
    }
    total.data_ptr<double>()[i] = sum;
  }
  return total;
}

}  // namespace linex
