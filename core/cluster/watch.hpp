// Knows within seconds when a rank is lost, and sees to it that one line says so and all end.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/cluster/transport.hpp"

namespace linex {

/// A TCP connection from every rank to rank 0, served by a thread of its own, because an MPI call
/// that waits for a lost rank waits for ever, and mpirun does not notice a machine that is cut off
/// for minutes. A killed process closes its connection at once; one that is cut off or stopped is
/// silent for longer than `patience`.
///
/// When a rank is lost, rank 0 (or where it is the one, rank 1) says so in one line on standard
/// error, and every process ends with the exit code 130.
class Watch {
 public:
  static constexpr std::chrono::seconds kPatience{20};

  /// Collective. `hosts` are names by rank, for messages.
  Watch(Transport& transport, std::vector<std::string> hosts);
  /// Without finish() the others take this process for lost.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Ranks that could not be connected to, on rank 0: nobody watches them.
  const std::vector<int>& unwatched() const;
  /// The orderly end of a rank; every rank has been through the same barrier before.
  void finish();
  /// The end of a rank that failed, with the line that says why: rank 0 prints it. All ranks often
  /// fail alike: where rank 0 does so too, soon enough, its line is the only one. Does not return.
  [[noreturn]] void fail(const std::string& line, int code);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace linex
