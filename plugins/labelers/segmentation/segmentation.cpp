// Concepts from labelled pixels: presence is the share of an image that carries the label.
#include "segmentation.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include "linex/plugin.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/parallel.hpp"
#include "toolkit/base/text.hpp"
#include "toolkit/concepts/concept_list.hpp"
#include "toolkit/explanations/broden_label.hpp"

namespace {

using linex::option::choice;
using linex::option::path;
using linex::option::paths;
using linex::option::text;

/// Sparse rows: an image shows a few of the labels.
class SharePresence final : public linex::Presence {
 public:
  using Row = std::vector<std::pair<std::int64_t, float>>;  // (label, share), labels ascending

  SharePresence(std::vector<Row> rows, std::int64_t cols, bool binary)
      : rows_(std::move(rows)), cols_(cols), binary_(binary) {}

  std::int64_t rows() const override { return static_cast<std::int64_t>(rows_.size()); }
  std::int64_t cols() const override { return cols_; }
  bool ones(std::int64_t row, std::vector<std::int64_t>& ones) const override {
    if (!binary_) return false;
    ones.clear();
    for (const auto& [label, share] : rows_[static_cast<std::size_t>(row)]) ones.push_back(label);
    return true;
  }

 private:
  void do_read(linex::Ids rows, const linex::Columns& cols, float* out) const override {
    std::vector<float> whole(cols.is_all() ? 0 : static_cast<std::size_t>(cols_));
    const std::int64_t width = cols.count(cols_);
    for (const std::int64_t id : rows) {
      float* const row = cols.is_all() ? out : whole.data();
      std::fill_n(row, cols_, 0.0F);
      for (const auto& [label, share] : rows_[static_cast<std::size_t>(id)]) row[label] = share;
      for (std::int64_t j = 0; j < cols.ids().size(); ++j) out[j] = row[cols[j]];
      out += width;
    }
  }

  std::vector<Row> rows_;
  std::int64_t cols_;
  bool binary_;
};

std::vector<std::string> list(const std::string& text) {
  std::vector<std::string> items;
  for (const auto& part : linex::split(text, ','))
    if (!linex::trim(part).empty()) items.push_back(linex::trim(part));
  return items;
}

class SegmentationLabeler final : public linex::ConceptLabeler, public linex::PixelLabels {
 public:
  static constexpr std::array kOptions{
      path("broden", "", "folder in Broden's format (index.csv, label.csv, c_*.csv)"),
      text("categories", "", "of Broden, e.g. object,part,scene,texture,color; default: all"),
      paths("masks", "", "folders (a comma list) of label maps, <image name>.png, grey or palette"),
      path("names", "", "names of the label maps' values from 0, one a line, or name<tab>category"),
      text("ignore", "", "names that are no labels, e.g. Unlabelled"),
      choice("presence", "share", "share|any",
             "share of an image's pixels with the label, or 1 where there are any"),
  };

  explicit SegmentationLabeler(const linex::PluginContext& context)
      : context_(context),
        threads_(context.run().threads),
        binary_(context.options().text("presence") == "any") {
    const auto& options = context.options();
    const auto& broden = options.path("broden");
    const auto& masks = options.paths("masks");
    if (broden.empty() == masks.empty())
      throw linex::usage_error(
          "labeler segmentation: give labeler.broden=FOLDER or labeler.masks=FOLDER with "
          "labeler.names=FILE");
    if (!masks.empty() && options.path("names").empty())
      throw linex::usage_error("labeler segmentation: labeler.masks needs labeler.names=FILE");
    source_ = broden.empty() ? linex::open_label_maps(masks, options.path("names"),
                                                      list(options.text("ignore")))
                             : linex::open_broden(broden, list(options.text("categories")));
    std::set<std::string> others;  // plain names of what is no scene
    for (const auto& label : source_->labels())
      if (!broden.empty() && !linex::is_scene_label(label.name))
        others.insert(linex::plain_label(label.name));
    for (const auto& label : source_->labels())
      names_.push_back(broden.empty() ? label.name : linex::plain_label(label.name, others));
    const auto& named_by = broden.empty() ? options.path("names") : broden;
    names_ =
        linex::distinct_names(std::move(names_), named_by.string(), context.log(), "label").names;
  }

  void attach(std::shared_ptr<const linex::DataSet> data) override {
    if (!data) throw linex::input_error("labeler segmentation needs images; set data.root");
    data_ = std::move(data);
    label_maps(0);  // finds a wrong folder before hours of work
  }
  std::vector<std::string> concepts() const override { return names_; }
  std::string fingerprint() const override {
    auto files = context_.options().paths("masks");
    files.push_back(context_.options().path("broden"));
    files.push_back(context_.options().path("names"));
    return linex::sha256_of_paths(files, threads_);
  }
  const void* ability(const char* name) const override {
    return linex::offer<linex::PixelLabels>(name, this);
  }
  std::vector<linex::PixelLabel> pixel_labels() const override { return source_->labels(); }
  linex::LabelMaps label_maps(std::int64_t row) const override {
    return source_->label_maps(data_->name(row));
  }

  std::shared_ptr<const linex::Presence> presence() override {
    if (!presence_) {
      std::vector<SharePresence::Row> rows(static_cast<std::size_t>(data_->size()));
      linex::parallel_for(data_->size(), threads_, [&](std::int64_t row) {
        rows[static_cast<std::size_t>(row)] = shares(label_maps(row));
      });
      if (const std::string what = source_->complaint(); !what.empty())
        context_.log().warning(what);
      presence_ = std::make_shared<SharePresence>(
          std::move(rows), static_cast<std::int64_t>(names_.size()), binary_);
    }
    return presence_;
  }

 private:
  SharePresence::Row shares(const linex::LabelMaps& labels) const {
    std::vector<std::int64_t> pixels(names_.size(), 0);
    for (const auto& map : labels.maps) {
      const std::int32_t* const values = map.data_ptr<std::int32_t>();
      for (std::int64_t i = 0; i < map.numel(); ++i)
        if (values[i] >= 0) ++pixels[static_cast<std::size_t>(values[i])];
    }
    const std::int64_t all = labels.height * labels.width;
    for (const auto label : labels.whole) pixels[static_cast<std::size_t>(label)] = all;
    SharePresence::Row row;
    for (std::size_t j = 0; j < pixels.size(); ++j)
      if (pixels[j] > 0)
        row.emplace_back(static_cast<std::int64_t>(j),
                         binary_ ? 1.0F
                                 : static_cast<float>(static_cast<double>(pixels[j]) /
                                                      static_cast<double>(all)));
    return row;
  }

  const linex::PluginContext& context_;
  int threads_;
  bool binary_;
  std::shared_ptr<linex::Segmentation> source_;
  std::vector<std::string> names_;
  std::shared_ptr<const linex::DataSet> data_;
  std::shared_ptr<const SharePresence> presence_;
};

}  // namespace

LINEX_LABELER_PLUGIN(SegmentationLabeler, "segmentation", "0.1.0",
                     "concepts from labelled pixels: Broden, or images with label maps")
