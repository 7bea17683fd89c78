// What one process does to one folder, in order: a preload library for Linux and glibc.
//
// It writes every change below EDGE_SHIM_DIR (with its bytes) and every byte sent to a TCP peer to
// EDGE_SHIM_TRACE, so that tests/support/recording.rs can rebuild what a power cut could have left.
// It can also fail a chosen sync (EDGE_SHIM_CONTROL, a file mapped here and written by the test)
// and kill the process just before a chosen operation (EDGE_SHIM_KILL=op:part-of-path:n).
// It decides nothing about legality; it only says what happened. Loaded by tests/support/shim.rs.
//
// Order: a change is announced, made and written down under one lock, so at a kill at most one was
// announced and not written down, and may have been made or not. A sync is written down when it
// begins and when it ends, without the lock, because writes go on meanwhile and are not covered.
// A send is written down before it is made: what left the process left at that place or later.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op {
  OP_START = 1, OP_CREATE, OP_OPEN, OP_WRITE, OP_TRUNCATE, OP_RENAME, OP_UNLINK, OP_MKDIR, OP_RMDIR,
  OP_SYNC_BEGIN, OP_SYNC_END, OP_RANGE, OP_ALLOCATE, OP_SEND, OP_SENT, OP_UNKNOWN, OP_BEGIN, OP_END
};

// One line of the recording; then the path, the second path and the data. The same layout stands
// in tests/support/recording.rs.
struct head {
  uint64_t order, inode, a, b;
  uint32_t op, path_len, path2_len, data_len;
};

// Shared with the test; the same layout stands in tests/support/shim.rs.
struct control {
  _Atomic uint64_t fail_after; // counts syncs down; the one that reaches 0 fails; 0 = none
  _Atomic uint64_t failed;     // syncs failed so far
  _Atomic uint64_t syncs;      // syncs asked for so far
  char failed_path[256];
};

static char dir[PATH_MAX];
static size_t dir_len;
static int trace_fd = -1;
static struct control *control;
static char kill_op[16], kill_part[128];
static long kill_at;
static _Atomic long kill_count;
static _Atomic uint64_t next_order = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum kind { UNKNOWN, WATCHED, PEER, OTHER };
#define FDS_MAX 65536
static _Atomic unsigned char kinds[FDS_MAX];

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
  void *f = dlsym(RTLD_NEXT, name);
  if (!f) abort();
  return f;
}

// --- the recording ---------------------------------------------------------------------------

static uint64_t note(enum op op, uint64_t inode, uint64_t a, uint64_t b, const char *path,
                     const char *path2, const void *data, size_t len) {
  struct head h = {atomic_fetch_add(&next_order, 1), inode, a, b, op,
                   path ? strlen(path) : 0, path2 ? strlen(path2) : 0, len};
  if (trace_fd >= 0) {
    struct iovec v[4] = {{&h, sizeof h}, {(void *)path, h.path_len}, {(void *)path2, h.path2_len},
                         {(void *)data, len}};
    syscall(SYS_writev, trace_fd, v, 4);
  }
  return h.order;
}

// A send or a sync takes its number and its line together, so that the file is in order.
static uint64_t note_locked(enum op op, uint64_t inode, uint64_t a, uint64_t b, const char *path,
                            const void *data, size_t len) {
  pthread_mutex_lock(&lock);
  uint64_t order = note(op, inode, a, b, path, 0, data, len);
  pthread_mutex_unlock(&lock);
  return order;
}

static void begin(const char *path, const char *path2) {
  pthread_mutex_lock(&lock);
  note(OP_BEGIN, 0, 0, 0, path, path2, 0, 0);
}

static void end(int error) {
  note(OP_END, 0, 0, 0, 0, 0, 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
}

static uint64_t inode_of(int fd) {
  struct stat s;
  return fstat(fd, &s) == 0 ? s.st_ino : 0;
}

static uint64_t inode_at(const char *path) {
  struct stat s;
  return lstat(path, &s) == 0 ? s.st_ino : 0;
}

// --- which files and sockets are ours --------------------------------------------------------

static int fd_path(int fd, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, PATH_MAX - 1);
  out[n > 0 ? n : 0] = 0;
  return n > 0;
}

