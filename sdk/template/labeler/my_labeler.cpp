// Concepts that pixels tell: how red, green or blue an image is. Rename, then replace attach().
#include <linex/plugin.hpp>

#include "toolkit/base/parallel.hpp"
#include "toolkit/concepts/matrix_presence.hpp"

namespace {

struct MyLabeler final : linex::ConceptLabeler {
  static constexpr std::array kOptions{
      linex::option::real("contrast", 4, 0, 100, "how steep presence is around the mean colour")};
  explicit MyLabeler(const linex::PluginContext& c) : context(c) {}

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    if (!data) throw linex::usage_error("labeler my_labeler looks at images; set data.root");
    torch::Tensor colour = torch::empty({data->size(), 3});
    const auto progress = context.progress("colours", data->size(), "images");
    linex::parallel_for(data->size(), context.run().threads, [&](std::int64_t row) {
      linex::check_cancelled(context);
      const torch::Tensor mean = data->pixels(row).to(torch::kFloat).flatten(0, 1).mean(0);
      for (int c = 0; c < 3; ++c) colour[row][c] = mean[c] / mean.sum().clamp_min(1);
      progress->advance(1);
    });
    const double contrast = context.options().real("contrast");
    values = std::make_shared<linex::MatrixPresence>((contrast * (3 * colour - 1)).sigmoid());
  }
  std::vector<std::string> concepts() const override { return {"red", "green", "blue"}; }
  std::shared_ptr<const linex::Presence> presence() override { return values; }

  const linex::PluginContext& context;
  std::shared_ptr<const linex::Presence> values;
};

}  // namespace

LINEX_LABELER_PLUGIN(MyLabeler, "my_labeler", "0.1.0", "How red, green or blue an image is")
