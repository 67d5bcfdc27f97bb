// A library for LD_PRELOAD that lets the n-th system call of a kind go wrong; tests only.
//
//   LINEX_FAULT=OP:N:ACTION   OP: open read write fsync rename mmap mkdir malloc; N counts from 1;
//                             ACTION: an errno as a number, "short" (write: a part only), "kill"
//                             or "term" (the signal comes before the call)
//   LINEX_FAULT_ROOT=DIR      only calls on files under DIR count: what libraries do elsewhere is
//                             another thing on each machine
//   LINEX_FAULT_LEAST=BYTES   malloc: only requests of so many bytes count, and only after the
//                             first call on a file under DIR, when libraries have been loaded
//   LINEX_FAULT_LOG=FILE      one line is added when the fault is dealt out
//
// They are read when the library is loaded, and again by linex_read_fault().
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char g_op[16], g_action[16], g_root[4096], g_log[4096];
static long g_n, g_seen, g_least;
static int g_begun;

void linex_read_fault(void);
__attribute__((constructor)) void linex_read_fault(void) {
  const char* fault = getenv("LINEX_FAULT");
  const char* root = getenv("LINEX_FAULT_ROOT");
  const char* log = getenv("LINEX_FAULT_LOG");
  if (!fault || !root || !log) return;
  const char* least = getenv("LINEX_FAULT_LEAST");
  g_least = least ? atol(least) : 1;
  if (sscanf(fault, "%15[a-z]:%ld:%15s", g_op, &g_n, g_action) != 3) abort();
  snprintf(g_root, sizeof g_root, "%s", root);
  snprintf(g_log, sizeof g_log, "%s", log);
}

static int under_root(const char* path) {
  if (!g_root[0] || strncmp(path, g_root, strlen(g_root)) != 0) return 0;
  __atomic_store_n(&g_begun, 1, __ATOMIC_RELAXED);
  return 1;
}

static int path_counts(const char* path) {
  if (!g_root[0] || !path) return 0;
  if (path[0] == '/') return under_root(path);
  char here[4096];
  return syscall(SYS_getcwd, here, sizeof here) > 0 && under_root(here);
}

static int fd_counts(int fd) {
  if (!g_root[0] || fd < 3) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long size = syscall(SYS_readlink, link, path, sizeof path - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  return under_root(path);
}

/// 1: the call fails with errno set; 2: it does a part; 0: nothing happens to it.
static int fault(const char* op, int counts, const char* what) {
  if (!counts || strcmp(op, g_op) != 0) return 0;
  if (__atomic_add_fetch(&g_seen, 1, __ATOMIC_SEQ_CST) != g_n) return 0;
  char line[4300];
  const int size = snprintf(line, sizeof line, "%s %ld %s\n", op, g_n, what ? what : "");
  const long log = syscall(SYS_openat, AT_FDCWD, g_log, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (log >= 0) {
    syscall(SYS_write, log, line, (size_t)size);
    syscall(SYS_close, log);
  }
  if (strcmp(g_action, "kill") == 0) kill(getpid(), SIGKILL);
  if (strcmp(g_action, "term") == 0) {
    kill(getpid(), SIGTERM);
    return 0;
  }
  if (strcmp(g_action, "short") == 0) return 2;
  errno = atoi(g_action);
  return 1;
}

#define NEXT(name) (__extension__(__typeof__(&name)) dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                         \
  int name(const char* path, int flags, ...) {             \
    mode_t mode = 0;                                       \
    if (flags & (O_CREAT | O_TMPFILE)) {                   \
      va_list rest;                                        \
      va_start(rest, flags);                               \
      mode = (mode_t)va_arg(rest, int);                    \
      va_end(rest);                                        \
    }                                                      \
    if (fault("open", path_counts(path), path)) return -1; \
    return NEXT(name)(path, flags, mode);                  \
  }
OPEN(open)
OPEN(open64)

#define FOPEN(name)                                          \
  FILE* name(const char* path, const char* mode) {           \
    if (fault("open", path_counts(path), path)) return NULL; \
    return NEXT(name)(path, mode);                           \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t read(int fd, void* to, size_t size) {
  const int what = fault("read", fd_counts(fd), "");
  if (what == 1) return -1;
  return NEXT(read)(fd, to, what == 2 && size > 1 ? size / 2 : size);
}

ssize_t write(int fd, const void* from, size_t size) {
  const int what = fault("write", fd_counts(fd), "");
  if (what == 1) return -1;
  return NEXT(write)(fd, from, what == 2 && size > 1 ? size / 2 : size);
}

ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  return fault("write", fd_counts(fd), "") == 1 ? -1 : NEXT(pwrite)(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void* from, size_t size, off64_t at) {
  return fault("write", fd_counts(fd), "") == 1 ? -1 : NEXT(pwrite64)(fd, from, size, at);
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  return fault("write", fd_counts(fd), "") == 1 ? -1 : NEXT(writev)(fd, parts, count);
}

int fsync(int fd) { return fault("fsync", fd_counts(fd), "") ? -1 : NEXT(fsync)(fd); }

int rename(const char* from, const char* to) {
  return fault("rename", path_counts(to), to) ? -1 : NEXT(rename)(from, to);
}

int mkdir(const char* path, mode_t mode) {
  return fault("mkdir", path_counts(path), path) ? -1 : NEXT(mkdir)(path, mode);
}

#define MMAP(name, offset)                                                         \
  void* name(void* at, size_t size, int rights, int flags, int fd, offset start) { \
    if (fault("mmap", fd_counts(fd), "")) return MAP_FAILED;                       \
    return NEXT(name)(at, size, rights, flags, fd, start);                         \
  }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

// The C library's own allocators by their inner names: dlsym() allocates. A sanitizer has its own.
#ifndef LINEX_SANITIZED
extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* block, size_t size);
extern void* __libc_memalign(size_t alignment, size_t size);

static int no_memory(size_t size) {
  if (!__atomic_load_n(&g_begun, __ATOMIC_RELAXED) || (long)size < g_least) return 0;
  return fault("malloc", 1, "");
}

void* malloc(size_t size) { return no_memory(size) ? NULL : __libc_malloc(size); }

void* calloc(size_t count, size_t size) {
  return no_memory(count * size) ? NULL : __libc_calloc(count, size);
}

void* realloc(void* block, size_t size) {
  return no_memory(size) ? NULL : __libc_realloc(block, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  return no_memory(size) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  if (no_memory(size)) return ENOMEM;
  *block = __libc_memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}
#endif