// The part of an absolute path below the watched folder ("" is the folder), or nothing.
static const char *below(const char *path) {
  if (!dir_len || strncmp(path, dir, dir_len)) return 0;
  if (path[dir_len] == '/') return path + dir_len + 1;
  return path[dir_len] ? 0 : path + dir_len;
}

static void absolute(int at, const char *path, char *out) {
  char base[PATH_MAX] = "", joined[2 * PATH_MAX];
  if (path[0] != '/') {
    if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
    else fd_path(at, base);
  }
  snprintf(joined, sizeof joined, "%s/%s", base, path);
  size_t n = 0;
  for (const char *p = joined; *p && n < PATH_MAX - 1; p++) {
    if (*p == '/' && n && out[n - 1] == '/') continue;
    if (*p == '.' && n && out[n - 1] == '/' && (p[1] == '/' || !p[1])) continue;
    out[n++] = *p;
  }
  while (n > 1 && out[n - 1] == '/') n--;
  out[n] = 0;
}

static int classify(int fd) {
  struct stat s;
  char path[PATH_MAX];
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  if (fstat(fd, &s)) return OTHER;
  if (S_ISSOCK(s.st_mode)) {
    if (getpeername(fd, (struct sockaddr *)&peer, &len)) return UNKNOWN;
    return peer.ss_family == AF_INET || peer.ss_family == AF_INET6 ? PEER : OTHER;
  }
  if (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)) return OTHER;
  return fd_path(fd, path) && below(path) ? WATCHED : OTHER;
}

static int kind_of(int fd) {
  if (fd < 0) return OTHER;
  if (fd >= FDS_MAX) return classify(fd);
  int k = kinds[fd];
  if (k == UNKNOWN) kinds[fd] = k = classify(fd);
  return k;
}

static void forget(int fd) { if (fd >= 0 && fd < FDS_MAX) kinds[fd] = UNKNOWN; }

static uint64_t peer_port(int fd) {
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  if (getpeername(fd, (struct sockaddr *)&peer, &len)) return 0;
  return ntohs(((struct sockaddr_in *)&peer)->sin_port); // the same place in sockaddr_in6
}

static void kill_before(const char *op, const char *path) {
  if (!kill_at || strcmp(op, kill_op) || !strstr(path, kill_part)) return;
  if (atomic_fetch_add(&kill_count, 1) + 1 != kill_at) return;
  for (;;) { kill(getpid(), SIGKILL); pause(); }
}

static void begin_fd(int fd) {
  char path[PATH_MAX];
  begin(fd_path(fd, path) ? below(path) : 0, 0);
}

static void kill_before_fd(const char *op, int fd) {
  char path[PATH_MAX];
  if (kill_at && fd_path(fd, path)) kill_before(op, path);
}

__attribute__((constructor)) static void start(void) {
  const char *s;
  if ((s = getenv("EDGE_SHIM_DIR"))) { strncpy(dir, s, PATH_MAX - 1); dir_len = strlen(dir); }
  if ((s = getenv("EDGE_SHIM_TRACE"))) {
    int fd = syscall(SYS_openat, AT_FDCWD, s, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    trace_fd = fd < 0 ? -1 : syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
    if (fd >= 0) syscall(SYS_close, fd);
  }
  if ((s = getenv("EDGE_SHIM_CONTROL"))) {
    int fd = syscall(SYS_openat, AT_FDCWD, s, O_RDWR | O_CLOEXEC, 0);
    void *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) control = p;
    syscall(SYS_close, fd);
  }
  if ((s = getenv("EDGE_SHIM_KILL")))
    sscanf(s, "%15[^:]:%127[^:]:%ld", kill_op, kill_part, &kill_at);
  if (dir_len) note_locked(OP_START, inode_at(dir), getpid(), 0, 0, 0, 0);
}

