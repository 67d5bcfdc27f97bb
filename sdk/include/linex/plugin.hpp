// The one header a plugin includes. A plugin is one class and one macro line:
//
//   class MySolver final : public linex::SparseSolver {
//    public:
//     static constexpr std::array kOptions{...};            // option.hpp; may be left out
//     explicit MySolver(const linex::PluginContext& context);  // the context outlives the object
//     linex::SolveReport solve(const linex::Problem&, const linex::ExplanationSink&) override;
//   };
//   LINEX_SOLVER_PLUGIN(MySolver, "my_solver", "0.1.0", "What it does, in one line")
//
// The constructor and every virtual may throw; linex::Error is passed on to the user as it is,
// anything else is reported as a failure of the plugin. No TORCH_LIBRARY, no tensors or threads
// at namespace scope, nothing on stdout. sdk/README.md is the author's guide.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>

#include "linex/abi_tag.hpp"
#include "linex/ability.hpp"
#include "linex/context.hpp"
#include "linex/data.hpp"
#include "linex/error.hpp"
#include "linex/evaluator.hpp"
#include "linex/export.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/option.hpp"
#include "linex/pixel_labels.hpp"
#include "linex/plugin_abi.h"
#include "linex/pool.hpp"
#include "linex/presence.hpp"
#include "linex/solver.hpp"

/// `version` is free text; `summary` one line. All are string literals of printable ASCII.
#define LINEX_MODEL_PLUGIN(Class, name, version, summary)                                        \
  LINEX_DEFINE_PLUGIN(Class, ::linex::TargetModel, "model", LINEX_MODEL_REVISION, name, version, \
                      summary)
#define LINEX_LABELER_PLUGIN(Class, name, version, summary)                                    \
  LINEX_DEFINE_PLUGIN(Class, ::linex::ConceptLabeler, "labeler", LINEX_LABELER_REVISION, name, \
                      version, summary)
#define LINEX_SOLVER_PLUGIN(Class, name, version, summary)                                 \
  LINEX_DEFINE_PLUGIN(Class, ::linex::SparseSolver, "solver", LINEX_SOLVER_REVISION, name, \
                      version, summary)
#define LINEX_EVALUATOR_PLUGIN(Class, name, version, summary)                                 \
  LINEX_DEFINE_PLUGIN(Class, ::linex::Evaluator, "evaluator", LINEX_EVALUATOR_REVISION, name, \
                      version, summary)

/// Shown by `linex inspect`; linex_add_plugin(... LICENSE x) sets it.
#ifndef LINEX_PLUGIN_LICENSE
#define LINEX_PLUGIN_LICENSE "unspecified"
#endif

/// Linking linex::toolkit defines it: the version built against, major << 16 | minor.
#ifndef LINEX_TOOLKIT_VERSION
#define LINEX_TOOLKIT_VERSION 0
#endif

#if defined(__has_attribute)
#if __has_attribute(retain)
#define LINEX_RETAIN , retain  // survives --gc-sections
#endif
#endif
#ifndef LINEX_RETAIN
#define LINEX_RETAIN
#endif

