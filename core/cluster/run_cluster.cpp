#include "core/cluster/run_cluster.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/cluster/launch.hpp"
#include "linex/error.hpp"
#include "toolkit/base/library_folder.hpp"

namespace linex {

RunCluster::RunCluster() : hosts_{host_name()} {}

RunCluster::RunCluster(Transport& transport)
    : rank_(transport.rank()), size_(transport.size()), transport_(&transport) {
  hosts_ = gather(host_name());
  if (several()) watch_ = std::make_unique<Watch>(transport, hosts_);
  if (watch_)
    for (const int rank : watch_->unwatched())
      std::fprintf(
          stderr,
          "linex: warning: rank %d on %s reaches no address of rank 0 on %s over TCP; if it "
          "is lost, this run may wait for it for long\n",
          rank, hosts_[static_cast<std::size_t>(rank)].c_str(), hosts_.front().c_str());
}

void RunCluster::sum(double* values, std::int64_t n) const {
  if (!several() || n == 0) return;
  bytes_ += n * static_cast<std::int64_t>(sizeof *values);
  transport_->sum(values, n);
}

void RunCluster::sum(std::int64_t* values, std::int64_t n) const {
  if (!several() || n == 0) return;
  bytes_ += n * static_cast<std::int64_t>(sizeof *values);
  transport_->sum(values, n);
}

std::vector<std::string> RunCluster::gather(const std::string& mine) const {
  if (!several()) return {mine};
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(size_));
  sizes[static_cast<std::size_t>(rank_)] = static_cast<std::int64_t>(mine.size());
  transport_->sum(sizes.data(), size_);
  std::vector<std::string> all(static_cast<std::size_t>(size_));
  for (int from = 0; from < size_; ++from) {
    std::string& bytes = all[static_cast<std::size_t>(from)];
    if (from == rank_)
      bytes = mine;
    else
      bytes.resize(static_cast<std::size_t>(sizes[static_cast<std::size_t>(from)]));
    if (!bytes.empty()) transport_->broadcast(bytes.data(), bytes.size(), from);
  }
  bytes_ += static_cast<std::int64_t>(mine.size());
  return all;
}

void RunCluster::broadcast(std::string& bytes, int from) const {
  if (!several()) return;
  std::int64_t size = static_cast<std::int64_t>(bytes.size());
  transport_->broadcast(&size, sizeof size, from);
  bytes.resize(static_cast<std::size_t>(size));
  if (size > 0) transport_->broadcast(bytes.data(), bytes.size(), from);
  if (from == rank_) bytes_ += size;
}

void RunCluster::barrier() const {
  if (several()) transport_->barrier();
}

bool RunCluster::agreed(bool of_rank_0) const {
  std::string word(of_rank_0 ? "y" : "n");
  broadcast(word, 0);
  return word == "y";
}

std::vector<std::string> RunCluster::machines() const {
  std::vector<std::string> names;
  for (const auto& host : hosts_)
    if (std::find(names.begin(), names.end(), host) == names.end()) names.push_back(host);
  return names;
}

void RunCluster::finish() {
  if (!transport_) return;
  barrier();
  if (watch_) watch_->finish();
  transport_->finish();
  transport_ = nullptr;
}

void RunCluster::fail(const std::string& line, int code) { watch_->fail(line, code); }

namespace {

std::unique_ptr<RunCluster> g_cluster;

Transport& open_mpi() {
  const auto file = library_folder() / "linex_mpi.so";
  // MPI's own parts look for its symbols among those of everybody.
  void* const module = ::dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!module) {
    const char* const why = ::dlerror();
    throw usage_error("run.cluster: this is one of " + std::to_string(launch().size) +
                      " ranks, but MPI cannot be loaded (" + (why ? why : file.string()) +
                      "); build linex with MPI (libopenmpi-dev), or start it without mpirun");
  }
  auto* const open = reinterpret_cast<OpenTransport*>(::dlsym(module, kOpenTransport));
  Transport* const transport = open ? open() : nullptr;
  if (!transport) throw usage_error("run.cluster: MPI does not start");
  if (transport->size() != launch().size)
    throw usage_error("run.cluster: the launcher started " + std::to_string(launch().size) +
                      " ranks, but MPI sees " + std::to_string(transport->size()) +
                      "; start linex with the mpirun of the MPI it was built with");
  return *transport;
}

/// What other ranks print is what rank 0 prints.
void silence_standard_output() {
  std::fflush(stdout);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  ::dup2(nowhere, STDOUT_FILENO);
  ::close(nowhere);
}

}  // namespace

RunCluster& join_cluster(const std::string& choice) {
  if (g_cluster) return *g_cluster;
  if (choice == "mpi" && !launch().several())
    throw usage_error(
        "run.cluster: mpi, but neither mpirun nor srun started several ranks of this run");
  if (choice == "none" || !launch().several()) {
    g_cluster = std::make_unique<RunCluster>();
  } else {
    if (launch().rank != 0) silence_standard_output();
    g_cluster = std::make_unique<RunCluster>(open_mpi());
  }
  return *g_cluster;
}

RunCluster* joined_cluster() { return g_cluster.get(); }

}  // namespace linex
