// What the host lends a plugin: checked options, logger, progress, run settings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "linex/export.hpp"

namespace linex {

/// Option values after the host has applied defaults and checked type, range and choices against
/// the plugin's declaration. Asking for an undeclared name or a wrong type throws std::logic_error:
/// that is a bug of the plugin, not of the user.
class LINEX_API OptionValues {
 public:
  using Paths = std::vector<std::filesystem::path>;
  using Choices =
      std::variant<bool, std::int64_t, double, std::string, std::filesystem::path, Paths>;
  struct Value : Choices {
    using Choices::Choices;
    Value(const char* text) : Choices(std::string(text)) {}  // text, never a path
  };

  bool flag(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  const std::filesystem::path& path(const std::string& name) const;
  const Paths& paths(const std::string& name) const;

  void set(const std::string& name, Value value);
  const std::map<std::string, Value>& all() const { return values_; }

 private:
  std::map<std::string, Value> values_;
};

enum class LogLevel : int { debug, info, warning, error };

/// Where messages go. [any thread]
class LINEX_API Logger {
 public:
  virtual ~Logger();
  virtual void write(LogLevel level, std::string_view message) = 0;

  void debug(std::string_view message) { write(LogLevel::debug, message); }
  void info(std::string_view message) { write(LogLevel::info, message); }
  /// Warnings are also listed in summary.json.
  void warning(std::string_view message) { write(LogLevel::warning, message); }
  void error(std::string_view message) { write(LogLevel::error, message); }
};

/// One bar (terminal) or a few plain lines (elsewhere) for long work; ends when destroyed.
class LINEX_API Progress {
 public:
  virtual ~Progress();
  /// `count` more units of work are done. [any thread]
  virtual void advance(std::int64_t count) = 0;
};

/// Settings of the run that any plugin may need.
struct RunSettings {
  std::string device = "cpu";             ///< resolved: "cpu" or "cuda:0"; never "auto"
  std::uint64_t seed = 0;                 ///< the only source of randomness allowed
  int threads = 1;                        ///< use at most this many; results must not depend on it
  std::int64_t memory_bytes = 1LL << 30;  ///< bound on large temporaries of one stage
  std::int64_t batch = 0;                 ///< images a forward pass; 0 = the model's choice
  std::filesystem::path cache;            ///< folder for content-keyed caches; empty = do not cache
  std::filesystem::path out;  ///< folder of the run's files; empty = write none of your own
};

/// Lent to a plugin for its whole life: created before it, destroyed after it. [any thread]
class LINEX_API PluginContext {
 public:
  virtual ~PluginContext();
  virtual const OptionValues& options() const = 0;
  virtual const RunSettings& run() const = 0;
  virtual Logger& log() const = 0;
  /// A progress bar over `total` steps of `unit` ("images", "units", ...).
  virtual std::unique_ptr<Progress> progress(const std::string& title, std::int64_t total,
                                             const std::string& unit) const = 0;
  /// True once the user asked to stop. Long loops throw Error(interrupted) soon after.
  virtual bool cancelled() const noexcept = 0;
  /// Optional abilities of the host (ability.hpp). Default: none.
  virtual const void* ability(const char* name) const;
};

/// Throws Error(interrupted) once the user asked to stop; call between tiles or blocks.
LINEX_API void check_cancelled(const PluginContext& context);

}  // namespace linex
