// Model plugins for tests, created as the host creates them.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "core/run/host_context.hpp"
#include "linex/error.hpp"
#include "linex/model.hpp"
#include "linex/option.hpp"
#include "typed_options.hpp"

namespace linex::test {

class SilentLogger final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

/// A model of plugin `name` with `given` options over the defaults; lives with its context.
class TestModel {
 public:
  TestModel(const std::string& name, OptionValues given, int threads = 2, bool bf16 = false) {
    const std::string file = std::string(LINEX_PLUGIN_DIR) + "/models/linex_model_" + name + ".so";
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    descriptor_ = static_cast<const linex_plugin_descriptor*>(dlsym(library, LINEX_PLUGIN_SYMBOL));
    const OptionValues options =
        typed_options({descriptor_->options, descriptor_->option_count}, given.all());
    run_.threads = threads;
    context_ = std::make_unique<HostContext>(options, run_, log_, true, nullptr, Precision{bf16});
    void* made = nullptr;
    char error[2048];
    const int code = descriptor_->create(context_.get(), &made, error, sizeof error);
    if (code != 0) throw Error(static_cast<ErrorKind>(code), error);
    model_ = static_cast<TargetModel*>(made);
  }
  ~TestModel() { descriptor_->destroy(model_); }
  TestModel(const TestModel&) = delete;
  TestModel& operator=(const TestModel&) = delete;
  TargetModel* operator->() const { return model_; }

 private:
  const linex_plugin_descriptor* descriptor_ = nullptr;
  SilentLogger log_;
  RunSettings run_;
  std::unique_ptr<HostContext> context_;
  TargetModel* model_ = nullptr;
};

inline OptionValues options(std::initializer_list<std::pair<const char*, std::string>> texts) {
  OptionValues values;
  for (const auto& [name, text] : texts) values.set(name, text);
  return values;
}

inline std::filesystem::path fixtures(const std::string& name) {
  return std::filesystem::path(LINEX_SOURCE_DIR) / "tests" / "fixtures" / name;
}

/// The message of the Error(input) that `body` throws; fails the test otherwise.
template <class Body>
std::string input_error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

/// Largest difference relative to the largest magnitude.
inline double relative_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

}  // namespace linex::test
