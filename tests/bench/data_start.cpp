// How long until a data set is open, how fast its images come, and what memory stays taken?
//
//   data_start KIND ROOT CACHE [IMAGES]
//
// make_data.py writes data sets to open. CACHE is run.cache; with the folder there already, the
// start is a later run's.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <thread>

#include "linex/error.hpp"
#include "toolkit/data/dataset.hpp"
#include "toolkit/data/loader.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Of all threads: on a busy machine the wall clock tells of others.
double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Resident now, in MB.
double resident() {
  long pages = 0, kept = 0;
  std::ifstream("/proc/self/statm") >> pages >> kept;
  return static_cast<double>(kept) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 4) {
    std::fprintf(stderr, "usage: data_start KIND ROOT CACHE [IMAGES]\n");
    return 2;
  }
  linex::DataOptions options;
  options.kind = arguments[1];
  options.root = arguments[2];
  options.cache = arguments[3];
  options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::printf("before: %.0f MB resident\n", resident());
  const auto opening = Clock::now();
  const double opening_cpu = cpu_seconds();
  const auto data = linex::open_data_set(options);
  std::printf("open:   %.2f s (%.2f s of CPU), %lld rows, %zu classes, %.0f MB resident\n",
              seconds_since(opening), cpu_seconds() - opening_cpu,
              static_cast<long long>(data->size()), data->class_names().size(), resident());
  const std::int64_t most = count > 4 ? std::atoll(arguments[4]) : data->size();
  linex::Rows rows(static_cast<std::size_t>(std::min(most, data->size())));
  std::iota(rows.begin(), rows.end(), 0);
  linex::Preprocess preprocess;
  preprocess.resize = linex::Preprocess::Resize::squash;
  preprocess.size = 32;
  linex::BatchLoader loader(data, rows, preprocess, {64, options.threads, 0});
  const auto reading = Clock::now();
  const double reading_cpu = cpu_seconds();
  std::size_t told = 0;
  for (auto batch = loader.next(); batch.images.defined(); batch = loader.next()) {
    const std::size_t done = static_cast<std::size_t>(batch.begin + batch.images.size(0));
    if (done * 10 / rows.size() == told) continue;
    told = done * 10 / rows.size();
    const auto images = static_cast<double>(done);
    std::printf("read:   %zu images, %.0f images/s, %.0f a second of CPU, %.0f MB resident\n", done,
                images / seconds_since(reading), images / (cpu_seconds() - reading_cpu),
                resident());
    std::fflush(stdout);
  }
  return 0;
} catch (const linex::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 3;
}
