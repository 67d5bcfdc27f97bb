// The one exception type linex throws on purpose.
#pragma once

#include <stdexcept>
#include <string>

#include "linex/export.hpp"

namespace linex {

/// What went wrong, as the exit code of the command-line contract.
enum class ErrorKind : int {
  usage = 2,         ///< wrong command line or configuration
  input = 3,         ///< wrong or unreadable input
  plugin = 4,        ///< a plugin failed
  interrupted = 130  ///< stopped by the user; the run can be resumed
};

/// An error for people: one line saying what, where and what to do. Thrown by core and plugins; the
/// host prints what() and exits with kind(). Its key function lives in liblinex_sdk, so it is
/// caught by type across plugins.
class LINEX_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ~Error() override;
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

/// Wrong or unreadable input (exit 3).
inline Error input_error(const std::string& message) { return {ErrorKind::input, message}; }
/// Wrong option or configuration (exit 2).
inline Error usage_error(const std::string& message) { return {ErrorKind::usage, message}; }

}  // namespace linex
