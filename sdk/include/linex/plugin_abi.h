/* The C handshake between linex and a plugin file: everything the host verifies before it runs a
 * line of the plugin's code. Plain C11 so that other tools can read it; authors include plugin.hpp.
 *
 * A plugin is one shared library with
 *   - one note, a linex_plugin_note in the ELF section ".linex_plugin". It holds characters and
 *     integers only (a pointer is not yet relocated in a file), so it is read from the file;
 *   - one exported symbol, the descriptor `linex_plugin_descriptor_v1`.
 * abi_kind 0 means: behind the descriptor are the C++ interfaces of this SDK. Their ABI must match
 * precisely, which is what `abi_tag` states; see abi_tag.hpp. */
#ifndef LINEX_PLUGIN_ABI_H
#define LINEX_PLUGIN_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define LINEX_STATIC_ASSERT(condition) static_assert(condition, #condition)
extern "C" {
#else
#define LINEX_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define LINEX_PLUGIN_MAGIC "LINEXPI" /* 8 bytes with its NUL */
#define LINEX_PLUGIN_SECTION ".linex_plugin"
#define LINEX_PLUGIN_SYMBOL "linex_plugin_descriptor_v1"

/* A host loads a plugin of its own major version and of its own or an older minor version.
 * The major version is the SOVERSION of liblinex_sdk. */
#define LINEX_API_MAJOR 2
#define LINEX_API_MINOR 0
#define LINEX_ABI_KIND_CXX 0
/* Raised when the interface of the kind changes; must be equal. */
#define LINEX_MODEL_REVISION 2
#define LINEX_LABELER_REVISION 3
#define LINEX_SOLVER_REVISION 2
#define LINEX_EVALUATOR_REVISION 2
/* Raised when a type that interfaces share changes (Problem, EvaluationInput, Explanation, Split,
 * ScoreColumn, RunSettings, OptionValues, DataSet, Presence, PluginContext, ...); stated in the ABI
 * tag, must be equal. Optional abilities carry a revision of their own in their name. */
#define LINEX_TYPES_REVISION 2

/* Texts are printable ASCII, closed by a NUL inside their field. */
typedef struct linex_plugin_note {
  char magic[8];
  uint32_t struct_size; /* sizeof(linex_plugin_note) */
  uint32_t api_major;
  uint32_t api_minor;
  uint32_t abi_kind;
  uint32_t interface_revision;
  /* 0: linex::toolkit is not used; else its version, major << 16 | minor. A host has the same major
   * version and the same or a newer minor one; before 1.0 the same. */
  uint32_t toolkit_version;
  char kind[16]; /* "model", "labeler", "solver" or "evaluator" */
  char name[48]; /* [a-z][a-z0-9_]*, unique within the kind */
  char version[16];
  char summary[96];
  char license[32];
  char abi_tag[256];
} linex_plugin_note;

enum linex_option_type {
  LINEX_OPTION_FLAG = 0,
  LINEX_OPTION_INTEGER = 1,
  LINEX_OPTION_REAL = 2,
  LINEX_OPTION_TEXT = 3,
  LINEX_OPTION_CHOICE = 4,
  LINEX_OPTION_PATH = 5, /* a file or folder; empty = none */
  LINEX_OPTION_PATHS = 6 /* a comma list of them */
};

/* One declared option. The host checks values against it before the plugin is created. */
typedef struct linex_option_spec {
  const char* name;         /* lower_snake, unique within the plugin; not "plugin" */
  uint32_t type;            /* enum linex_option_type */
  uint32_t required;        /* 1: the user must give it; the defaults are then ignored */
  const char* default_text; /* text, choice, path, paths; else NULL */
  double default_number;    /* flag (0 or 1), integer (exact to 2^53), real */
  double min_value;         /* integer, real: inclusive bounds */
  double max_value;
  const char* choices; /* choice: "a|b|c"; else NULL */
  const char* help;    /* one line */
} linex_option_spec;

/* All pointers are valid for as long as the file is mapped; the host never unmaps it. */
typedef struct linex_plugin_descriptor {
  uint32_t struct_size; /* sizeof(linex_plugin_descriptor) */
  uint32_t option_count;
  const linex_plugin_note* note; /* the same bytes as in the file */
  const linex_option_spec* options;
  /* Makes one object. `context` is a const linex::PluginContext* that outlives the object; *out
   * becomes a pointer to the kind's interface (linex::TargetModel, ...). Returns 0, or the
   * linex::ErrorKind of the failure with a closed text in error[0, error_size). Never throws. */
  int (*create)(const void* context, void** out, char* error, size_t error_size);
  /* Ends an object of create(); NULL is allowed. Never throws. */
  void (*destroy)(void* object);
} linex_plugin_descriptor;

/* The one symbol a plugin exports. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const linex_plugin_descriptor linex_plugin_descriptor_v1;

/* The layout is frozen: a change here is a new magic, section and symbol. */
LINEX_STATIC_ASSERT(sizeof(linex_plugin_note) == 496);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, struct_size) == 8);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, api_major) == 12);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, api_minor) == 16);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, abi_kind) == 20);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, interface_revision) == 24);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, toolkit_version) == 28);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, kind) == 32);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, name) == 48);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, version) == 96);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, summary) == 112);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, license) == 208);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_note, abi_tag) == 240);
#if UINTPTR_MAX == 0xffffffffffffffffu
LINEX_STATIC_ASSERT(sizeof(linex_option_spec) == 64);
LINEX_STATIC_ASSERT(offsetof(linex_option_spec, default_text) == 16);
LINEX_STATIC_ASSERT(offsetof(linex_option_spec, default_number) == 24);
LINEX_STATIC_ASSERT(offsetof(linex_option_spec, choices) == 48);
LINEX_STATIC_ASSERT(offsetof(linex_option_spec, help) == 56);
LINEX_STATIC_ASSERT(sizeof(linex_plugin_descriptor) == 40);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_descriptor, note) == 8);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_descriptor, options) == 16);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_descriptor, create) == 24);
LINEX_STATIC_ASSERT(offsetof(linex_plugin_descriptor, destroy) == 32);
#endif

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* LINEX_PLUGIN_ABI_H */
