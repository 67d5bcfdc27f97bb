#include "toolkit/data/row_store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "linex/ability.hpp"
#include "linex/error.hpp"
#include "toolkit/base/byte_stream.hpp"
#include "toolkit/base/files.hpp"
#include "toolkit/base/share.hpp"

namespace linex {
namespace fs = std::filesystem;

namespace {

/// Start of a shard file; then the digest (64 hex digits), then the values, row-major.
struct ShardHeader {
  char magic[8] = {'L', 'N', 'X', 'R', 'O', 'W', 'S', '1'};
  std::uint64_t begin = 0, rows = 0, columns = 0;
  std::uint64_t value_bytes = 4;  // 4: float32, 2: float16
};
constexpr std::size_t kDigestSize = 64;
constexpr std::size_t kValuesAt = sizeof(ShardHeader) + kDigestSize;

std::string digest_of(const ShardHeader& header, const void* values, std::size_t size) {
  return Sha256().add(&header, sizeof header).add(values, size).hex();
}

}  // namespace

RowStore::RowStore(RowStoreOptions options, Logger& log)
    : options_(std::move(options)), log_(log), id_(Sha256().add(options_.key).hex().substr(0, 32)) {
  options_.shard_rows = std::max<std::int64_t>(options_.shard_rows, 1);
  if (options_.cache.empty()) return;
  folder_ = options_.cache / options_.kind / id_;
  try {
    fs::create_directories(folder_);
  } catch (const std::exception& failure) {
    log_.warning(std::string("run.cache cannot be used: ") + failure.what());
    folder_.clear();
  }
}

RowStore::~RowStore() {
  if (lock_ >= 0) ::close(lock_);
}

std::int64_t RowStore::shards() const {
  return (options_.rows + options_.shard_rows - 1) / options_.shard_rows;
}
std::int64_t RowStore::begin(std::int64_t shard) const { return shard * options_.shard_rows; }
std::int64_t RowStore::end(std::int64_t shard) const {
  return std::min(options_.rows, begin(shard) + options_.shard_rows);
}

fs::path RowStore::shard_file(std::int64_t shard) const {
  return folder_ / (std::to_string(begin(shard)) + "-" + std::to_string(end(shard)) +
                    (options_.half ? ".f16" : ".f32"));
}

torch::Tensor RowStore::read(std::int64_t shard) const {
  std::error_code ignored;
  if (folder_.empty() || !fs::exists(shard_file(shard), ignored)) return {};
  const auto damaged = [&](const std::string& why) {
    log_.warning("cache file " + shard_file(shard).string() + " is damaged (" + why +
                 "); its rows are computed again");
    return torch::Tensor();
  };
  std::string content;
  try {
    content = read_file(shard_file(shard));
  } catch (const Error& failure) {
    return damaged(failure.what());
  }
  ShardHeader header;
  if (content.size() < kValuesAt) return damaged("too short");
  std::memcpy(&header, content.data(), sizeof header);
  const std::uint64_t value_bytes = options_.half ? 2 : 4;
  const std::uint64_t size = content.size() - kValuesAt;
  const auto rows = static_cast<std::uint64_t>(end(shard) - begin(shard));
  if (std::memcmp(header.magic, ShardHeader().magic, sizeof header.magic) != 0 ||
      header.begin != static_cast<std::uint64_t>(begin(shard)) || header.rows != rows ||
      header.value_bytes != value_bytes || size % (rows * value_bytes) != 0 ||
      header.columns != size / (rows * value_bytes))
    return damaged("its header does not fit");
  const char* values = content.data() + kValuesAt;
  if (content.compare(sizeof header, kDigestSize, digest_of(header, values, size)) != 0)
    return damaged("its checksum does not fit");
  const auto columns = static_cast<std::int64_t>(header.columns);
  torch::Tensor stored = torch::empty({static_cast<std::int64_t>(rows), columns},
                                      options_.half ? torch::kFloat16 : torch::kFloat32);
  std::memcpy(stored.data_ptr(), values, size);
  return stored.to(torch::kFloat32);
}

void RowStore::write(std::int64_t shard, const torch::Tensor& values) {
  if (folder_.empty()) return;
  const torch::Tensor stored =
      values.to(options_.half ? torch::kFloat16 : torch::kFloat32).contiguous();
  ShardHeader header;
  header.begin = static_cast<std::uint64_t>(begin(shard));
  header.rows = static_cast<std::uint64_t>(values.size(0));
  header.columns = static_cast<std::uint64_t>(values.size(1));
  header.value_bytes = static_cast<std::uint64_t>(stored.element_size());
  const auto size = static_cast<std::size_t>(stored.nbytes());
  std::string content(reinterpret_cast<const char*>(&header), sizeof header);
  content += digest_of(header, stored.data_ptr(), size);
  content.append(static_cast<const char*>(stored.data_ptr()), size);
  try {
    write_file_atomic(shard_file(shard), content);
  } catch (const Error& failure) {
    log_.warning(std::string("run.cache is not used any more: ") + failure.what());
    folder_.clear();
  }
}

torch::Tensor RowStore::rounded(const torch::Tensor& values) const {
  return options_.half ? values.to(torch::kFloat16).to(torch::kFloat32) : values;
}

void RowStore::lock(const PluginContext& context) {
  if (folder_.empty() || lock_ >= 0) return;
  lock_ = ::open((folder_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) return;  // a file system without write permission: shards are still read
  bool told = false;
  while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;
    if (!told) log_.info("waiting for another run that fills " + folder_.string());
    told = true;
    check_cancelled(context);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  remove_leftovers(folder_);
  // For people. Only here: without the lock, another run would take it for one of those files.
  try {
    if (!fs::exists(folder_ / "key.txt")) write_file_atomic(folder_ / "key.txt", options_.key);
  } catch (const std::exception& error) {
    log_.debug(error.what());
  }
}

void exchange_shards(const Cluster& cluster, const RowStore& store,
                     std::vector<torch::Tensor>& shards) {
  cluster.barrier();  // what others wrote is there now
  std::string here;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (!shards[i].defined()) shards[i] = store.read(static_cast<std::int64_t>(i));
    here += shards[i].defined() ? '1' : '0';
  }
  const std::vector<std::string> everywhere = cluster.gather(here);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    int giver = -1, lacking = 0;
    for (int rank = cluster.size() - 1; rank >= 0; --rank)
      if (everywhere[static_cast<std::size_t>(rank)][i] == '1')
        giver = rank;
      else
        ++lacking;
    if (giver < 0 || lacking == 0) continue;
    ByteWriter sent;
    if (giver == cluster.rank()) {
      const torch::Tensor values = shards[i].contiguous();
      sent.put(values.size(1));
      sent.put(std::string(static_cast<const char*>(values.data_ptr()), values.nbytes()));
    }
    std::string bytes = sent.bytes();
    cluster.broadcast(bytes, giver);
    if (shards[i].defined()) continue;
    ByteReader reader(bytes);
    std::int64_t columns = 0;
    std::string values;
    reader.take(columns);
    reader.take(values);
    const std::int64_t index = static_cast<std::int64_t>(i);
    shards[i] = torch::empty({store.end(index) - store.begin(index), columns});
    if (shards[i].nbytes() != values.size())
      throw std::logic_error("a rank sent rows of another size");
    std::memcpy(shards[i].data_ptr(), values.data(), values.size());
  }
}