// --- names -----------------------------------------------------------------------------------

static int open_any(int at, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  absolute(at, path, full);
  const char *name = below(full);
  if (!name) {
    int fd = REAL(openat)(at, path, flags, mode);
    forget(fd);
    return fd;
  }
  kill_before("open", full);
  begin(name, 0);
  int is_new = (flags & O_CREAT) && !inode_at(full);
  if (is_new) kill_before("create", full);
  int fd = REAL(openat)(at, path, flags, mode);
  int error = errno;
  if (fd >= 0) {
    forget(fd);
    if (flags & O_TMPFILE & ~O_DIRECTORY) note(OP_UNKNOWN, 0, 0, 0, "O_TMPFILE", 0, 0, 0);
    note(is_new ? OP_CREATE : OP_OPEN, inode_of(fd), flags, 0, name, 0, 0, 0);
    if (!is_new && (flags & O_TRUNC)) note(OP_TRUNCATE, inode_of(fd), 0, 0, 0, 0, 0, 0);
  }
  end(error);
  return fd;
}

#define MODE_OF(flags, mode)                                                                       \
  mode_t mode = 0;                                                                                 \
  if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {                                          \
    va_list v;                                                                                     \
    va_start(v, flags);                                                                            \
    mode = va_arg(v, mode_t);                                                                      \
    va_end(v);                                                                                     \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags, mode);
  return open_any(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE_OF(flags, mode);
  return open_any(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
  MODE_OF(flags, mode);
  return open_any(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
  MODE_OF(flags, mode);
  return open_any(at, path, flags, mode);
}
int creat(const char *path, mode_t mode) {
  return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
  char a[PATH_MAX], b[PATH_MAX];
  absolute(at, from, a);
  absolute(to_at, to, b);
  if (!below(a) && !below(b)) return REAL(renameat2)(at, from, to_at, to, flags);
  kill_before("rename", b);
  begin(below(a), below(b));
  int r = REAL(renameat2)(at, from, to_at, to, flags);
  int error = errno;
  if (r == 0) {
    if (flags || !below(a) || !below(b)) note(OP_UNKNOWN, 0, 0, 0, "rename across", 0, 0, 0);
    else note(OP_RENAME, inode_at(b), 0, 0, below(a), below(b), 0, 0);
  }
  end(error);
  return r;
}
int renameat(int at, const char *from, int to_at, const char *to) {
  return renameat2(at, from, to_at, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int at, const char *path, int flags) {
  char full[PATH_MAX];
  absolute(at, path, full);
  if (!below(full)) return REAL(unlinkat)(at, path, flags);
  kill_before("unlink", full);
  begin(below(full), 0);
  uint64_t inode = inode_at(full);
  int r = REAL(unlinkat)(at, path, flags);
  int error = errno;
  if (r == 0) note(flags & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK, inode, 0, 0, below(full), 0, 0, 0);
  end(error);
  return r;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
  char full[PATH_MAX];
  absolute(at, path, full);
  if (!below(full)) return REAL(mkdirat)(at, path, mode);
  kill_before("mkdir", full);
  begin(below(full), 0);
  int r = REAL(mkdirat)(at, path, mode);
  int error = errno;
  if (r == 0) note(OP_MKDIR, inode_at(full), 0, 0, below(full), 0, 0, 0);
  end(error);
  return r;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
  char full[PATH_MAX];
  absolute(to_at, to, full);
  if (below(full)) note_locked(OP_UNKNOWN, 0, 0, 0, "link", 0, 0);
  return REAL(linkat)(at, from, to_at, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int close(int fd) { forget(fd); return REAL(close)(fd); }
int dup2(int from, int to) { forget(to); return REAL(dup2)(from, to); }
int dup3(int from, int to, int flags) { forget(to); return REAL(dup3)(from, to, flags); }

// --- bytes -----------------------------------------------------------------------------------

static size_t total(const struct iovec *v, int n) {
  size_t sum = 0;
  for (int i = 0; i < n; i++) sum += v[i].iov_len;
  return sum;
}

static void *flat(const struct iovec *v, int n, size_t len) {
  char *out = malloc(len ? len : 1), *p = out;
  for (int i = 0; i < n; i++) { memcpy(p, v[i].iov_base, v[i].iov_len); p += v[i].iov_len; }
  return out;
}

// offset < 0: at the file's own position.
static ssize_t write_watched(int fd, const struct iovec *v, int n, off_t offset) {
  kill_before_fd("write", fd);
  begin_fd(fd);
  ssize_t r = offset < 0 ? REAL(writev)(fd, v, n) : REAL(pwritev)(fd, v, n, offset);
  int error = errno;
  kill_before_fd("written", fd);
  if (r > 0) {
    off_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) - r : offset;
    void *data = flat(v, n, total(v, n));
    note(OP_WRITE, inode_of(fd), at, 0, 0, 0, data, r);
    free(data);
  }
  end(error);
  return r;
}

static uint64_t sending(int fd, const struct iovec *v, int n) {
  size_t len = total(v, n);
  void *data = flat(v, n, len);
  uint64_t order = note_locked(OP_SEND, 0, peer_port(fd), 0, 0, data, len);
  free(data);
  return order;
}

static ssize_t sent(uint64_t order, ssize_t r) {
  int error = errno;
  note_locked(OP_SENT, 0, order, r > 0 ? r : 0, 0, 0, 0);
  errno = error;
  return r;
}

ssize_t write(int fd, const void *data, size_t len) {
  struct iovec v = {(void *)data, len};
  int kind = kind_of(fd);
  if (kind == WATCHED) return write_watched(fd, &v, 1, -1);
  if (kind == PEER && trace_fd >= 0) {
    uint64_t order = sending(fd, &v, 1);
    return sent(order, REAL(write)(fd, data, len));
  }
  return REAL(write)(fd, data, len);
}
ssize_t writev(int fd, const struct iovec *v, int n) {
  int kind = kind_of(fd);
  if (kind == WATCHED) return write_watched(fd, v, n, -1);
  if (kind == PEER && trace_fd >= 0) {
    uint64_t order = sending(fd, v, n);
    return sent(order, REAL(writev)(fd, v, n));
  }
  return REAL(writev)(fd, v, n);
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) {
  struct iovec v = {(void *)data, len};
  if (kind_of(fd) == WATCHED) return write_watched(fd, &v, 1, offset);
  return REAL(pwrite)(fd, data, len, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset) {
  return pwrite(fd, data, len, offset);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t offset) {
  if (kind_of(fd) == WATCHED) return write_watched(fd, v, n, offset);
  return REAL(pwritev)(fd, v, n, offset);
}
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t offset) {
  return pwritev(fd, v, n, offset);
}
// The kernel's short cuts for copying would go unseen: refused, so that std falls back to write.
ssize_t copy_file_range(int a, off_t *x, int b, off_t *y, size_t n, unsigned f) {
  (void)a, (void)x, (void)b, (void)y, (void)n, (void)f;
  errno = ENOSYS;
  return -1;
}
ssize_t sendfile(int a, int b, off_t *x, size_t n) {
  (void)a, (void)b, (void)x, (void)n;
  errno = ENOSYS;
  return -1;
}
ssize_t sendfile64(int a, int b, off_t *x, size_t n) { return sendfile(a, b, x, n); }

ssize_t send(int fd, const void *data, size_t len, int flags) {
  if (trace_fd < 0 || kind_of(fd) != PEER) return REAL(send)(fd, data, len, flags);
  struct iovec v = {(void *)data, len};
  uint64_t order = sending(fd, &v, 1);
  return sent(order, REAL(send)(fd, data, len, flags));
}
ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
               socklen_t to_len) {
  if (to) return REAL(sendto)(fd, data, len, flags, to, to_len);
  return send(fd, data, len, flags);
}
ssize_t sendmsg(int fd, const struct msghdr *m, int flags) {
  if (trace_fd < 0 || kind_of(fd) != PEER) return REAL(sendmsg)(fd, m, flags);
  uint64_t order = sending(fd, m->msg_iov, m->msg_iovlen);
  return sent(order, REAL(sendmsg)(fd, m, flags));
}

int ftruncate(int fd, off_t len) {
  if (kind_of(fd) != WATCHED) return REAL(ftruncate)(fd, len);
  kill_before_fd("truncate", fd);
  begin_fd(fd);
  int r = REAL(ftruncate)(fd, len);
  int error = errno;
  if (r == 0) note(OP_TRUNCATE, inode_of(fd), len, 0, 0, 0, 0, 0);
  end(error);
  return r;
}
int ftruncate64(int fd, off_t len) { return ftruncate(fd, len); }

int fallocate(int fd, int mode, off_t offset, off_t len) {
  if (kind_of(fd) != WATCHED) return REAL(fallocate)(fd, mode, offset, len);
  begin_fd(fd);
  int r = REAL(fallocate)(fd, mode, offset, len);
  int error = errno;
  if (r == 0 && mode == 0) note(OP_ALLOCATE, inode_of(fd), offset, len, 0, 0, 0, 0);
  if (r == 0 && mode & ~FALLOC_FL_KEEP_SIZE) note(OP_UNKNOWN, 0, 0, 0, "fallocate", 0, 0, 0);
  end(error);
  return r;
}
int fallocate64(int fd, int mode, off_t offset, off_t len) {
  return fallocate(fd, mode, offset, len);
}
int posix_fallocate(int fd, off_t offset, off_t len) {
  return fallocate(fd, 0, offset, len) ? errno : 0;
}
int posix_fallocate64(int fd, off_t offset, off_t len) { return posix_fallocate(fd, offset, len); }

// --- syncs -----------------------------------------------------------------------------------

static int must_fail(int fd) {
  if (!control) return 0;
  atomic_fetch_add(&control->syncs, 1);
  uint64_t left = atomic_load(&control->fail_after);
  while (left && !atomic_compare_exchange_weak(&control->fail_after, &left, left - 1)) {}
  if (left != 1) return 0;
  char path[PATH_MAX];
  if (fd_path(fd, path)) {
    const char *name = below(path);
    size_t len = strnlen(name ? name : path, sizeof control->failed_path - 1);
    memcpy(control->failed_path, name ? name : path, len);
    control->failed_path[len] = 0;
  }
  atomic_fetch_add(&control->failed, 1);
  return 1;
}

static int sync_watched(int fd, int data_only) {
  kill_before_fd("sync", fd);
  uint64_t inode = inode_of(fd);
  uint64_t begin = note_locked(OP_SYNC_BEGIN, inode, data_only, 0, 0, 0, 0);
  int r = -1, error = EIO;
  if (!must_fail(fd)) {
    r = data_only ? REAL(fdatasync)(fd) : REAL(fsync)(fd);
    error = errno;
  }
  note_locked(OP_SYNC_END, inode, begin, r ? error : 0, 0, 0, 0);
  kill_before_fd("synced", fd);
  errno = error;
  return r;
}
int fsync(int fd) { return kind_of(fd) == WATCHED ? sync_watched(fd, 0) : REAL(fsync)(fd); }
int fdatasync(int fd) {
  return kind_of(fd) == WATCHED ? sync_watched(fd, 1) : REAL(fdatasync)(fd);
}
int sync_file_range(int fd, off_t offset, off_t len, unsigned flags) {
  if (kind_of(fd) == WATCHED) note_locked(OP_RANGE, inode_of(fd), offset, len, 0, 0, 0);
  return REAL(sync_file_range)(fd, offset, len, flags);
}
