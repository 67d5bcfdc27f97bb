// Explains each unit by the concept that correlates with it most. Rename, then replace solve().
#include <linex/plugin.hpp>
struct MySolver final : linex::SparseSolver {
  static constexpr std::array kOptions{linex::option::real("weight", 1, 0, 9, "of the concept")};
  explicit MySolver(const linex::PluginContext& c) : weight(c.options().real("weight")) {}
  linex::SolveReport solve(const linex::Problem& in, const linex::ExplanationSink& emit) override {
    const int64_t rows = in.split.train.size(), cols = in.concepts.size();
    torch::Tensor x = torch::empty({rows, cols});
    in.presence->read(in.split.train, linex::Columns::all(), x.data_ptr<float>());
    x = torch::nan_to_num((x - x.mean(0)) / x.std(0));
    const torch::Tensor y = in.activations.index_select(0, torch::tensor(in.split.train));
    for (size_t i = in.finished; i < in.units.size(); ++i) {
      const torch::Tensor unit = y.select(1, in.units[i]), score = x.t().mv(unit);
      linex::Explanation found;
      found.unit = in.units[i];
      found.terms = {{in.concepts[score.argmax().item<int64_t>()], weight}};
      if (!(unit.std().item<float>() > 0)) found.status = linex::Status::constant;
      emit({found});
    }
    return {};
  }
  double weight;
};
LINEX_SOLVER_PLUGIN(MySolver, "my_solver", "0.1.0", "The concept that correlates most")
