// A wall clock that a test sets: a preload library for Linux and glibc.
//
// Adds the milliseconds that stand in the file EDGE_CLOCK, mapped here and written by the test
// while the process runs. Time since boot goes on untouched, as on a machine whose clock is set.
// Loaded by tests/support/clock.rs.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *ahead_ms;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("EDGE_CLOCK");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *page = mmap(0, sizeof *ahead_ms, PROT_READ, MAP_SHARED, fd, 0);
  if (page != MAP_FAILED) ahead_ms = page;
  close(fd);
}

int clock_gettime(clockid_t id, struct timespec *t) {
  int r = syscall(SYS_clock_gettime, id, t);
  if (r || id != CLOCK_REALTIME || !ahead_ms) return r;
  int64_t ms = t->tv_sec * 1000 + t->tv_nsec / 1000000 + atomic_load(ahead_ms);
  t->tv_sec = ms / 1000;
  t->tv_nsec = ms % 1000 * 1000000 + t->tv_nsec % 1000000;
  return 0;
}