torch::Tensor stored_rows(const RowStoreOptions& options, const PluginContext& context,
                          const std::string& title, const std::string& unit,
                          const std::function<torch::Tensor(std::int64_t, std::int64_t)>& compute) {
  const auto* const cluster = ability<Cluster>(context);
  RowStore store(options, context.log());
  std::vector<torch::Tensor> parts(static_cast<std::size_t>(store.shards()));
  std::vector<std::int64_t> missing;
  const auto read_missing = [&] {
    missing.clear();
    if (cluster) exchange_shards(*cluster, store, parts);
    for (std::int64_t shard = 0; shard < store.shards(); ++shard) {
      auto& part = parts[static_cast<std::size_t>(shard)];
      if (!part.defined() && !cluster) part = store.read(shard);
      if (!part.defined()) missing.push_back(shard);
    }
  };
  read_missing();
  if (!missing.empty()) {
    // One rank keeps other runs out for all: the lock is of a file, and theirs may be the same.
    if (!cluster || cluster->rank() == 0) store.lock(context);
    read_missing();  // another run may have filled it meanwhile
  }
  if (!missing.empty()) {
    const std::int64_t total = static_cast<std::int64_t>(missing.size());
    const auto rows_of = [&](std::int64_t shard) { return store.end(shard) - store.begin(shard); };
    std::int64_t rows = 0;
    for (const std::int64_t shard : missing) rows += rows_of(shard);
    const auto progress = context.progress(title, rows, unit);
    const Share share = share_of(total, 1, cluster);
    for (std::int64_t i = share.begin; i < share.end; ++i) {
      const std::int64_t shard = missing[static_cast<std::size_t>(i)];
      auto& part = parts[static_cast<std::size_t>(shard)];
      check_cancelled(context);
      part = store.rounded(compute(store.begin(shard), store.end(shard)));
      store.write(shard, part);
      progress->advance(rows_of(shard) * ranks_of(cluster));
    }
    if (cluster) exchange_shards(*cluster, store, parts);
  }
  return parts.empty() ? torch::empty({0, 0}) : torch::cat(parts);
}

}  // namespace linex
