// MPI behind Transport: the only file that knows it, in a module of its own that is loaded where
// mpirun or srun started linex and nowhere else.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>

#include "core/cluster/transport.hpp"

namespace linex {

namespace {

// Elements a call: its count is an int, and memory for a reduction is of that size.
constexpr std::int64_t kAtOnce = std::int64_t{1} << 24;

class MpiTransport final : public Transport {
 public:
  MpiTransport() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum(double* values, std::int64_t n) override { sum(values, n, MPI_DOUBLE); }
  void sum(std::int64_t* values, std::int64_t n) override { sum(values, n, MPI_INT64_T); }
  void broadcast(void* bytes, std::size_t size, int from) override {
    char* const first = static_cast<char*>(bytes);
    const std::int64_t n = static_cast<std::int64_t>(size);
    for (std::int64_t begin = 0; begin < n; begin += kAtOnce)
      MPI_Bcast(first + begin, static_cast<int>(std::min(kAtOnce, n - begin)), MPI_BYTE, from,
                MPI_COMM_WORLD);
  }
  void barrier() override { MPI_Barrier(MPI_COMM_WORLD); }
  void finish() override { MPI_Finalize(); }

 private:
  template <class T>
  void sum(T* values, std::int64_t n, MPI_Datatype type) {
    for (std::int64_t begin = 0; begin < n; begin += kAtOnce)
      MPI_Allreduce(MPI_IN_PLACE, values + begin, static_cast<int>(std::min(kAtOnce, n - begin)),
                    type, MPI_SUM, MPI_COMM_WORLD);
  }

  int rank_ = 0, size_ = 1;
};

}  // namespace

}  // namespace linex

extern "C" __attribute__((visibility("default"))) linex::Transport* linex_open_transport() {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
    return nullptr;
  return new linex::MpiTransport;  // lives as long as the process
}
