#include "core/cluster/watch.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "toolkit/base/text.hpp"

namespace linex {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kBeat{2000}, kConnect{2000}, kStart{20000}, kGrace{2000};
constexpr int kLost = 130;                 // interrupted, and resumable
constexpr std::size_t kLongest = 1 << 16;  // of what a rank may send as one line

/// A socket that closes itself.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

bool wait_for(int fd, short events, milliseconds limit) {
  pollfd wanted{fd, events, 0};
  return ::poll(&wanted, 1, static_cast<int>(limit.count())) > 0;
}

/// All of it or nothing worth having: beats and lines are short.
bool send_all(int fd, const std::string& text) {
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(text.size());
}

/// A line without its end; false where none comes in time.
bool receive_line(int fd, milliseconds limit, std::string& line) {
  line.clear();
  const auto until = Clock::now() + limit;
  while (line.size() < 256) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
    char c = 0;
    if (left.count() <= 0 || !wait_for(fd, POLLIN, left) || ::recv(fd, &c, 1, 0) != 1) return false;
    if (c == '\n') return true;
    line += c;
  }
  return false;
}

std::string on_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string random_word() {
  unsigned char bytes[16] = {};
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return "0";
  std::string word;
  for (const unsigned char byte : bytes) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", byte);
    word += text;
  }
  return word;
}

/// Numeric addresses of this machine that others may reach, and its own for ranks beside it.
std::vector<std::string> addresses() {
  std::vector<std::string> found;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return found;
  for (const ifaddrs* entry = all; entry; entry = entry->ifa_next) {
    if (!entry->ifa_addr || !(entry->ifa_flags & IFF_UP)) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (entry->ifa_addr->sa_family == AF_INET)
      ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text,
                  sizeof text);
    else if (entry->ifa_addr->sa_family == AF_INET6) {
      const auto& address = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr;
      if (!IN6_IS_ADDR_LINKLOCAL(&address)) ::inet_ntop(AF_INET6, &address, text, sizeof text);
    }
    if (*text) found.emplace_back(text);
  }
  ::freeifaddrs(all);
  return found;
}

/// Listens on all addresses, IPv4 and IPv6, at a port of the system's choice.
Socket listen_anywhere(int& port) {
  Socket socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket) {
    const int no = 0;
    ::setsockopt(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_any;
    socklen_t size = sizeof address;
    if (::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
        ::listen(socket.fd(), SOMAXCONN) == 0 &&
        ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size) == 0) {
      port = ntohs(address.sin6_port);
      return socket;
    }
  }
  socket = Socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  if (!socket || ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(socket.fd(), SOMAXCONN) != 0 ||
      ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return Socket();
  port = ntohs(address.sin_port);
  return socket;
}

Socket connect_to(const std::string& host, int port) {
  sockaddr_storage address{};
  socklen_t size = 0;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<std::uint16_t>(port));
    size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<std::uint16_t>(port));
    size = sizeof *v6;
  } else {
    return Socket();
  }
  Socket socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return socket;
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    int failure = 0;
    socklen_t length = sizeof failure;
    if (errno != EINPROGRESS || !wait_for(socket.fd(), POLLOUT, kConnect) ||
        ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &failure, &length) != 0 || failure != 0)
      return Socket();
  }
  ::fcntl(socket.fd(), F_SETFL, ::fcntl(socket.fd(), F_GETFL) & ~O_NONBLOCK);
  return socket;
}

}  // namespace

/// One connection and what came over it.
struct Peer {
  int rank = 0;
  Socket socket;
  Clock::time_point heard = Clock::now();
  std::string received;  // of a line that is not complete
  bool left = false;     // it said goodbye
};

class Watch::State {
 public:
  State(Transport& transport, std::vector<std::string> hosts)
      : rank_(transport.rank()), hosts_(std::move(hosts)) {
    meet(transport);
    if (::pipe2(wake_, O_CLOEXEC) != 0) wake_[0] = wake_[1] = -1;
    thread_ = std::thread([this] { serve(); });
  }
  ~State() {
    stop();
    for (const int fd : wake_)
      if (fd >= 0) ::close(fd);
  }

