// What every labeler must do.
#include <algorithm>
#include <numeric>

#include "conformance_runner.hpp"
#include "conformance_world.hpp"

namespace linex::conformance {
namespace {

std::vector<float> read(const Presence& presence, const std::vector<std::int64_t>& rows,
                        const Columns& cols) {
  std::vector<float> out(rows.size() * static_cast<std::size_t>(cols.count(presence.cols())));
  presence.read(rows, cols, out.data());
  return out;
}

std::vector<std::int64_t> all_indices(std::int64_t count) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

}  // namespace

std::vector<Check> check_labeler(const Make<ConceptLabeler>& make, const Setup& setup) {
  Runner runner(setup);
  const TestContext context(setup.options);
  const auto data = images();
  std::shared_ptr<ConceptLabeler> labeler;
  std::shared_ptr<const Presence> presence;
  std::vector<std::string> names;
  if (!runner.open("create", [&] { labeler = make(context); }) || !runner.open("attach", [&] {
        labeler->attach(data);
        names = labeler->concepts();
        presence = labeler->presence();
      }))
    return runner.finish();

  std::vector<float> full;
  const bool readable = runner.run("shapes and finite values", [&] {
    require(presence != nullptr, "presence() is null");
    require(!names.empty(), "there is no concept");
    require(presence->cols() == static_cast<std::int64_t>(names.size()),
            std::to_string(names.size()) + " names for " + std::to_string(presence->cols()) +
                " columns");
    require(presence->rows() == data->size(), std::to_string(presence->rows()) + " rows for " +
                                                  std::to_string(data->size()) + " images");
    for (const std::string& name : names) require(!name.empty(), "a concept has no name");
    full = read(*presence, all_indices(presence->rows()), Columns::all());
    for (const float value : full) require(std::isfinite(value), "a presence is not finite");
  }) == Outcome::passed;
  if (!readable) return runner.finish();

  const auto n_cols = static_cast<std::size_t>(presence->cols());
  const auto at = [&](std::int64_t row, std::int64_t col) { return full[row * n_cols + col]; };
  runner.run("parts equal the whole", [&] {
    const std::vector<std::int64_t> rows{1, 5, data->size() - 1}, cols{presence->cols() - 1, 0};
    const std::vector<float> part = read(*presence, rows, cols);
    require(read(*presence, rows, cols) == part,
            "the same rows and columns differ the second time");
    // A matrix product rounds with what is computed beside it; the host always asks for the same
    // rows and columns together. What is counted is exact.
    constexpr float kRounding = 1e-4F;
    std::vector<std::int64_t> ignored;
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::size_t j = 0; j < cols.size(); ++j) {
        const float alone = part[i * cols.size() + j], whole = at(rows[i], cols[j]);
        const float allowed =
            presence->ones(rows[i], ignored) ? 0 : kRounding * (1e-3F + std::abs(whole));
        require(std::abs(alone - whole) <= allowed, "row " + std::to_string(rows[i]) + ", column " +
                                                        std::to_string(cols[j]) +
                                                        " differs when read alone");
      }
  });
  runner.run("no column, nothing written", [&] {
    float untouched = 7;
    presence->read(all_indices(presence->rows()), std::vector<std::int64_t>{}, &untouched);
    require(untouched == 7, "reading an empty list of columns wrote values");
  });
  runner.run("fingerprint", [&] {
    require(labeler->fingerprint() == make(context)->fingerprint(), "it changes");
  });
  runner.run("ones equal the values", [&] {
    std::vector<std::int64_t> ones, expected;
    for (std::int64_t row = 0; row < presence->rows(); ++row) {
      if (!presence->ones(row, ones)) throw Skip{"the source is dense"};
      expected.clear();
      for (std::int64_t col = 0; col < presence->cols(); ++col)
        if (at(row, col) != 0) expected.push_back(col);
      require(ones == expected, "ones() of row " + std::to_string(row) + " are not its columns");
    }
  });
  runner.run("knows its concepts", [&] {
    for (const std::string& name : names)
      require(labeler->knows(name), "does not know '" + name + "'");
  });
  runner.run("presence of texts", [&] {
    const std::string& last = names.back();
    const auto first_of_name = std::find(names.begin(), names.end(), last) - names.begin();
    const auto chosen = labeler->presence_of({last, names.front()});
    require(chosen && chosen->cols() == 2 && chosen->rows() == data->size(), "wrong shape");
    const std::vector<float> values = read(*chosen, all_indices(data->size()), Columns::all());
    for (std::int64_t row = 0; row < data->size(); ++row) {
      const float expected = at(row, first_of_name);
      require(std::abs(values[2 * row] - expected) <=
                  setup.quirks.tolerance * (1e-3 + std::abs(expected)),
              "presence of '" + last + "' differs from its column in row " + std::to_string(row));
    }
  });
  runner.run("same input, same bytes", [&] {
    const auto again = make(context);
    again->attach(data);
    require(again->concepts() == names, "other names");
    require(read(*again->presence(), all_indices(data->size()), Columns::all()) == full,
            "other values");
  });
  runner.run("same bytes on three threads", [&] {
    RunSettings run;
    run.threads = 3;
    const TestContext wide(setup.options, run);
    const auto again = make(wide);
    again->attach(data);
    require(read(*again->presence(), all_indices(data->size()), Columns::all()) == full,
            "other values");
  });
  return runner.finish();
}

}  // namespace linex::conformance
