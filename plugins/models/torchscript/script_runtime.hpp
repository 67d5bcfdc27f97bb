// Failures of LibTorch as errors of linex.
#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "linex/error.hpp"

namespace linex {

/// What LibTorch says about a failure, in one line: its first, or of a traceback the line of the
/// error itself.
std::string failure_line(const std::string& text);

/// Runs `body`; a failure of LibTorch becomes Error(input) "SOURCE: WHAT: its message".
template <class Body>
auto guarded(const std::string& source, const std::string& what, const Body& body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const c10::Error& failure) {
    throw input_error(source + ": " + what + ": " + failure_line(failure.what_without_backtrace()));
  } catch (const std::exception& failure) {
    throw input_error(source + ": " + what + ": " + failure_line(failure.what()));
  }
}

}  // namespace linex