  const std::vector<int>& unwatched() const { return unwatched_; }

  void finish() {
    {
      const std::lock_guard<std::mutex> guard(sending_);
      for (const Peer& peer : peers_) send_all(peer.socket.fd(), "bye\n");
    }
    stop();
  }

  [[noreturn]] void fail(const std::string& line, int code) {
    if (rank_ == 0) {
      // A rank that is lost may be why this one fails: then the thread says so first.
      if (code == kLost) std::this_thread::sleep_for(milliseconds(500));
      end_all(line, code);
    }
    if (peers_.empty()) {  // unwatched: there is nobody to tell
      std::this_thread::sleep_for(kGrace);
      say(of(rank_) + ": " + line);
      ::_exit(code);
    }
    {
      const std::lock_guard<std::mutex> guard(sending_);
      send_all(peers_.front().socket.fd(),
               "failed " + std::to_string(code) + " " + on_one_line(line) + "\n");
    }
    for (;;) std::this_thread::sleep_for(kPatience);  // the thread ends the process
  }

 private:
  std::string of(int rank) const {
    return "rank " + std::to_string(rank) + " on " + hosts_[static_cast<std::size_t>(rank)];
  }
  static void say(const std::string& line) {
    std::fflush(stdout);
    std::fprintf(stderr, "linex: %s\n", line.c_str());
    std::fflush(stderr);
  }

  /// Prints and ends this process and, over their connections, all others. One thread only gets
  /// here.
  [[noreturn]] void end_all(const std::string& line, int code) {
    if (ending_.exchange(true))
      for (;;) std::this_thread::sleep_for(kPatience);
    say(line);
    const std::lock_guard<std::mutex> guard(sending_);
    for (const Peer& peer : peers_)
      send_all(peer.socket.fd(), "end " + std::to_string(code) + "\n");
    ::_exit(code);
  }

  /// Connects every rank with rank 0.
  void meet(Transport& transport) {
    int port = 0;
    Socket listener;
    std::string card;  // word, port and addresses
    if (rank_ == 0) {
      listener = listen_anywhere(port);
      card = random_word() + " " + std::to_string(port);
      for (const std::string& address : addresses()) card += " " + address;
    }
    std::int64_t size = static_cast<std::int64_t>(card.size());
    transport.broadcast(&size, sizeof size, 0);
    card.resize(static_cast<std::size_t>(size));
    transport.broadcast(card.data(), card.size(), 0);
    if (rank_ == 0) {
      accept_all(listener, transport.size(), split(card, ' ').front());
      return;
    }
    const std::vector<std::string> words = split(card, ' ');
    for (std::size_t i = 2; i < words.size() && peers_.empty(); ++i) {
      Socket socket = connect_to(words[i], std::atoi(words[1].c_str()));
      std::string answer;
      // Another machine may have an address of the same name.
      if (socket && send_all(socket.fd(), words[0] + " " + std::to_string(rank_) + "\n") &&
          receive_line(socket.fd(), kConnect, answer) && answer == words[0])
        add(0, std::move(socket));
    }
  }