#define LINEX_DEFINE_PLUGIN(Class, Interface, kind, revision, name, version, summary)         \
  static_assert(std::is_base_of_v<Interface, Class>, #Class " must derive from " #Interface); \
  static_assert(std::is_constructible_v<Class, const ::linex::PluginContext&>,                \
                #Class " needs a constructor taking const linex::PluginContext&");            \
  static_assert(!std::is_abstract_v<Class>, #Class " leaves a pure virtual of " #Interface);  \
  static_assert(!::linex::option::flaw(::linex::detail::OptionsOf<Class>::data(),             \
                                       ::linex::detail::OptionsOf<Class>::size()),            \
                #Class                                                                        \
                "::kOptions: names are unique lower_snake, defaults lie within the range "    \
                "or among the choices, each has help");                                       \
  __attribute__((section(LINEX_PLUGIN_SECTION),                                               \
                 used LINEX_RETAIN)) static constexpr linex_plugin_note linex_plugin_note_ =  \
      ::linex::detail::make_note(kind, revision, name, version, summary);                     \
  constexpr linex_plugin_descriptor linex_plugin_descriptor_v1 =                              \
      ::linex::detail::make_descriptor<Class, Interface>(&linex_plugin_note_);

namespace linex::detail {

template <std::size_t N, std::size_t M>
constexpr void copy_text(char (&field)[N], const char (&text)[M]) {
  static_assert(M <= N, "this text of the plugin macro is too long for its field");
  for (std::size_t i = 0; i + 1 < M; ++i) {
    if (text[i] < ' ' || text[i] > '~') throw "texts of a plugin are printable ASCII";
    field[i] = text[i];
  }
}

template <std::size_t K, std::size_t N, std::size_t V, std::size_t S>
constexpr linex_plugin_note make_note(const char (&kind)[K], std::uint32_t revision,
                                      const char (&name)[N], const char (&version)[V],
                                      const char (&summary)[S]) {
  linex_plugin_note note{};
  copy_text(note.magic, LINEX_PLUGIN_MAGIC);
  note.struct_size = sizeof note;
  note.api_major = LINEX_API_MAJOR;
  note.api_minor = LINEX_API_MINOR;
  note.abi_kind = LINEX_ABI_KIND_CXX;
  note.interface_revision = revision;
  note.toolkit_version = LINEX_TOOLKIT_VERSION;
  if (!option::detail::is_lower_snake(name)) throw "a plugin's name is [a-z][a-z0-9_]*";
  copy_text(note.kind, kind);
  copy_text(note.name, name);
  copy_text(note.version, version);
  copy_text(note.summary, summary);
  copy_text(note.license, LINEX_PLUGIN_LICENSE);
  copy_text(note.abi_tag, kAbiTag);
  return note;
}

template <class Class, class = void>
struct OptionsOf {
  static constexpr const linex_option_spec* data() { return nullptr; }
  static constexpr std::size_t size() { return 0; }
};
template <class Class>
struct OptionsOf<Class, std::void_t<decltype(Class::kOptions)>> {
  static constexpr const linex_option_spec* data() { return std::data(Class::kOptions); }
  static constexpr std::size_t size() { return std::size(Class::kOptions); }
};

inline void write_error(const char* text, char* error, std::size_t size) noexcept {
  if (!error || size == 0) return;
  std::size_t i = 0;
  for (; text[i] && i + 1 < size; ++i) error[i] = text[i];
  error[i] = '\0';
}

template <class Class, class Interface>
int create(const void* context, void** out, char* error, std::size_t size) noexcept {
  *out = nullptr;
  try {
    Interface* made = new Class(*static_cast<const PluginContext*>(context));
    *out = made;
    return 0;
  } catch (const Error& failure) {
    write_error(failure.what(), error, size);
    return static_cast<int>(failure.kind());
  } catch (const c10::Error& failure) {
    write_error(failure.what_without_backtrace(), error, size);
  } catch (const std::bad_alloc&) {
    write_error("out of memory", error, size);
  } catch (const std::exception& failure) {
    write_error(failure.what(), error, size);
  } catch (...) {
    write_error("an exception that is not a std::exception", error, size);
  }
  return static_cast<int>(ErrorKind::plugin);
}

template <class Interface>
void destroy(void* object) noexcept {
  delete static_cast<Interface*>(object);
}

template <class Class, class Interface>
constexpr linex_plugin_descriptor make_descriptor(const linex_plugin_note* note) {
  return {sizeof(linex_plugin_descriptor),
          static_cast<std::uint32_t>(OptionsOf<Class>::size()),
          note,
          OptionsOf<Class>::data(),
          &create<Class, Interface>,
          &destroy<Interface>};
}

}  // namespace linex::detail
