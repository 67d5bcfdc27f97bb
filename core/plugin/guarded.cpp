#include "core/plugin/guarded.hpp"

#include <cstring>

#include "core/plugin/plugin_guard.hpp"
#include "linex/ability.hpp"
#include "linex/pixel_labels.hpp"

namespace linex {
namespace {

/// What all guards share: the plugin's object and its name.
template <class Interface>
class Guarded : public Interface {
 public:
  Guarded(std::shared_ptr<Interface> inner, std::string plugin)
      : inner_(std::move(inner)), plugin_(std::move(plugin)) {}

 protected:
  template <class Call>
  decltype(auto) call(const char* stage, Call&& work) const {
    return guard(plugin_, stage, std::forward<Call>(work));
  }
  /// A plugin's mistake that would crash its caller.
  template <class Pointer>
  Pointer not_null(Pointer pointer, const char* stage) const {
    if (!pointer) throw PluginError(plugin_ + ": " + stage + ": returned a null pointer");
    return pointer;
  }
  std::shared_ptr<Interface> inner_;
  std::string plugin_;
};

class GuardedPresence final : public Guarded<const Presence> {
 public:
  using Guarded::Guarded;
  std::int64_t rows() const override {
    return call("rows", [&] { return inner_->rows(); });
  }
  std::int64_t cols() const override {
    return call("cols", [&] { return inner_->cols(); });
  }
  bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const override {
    return call("presence", [&] { return inner_->ones(row, ones); });
  }
  const void* ability(const char* name) const override {
    return call("ability", [&] { return inner_->ability(name); });
  }

 private:
  void do_read(Ids rows, const Columns& cols, float* out) const override {
    call("presence", [&] { inner_->read(rows, cols, out); });
  }
};

class GuardedTail final : public ModelTail {
 public:
  GuardedTail(std::unique_ptr<ModelTail> inner, std::string plugin)
      : inner_(std::move(inner)), plugin_(std::move(plugin)) {}
  torch::Tensor activation() const override {
    return guard(plugin_, "activation", [&] { return inner_->activation(); });
  }
  torch::Tensor logits(const torch::Tensor& replaced) const override {
    return guard(plugin_, "logits", [&] { return inner_->logits(replaced); });
  }
  const void* ability(const char* name) const override {
    return guard(plugin_, "ability", [&] { return inner_->ability(name); });
  }

 private:
  std::unique_ptr<ModelTail> inner_;
  std::string plugin_;
};

class GuardedModel final : public Guarded<TargetModel> {
 public:
  using Guarded::Guarded;
  std::vector<std::string> layers() const override {
    return call("layers", [&] { return inner_->layers(); });
  }
  Preprocess preprocess() const override {
    return call("preprocess", [&] { return inner_->preprocess(); });
  }
  ForwardResult forward(const torch::Tensor& images, const std::vector<std::string>& layers,
                        bool logits) override {
    return call("forward", [&] { return inner_->forward(images, layers, logits); });
  }
  std::unique_ptr<ModelTail> split(const torch::Tensor& images, const std::string& layer) override {
    auto tail = call("split", [&] { return inner_->split(images, layer); });
    return std::make_unique<GuardedTail>(not_null(std::move(tail), "split"), plugin_);
  }
  std::string fingerprint() const override {
    return call("fingerprint", [&] { return inner_->fingerprint(); });
  }
  std::int64_t preferred_batch() const override {
    return call("preferred_batch", [&] { return inner_->preferred_batch(); });
  }
  LinearHead linear_head(const std::string& layer) const override {
    return call("linear_head", [&] { return inner_->linear_head(layer); });
  }
  torch::Tensor recorded() const override {
    return call("recorded", [&] { return inner_->recorded(); });
  }
  const void* ability(const char* name) const override {
    return call("ability", [&] { return inner_->ability(name); });
  }
};

class GuardedPixels final : public PixelLabels {
 public:
  GuardedPixels(const PixelLabels& inner, std::string plugin)
      : inner_(inner), plugin_(std::move(plugin)) {
    count_ = static_cast<std::int64_t>(pixel_labels().size());
  }
  std::vector<PixelLabel> pixel_labels() const override {
    return guard(plugin_, "pixel_labels", [&] { return inner_.pixel_labels(); });
  }
  LabelMaps label_maps(std::int64_t row) const override {
    auto labels = guard(plugin_, "label_maps", [&] { return inner_.label_maps(row); });
    // Counters index by label without looking again.
    bool sound =
        labels.height > 0 && labels.width > 0 && labels.image_height > 0 && labels.image_width > 0;
    for (const auto& map : labels.maps)
      sound = sound && map.defined() && map.is_contiguous() && map.device().is_cpu() &&
              map.scalar_type() == torch::kInt32 && map.dim() == 2 &&
              map.size(0) == labels.height && map.size(1) == labels.width &&
              map.max().item<std::int64_t>() < count_;
    for (const auto label : labels.whole) sound = sound && label >= 0 && label < count_;
    if (!sound)
      throw PluginError(plugin_ + ": label_maps: wrong shape, type or label for row " +
                        std::to_string(row));
    return labels;
  }