  void accept_all(const Socket& listener, int ranks, const std::string& word) {
    const auto until = Clock::now() + kStart;
    std::vector<bool> here(static_cast<std::size_t>(ranks));
    here[0] = true;
    while (static_cast<int>(peers_.size()) + 1 < ranks && listener) {
      const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
      if (left.count() <= 0 || !wait_for(listener.fd(), POLLIN, left)) break;
      Socket socket(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
      std::string line;
      if (!socket || !receive_line(socket.fd(), kConnect, line)) continue;
      const auto words = split(line, ' ');
      const int rank = words.size() == 2 && words[0] == word ? std::atoi(words[1].c_str()) : 0;
      if (rank < 1 || rank >= ranks || here[static_cast<std::size_t>(rank)]) continue;
      if (!send_all(socket.fd(), word + "\n")) continue;
      here[static_cast<std::size_t>(rank)] = true;
      add(rank, std::move(socket));
    }
    for (int rank = 0; rank < ranks; ++rank)
      if (!here[static_cast<std::size_t>(rank)]) unwatched_.push_back(rank);
  }

  void add(int rank, Socket socket) {
    const int yes = 1;
    ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    Peer peer;
    peer.rank = rank;
    peer.socket = std::move(socket);
    peers_.push_back(std::move(peer));
  }

  void stop() {
    if (!thread_.joinable()) return;
    if (wake_[1] >= 0) [[maybe_unused]]
      const auto written = ::write(wake_[1], "", 1);
    thread_.join();
  }

  void serve() {
    auto next_beat = Clock::now();
    for (;;) {
      std::vector<pollfd> wanted{{wake_[0], POLLIN, 0}};
      for (const Peer& peer : peers_)
        wanted.push_back({peer.left ? -1 : peer.socket.fd(), POLLIN, 0});
      const milliseconds wait = failed_rank_ >= 0 ? milliseconds(50) : kBeat / 2;
      ::poll(wanted.data(), wanted.size(), static_cast<int>(wait.count()));
      if (wanted[0].revents) return;
      const auto now = Clock::now();
      for (std::size_t i = 0; i < peers_.size(); ++i)
        if (wanted[i + 1].revents) hear(peers_[i]);
      for (const Peer& peer : peers_)
        if (!peer.left && now - peer.heard > kPatience)
          lost(peer.rank, "has not been heard of for " + std::to_string(kPatience.count()) +
                              " s (cut off, or stopped)");
      if (failed_rank_ >= 0 && now > failed_at_ + kGrace)
        end_all(of(failed_rank_) + ": " + failed_line_, failed_code_);
      if (now < next_beat) continue;
      next_beat = now + kBeat;
      const std::lock_guard<std::mutex> guard(sending_);
      for (const Peer& peer : peers_)
        if (!peer.left) send_all(peer.socket.fd(), ".\n");
    }
  }

  void hear(Peer& peer) {
    char text[4096];
    const ssize_t n = ::recv(peer.socket.fd(), text, sizeof text, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || peer.received.size() > kLongest) {
      lost(peer.rank, "has ended before its time (killed, or out of memory)");
      return;
    }
    peer.heard = Clock::now();
    peer.received.append(text, static_cast<std::size_t>(n));
    for (std::size_t end; (end = peer.received.find('\n')) != std::string::npos;) {
      obey(peer, peer.received.substr(0, end));
      peer.received.erase(0, end + 1);
    }
  }

  void obey(Peer& peer, const std::string& line) {
    if (line == "bye") peer.left = true;
    if (line.rfind("end ", 0) == 0 && rank_ != 0) ::_exit(std::atoi(line.c_str() + 4));
    if (line.rfind("failed ", 0) != 0 || rank_ != 0 || failed_rank_ >= 0) return;
    const std::size_t space = line.find(' ', 7);
    failed_code_ = std::atoi(line.c_str() + 7);
    failed_line_ = space == std::string::npos ? "" : line.substr(space + 1);
    failed_at_ = Clock::now();
    failed_rank_ = peer.rank;
  }

  void lost(int rank, const std::string& why) {
    if (failed_rank_ == rank) return;  // it has said why
    const std::string line =
        of(rank) + " " + why + "; start linex again, with any number of ranks, to go on";
    if (rank_ == 0 || rank_ == 1) end_all(line, kLost);
    ::_exit(kLost);
  }

  const int rank_;
  const std::vector<std::string> hosts_;
  std::vector<Peer> peers_;  // of rank 0: all others; of the others: rank 0
  std::vector<int> unwatched_;
  std::mutex sending_;
  std::atomic<bool> ending_{false};
  int wake_[2] = {-1, -1};
  // What a rank said of its failure, while rank 0 may fail alike.
  int failed_rank_ = -1, failed_code_ = 0;
  std::string failed_line_;
  Clock::time_point failed_at_;
  std::thread thread_;
};

Watch::Watch(Transport& transport, std::vector<std::string> hosts)
    : state_(std::make_unique<State>(transport, std::move(hosts))) {}
Watch::~Watch() = default;
const std::vector<int>& Watch::unwatched() const { return state_->unwatched(); }
void Watch::finish() { state_->finish(); }
void Watch::fail(const std::string& line, int code) { state_->fail(line, code); }

}  // namespace linex
