// What an engine must do to carry a cluster; the only header that the MPI module shares with us.
#pragma once

#include <cstddef>
#include <cstdint>

namespace linex {

/// Collective calls of all ranks, from one thread. What fails ends the process.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void sum(double* values, std::int64_t n) = 0;
  virtual void sum(std::int64_t* values, std::int64_t n) = 0;
  virtual void broadcast(void* bytes, std::size_t size, int from) = 0;
  virtual void barrier() = 0;
  /// The orderly end: nothing is called after it.
  virtual void finish() = 0;
};

/// Name and type of the one symbol of the module: starts the engine; null where it does not start.
inline constexpr char kOpenTransport[] = "linex_open_transport";
using OpenTransport = Transport*();

}  // namespace linex