 private:
  const PixelLabels& inner_;
  std::string plugin_;
  std::int64_t count_ = 0;
};

class GuardedLabeler final : public Guarded<ConceptLabeler> {
 public:
  using Guarded::Guarded;
  void attach(std::shared_ptr<const DataSet> data) override {
    call("attach", [&] { inner_->attach(std::move(data)); });
  }
  std::vector<std::string> concepts() const override {
    return call("concepts", [&] { return inner_->concepts(); });
  }
  std::shared_ptr<const Presence> presence() override {
    return wrap(call("presence", [&] { return inner_->presence(); }));
  }
  bool knows(const std::string& text) const override {
    return call("knows", [&] { return inner_->knows(text); });
  }
  std::shared_ptr<const Presence> presence_of(const std::vector<std::string>& texts) override {
    return wrap(call("presence_of", [&] { return inner_->presence_of(texts); }));
  }
  std::string fingerprint() const override {
    return call("fingerprint", [&] { return inner_->fingerprint(); });
  }
  /// Abilities that linex defines are guarded too; those that plugins share among themselves pass.
  const void* ability(const char* name) const override {
    const void* const inner = call("ability", [&] { return inner_->ability(name); });
    if (!inner || std::strcmp(name, PixelLabels::kAbility) != 0) return inner;
    if (!pixels_)
      pixels_ = std::make_unique<GuardedPixels>(*static_cast<const PixelLabels*>(inner), plugin_);
    return offer<PixelLabels>(name, pixels_.get());
  }

 private:
  std::shared_ptr<const Presence> wrap(std::shared_ptr<const Presence> presence) const {
    return std::make_shared<GuardedPresence>(not_null(std::move(presence), "presence"), plugin_);
  }
  mutable std::unique_ptr<GuardedPixels> pixels_;
};

class GuardedSolver final : public Guarded<SparseSolver> {
 public:
  using Guarded::Guarded;
  SolverNeeds needs() const override {
    return call("needs", [&] { return inner_->needs(); });
  }
  SolveReport solve(const Problem& problem, const ExplanationSink& emit) override {
    return call("solve", [&] { return inner_->solve(problem, emit); });
  }
  const void* ability(const char* name) const override {
    return call("ability", [&] { return inner_->ability(name); });
  }
};

class GuardedEvaluator final : public Guarded<Evaluator> {
 public:
  using Guarded::Guarded;
  std::vector<ScoreColumn> evaluate(const EvaluationInput& input) override {
    return call("evaluate", [&] { return inner_->evaluate(input); });
  }
  const void* ability(const char* name) const override {
    return call("ability", [&] { return inner_->ability(name); });
  }
};

}  // namespace

std::shared_ptr<TargetModel> guarded(std::shared_ptr<TargetModel> inner,
                                     const std::string& plugin) {
  return std::make_shared<GuardedModel>(std::move(inner), plugin);
}
std::shared_ptr<ConceptLabeler> guarded(std::shared_ptr<ConceptLabeler> inner,
                                        const std::string& plugin) {
  return std::make_shared<GuardedLabeler>(std::move(inner), plugin);
}
std::shared_ptr<SparseSolver> guarded(std::shared_ptr<SparseSolver> inner,
                                      const std::string& plugin) {
  return std::make_shared<GuardedSolver>(std::move(inner), plugin);
}
std::shared_ptr<Evaluator> guarded(std::shared_ptr<Evaluator> inner, const std::string& plugin) {
  return std::make_shared<GuardedEvaluator>(std::move(inner), plugin);
}

}  // namespace linex
