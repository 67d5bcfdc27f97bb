#include "milan.hpp"

#include <algorithm>
#include <unordered_map>

#include "linex/error.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/checkpoint/checkpoint.hpp"
#include "toolkit/checkpoint/checkpoint_writer.hpp"

namespace linex {

namespace {

constexpr std::size_t kMostWords = 1 << 20;

const PickleValue* property(const PickleValue* node, const char* name) {
  const PickleValue* properties = node ? node->get("properties") : nullptr;
  return properties ? properties->get(name) : nullptr;
}

std::vector<std::string> words_of(const PickleValue* indexer, const std::string& source) {
  const PickleValue* tokens = property(property(indexer, "vocab"), "tokens");
  if (!tokens || !(tokens->is(PickleValue::Kind::tuple) || tokens->is(PickleValue::Kind::list)))
    throw input_error(source +
                      ": no vocabulary at properties.indexer.vocab.tokens; this is no "
                      "checkpoint of MILAN");
  if (tokens->items.size() > kMostWords)
    throw input_error(source + ": a vocabulary of " + std::to_string(tokens->items.size()) +
                      " words");
  std::vector<std::string> words;
  for (const PickleValue* token : tokens->items) {
    if (!token->is(PickleValue::Kind::text))
      throw input_error(source + ": a word of the vocabulary is not text");
    words.push_back(token->text);
  }
  return words;
}

/// The tensors of a state dict whose names begin with `prefix`, without it.
Parameters take(const PickleValue& state, const std::string& prefix) {
  Parameters parameters;
  for (std::size_t i = 0; i + 1 < state.items.size(); i += 2) {
    const PickleValue &key = *state.items[i], &value = *state.items[i + 1];
    if (!key.is(PickleValue::Kind::text) || !value.tensor.defined()) continue;
    if (key.text.compare(0, prefix.size(), prefix) != 0) continue;
    parameters[key.text.substr(prefix.size())] = value.tensor;
  }
  return parameters;
}

std::int64_t integer_or(const PickleValue* value, std::int64_t fallback, std::int64_t most) {
  if (!value || !value->is(PickleValue::Kind::integer)) return fallback;
  return value->integer >= 1 && value->integer <= most ? value->integer : fallback;
}

/// The language model's rows in the decoder's order of words.
void reorder_language(Parameters& language, const std::vector<std::string>& words,
                      const std::vector<std::string>& its_words, const std::string& source) {
  if (words == its_words) return;
  std::unordered_map<std::string, std::int64_t> place;
  for (std::size_t i = 0; i < its_words.size(); ++i)
    place.emplace(its_words[i], static_cast<std::int64_t>(i));
  std::vector<std::int64_t> order;
  for (const auto& word : words) {
    const auto found = place.find(word);
    if (found == place.end() || words.size() != its_words.size())
      throw input_error(source + ": decoder and language model have different vocabularies");
    order.push_back(found->second);
  }
  for (std::size_t special = 0; special < 4; ++special)
    order.push_back(static_cast<std::int64_t>(words.size() + special));
  for (const char* name : {"embedding.weight", "output.0.weight", "output.0.bias"}) {
    const auto found = language.find(name);
    if (found == language.end() || found->second.dim() < 1 ||
        found->second.size(0) != static_cast<std::int64_t>(order.size()))
      throw input_error(source + ": the language model's '" + name +
                        "' does not fit its vocabulary");
    found->second = found->second.index_select(0, torch::tensor(order));
  }
}

CheckpointNode nested(CheckpointNode::Dict properties) {
  return CheckpointNode::Dict{{"properties", std::move(properties)},
                              {"children", CheckpointNode::Dict{}}};
}

CheckpointNode indexer_node(const Vocabulary& vocabulary) {
  CheckpointNode::List tokens;
  for (const auto& word : vocabulary.words()) tokens.emplace_back(word);
  CheckpointNode::Dict properties{{"vocab", nested({{"tokens", std::move(tokens)}})}};
  for (const char* special : {"start", "stop", "pad", "unk"})
    properties.emplace_back(special, true);
  return nested(std::move(properties));
}

}  // namespace

Milan load_milan(const std::filesystem::path& path) {
  const Checkpoint checkpoint = load_checkpoint(path);
  const std::string source = path.string();
  const PickleValue& root = checkpoint.root();
  const PickleValue* state = root.get("state_dict");
  if (!root.get("properties") || !state || !state->is(PickleValue::Kind::dict))
    throw input_error(source +
                      ": no {properties, children, state_dict}; this is no checkpoint of "
                      "MILAN");
  Milan milan;
  const auto words = words_of(property(&root, "indexer"), source);
  milan.vocabulary = Vocabulary(words);
  milan.length = integer_or(property(&root, "length"), milan.length, 1000);
  milan.beam = integer_or(property(&root, "beam_size"), milan.beam, 100000);
  if (const auto* temperature = property(&root, "temperature");
      temperature && temperature->is(PickleValue::Kind::real) && temperature->real >= 0)
    milan.temperature = temperature->real;
  const PickleValue* encoder = property(&root, "encoder");
  if (const auto* config = property(property(encoder, "featurizer"), "config");
      config && config->is(PickleValue::Kind::text))
    milan.encoder = config->text;
  if (const auto* layers = property(encoder, "layers"))
    for (const PickleValue* layer : layers->items)
      if (layer->is(PickleValue::Kind::text)) milan.feature_layers.push_back(layer->text);

  milan.decoder = take(*state, "");
  for (auto it = milan.decoder.begin(); it != milan.decoder.end();)
    it = it->first.compare(0, 3, "lm.") == 0 || it->first.compare(0, 8, "encoder.") == 0
             ? milan.decoder.erase(it)
             : std::next(it);
  milan.language = take(*state, "lm.");
  const PickleValue* language = property(&root, "lm");
  if (!milan.language.empty() && language && language->is(PickleValue::Kind::dict))
    reorder_language(milan.language, words, words_of(property(language, "indexer"), source),
                     source);
  // Checks names and shapes now, and keeps nothing of the mapped file.
  milan.decoder = CaptionDecoder(milan.decoder, milan.vocabulary.size(), source).parameters();
  if (!milan.language.empty())
    milan.language = LanguageModel(milan.language, milan.vocabulary.size(), source).parameters();
  for (auto* parameters : {&milan.decoder, &milan.language})
    for (auto& [name, tensor] : *parameters) tensor = tensor.clone();
  return milan;
}

void save_milan(const std::filesystem::path& path, const Milan& milan) {
  CheckpointNode::List layers;
  for (const auto& layer : milan.feature_layers) layers.emplace_back(layer);
  CheckpointNode::Dict properties{{"indexer", indexer_node(milan.vocabulary)},
                                  {"encoder", nested({{"layers", std::move(layers)}})},
                                  {"length", milan.length},
                                  {"beam_size", milan.beam},
                                  {"temperature", milan.temperature}};
  CheckpointNode::Dict state;
  for (const auto& [name, tensor] : milan.decoder) state.emplace_back(name, tensor);
  if (!milan.language.empty()) {
    properties.emplace_back("lm", nested({{"indexer", indexer_node(milan.vocabulary)}}));
    for (const auto& [name, tensor] : milan.language) state.emplace_back("lm." + name, tensor);
  }
  save_checkpoint(path, CheckpointNode::Dict{{"properties", std::move(properties)},
                                             {"children", CheckpointNode::Dict{}},
                                             {"state_dict", std::move(state)}});
}

Captioner::Captioner(const Milan& milan, const CaptionOptions& options, const std::string& source)
    : vocabulary_(milan.vocabulary),
      decoder_(milan.decoder, milan.vocabulary.size(), source),
      strategy_(options.strategy),
      temperature_(options.temperature < 0 ? milan.temperature : options.temperature) {
  if (!milan.language.empty()) language_.emplace(milan.language, milan.vocabulary.size(), source);
  // As published: without a language model there is nothing to re-rank with.
  if (!language_ && strategy_ == CaptionStrategy::rerank) strategy_ = CaptionStrategy::beam;
  beam_.beam = options.beam > 0 ? options.beam : milan.beam;
  beam_.length = options.length > 0 ? options.length : milan.length;
  beam_.start = vocabulary_.start();
  beam_.stop = vocabulary_.stop();
}

std::vector<Captioner::Caption> Captioner::describe(const torch::Tensor& features,
                                                    int threads) const {
  if (features.dim() != 3 || features.size(2) != decoder_.sizes().features)
    throw input_error("the featuriser gives " + std::to_string(features.size(-1)) +
                      " features, the decoder was trained on " +
                      std::to_string(decoder_.sizes().features) +
                      "; use the network and solver.feature_layers of its training");
  std::vector<Caption> captions(static_cast<std::size_t>(features.size(0)));
  parallel_for(features.size(0), threads, [&](std::int64_t unit) {
    const torch::NoGradGuard no_gradients;
    BeamOptions beam = beam_;
    if (strategy_ == CaptionStrategy::greedy) beam.beam = 1;
    auto candidates = beam_search(decoder_, features[unit], beam);
    if (strategy_ == CaptionStrategy::rerank) rerank(candidates, *language_, temperature_, beam);
    captions[static_cast<std::size_t>(unit)] = {vocabulary_.decode(candidates.front().words),
                                                candidates.front().score};
  });
  return captions;
}

}  // namespace linex
