/* A shim before libc (LD_PRELOAD): fails the N-th change of any file below one folder, or writes down every change.

   It sees what SQLite, Arrow and Python ask of the system alike, so nothing in mien knows of it. Counted are: opening
   for writing, write, pwrite, fsync, fdatasync, rename, mkdir, unlink, ftruncate. The shared memory of SQLite's WAL is
   left out: it is rebuilt after every crash. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char below[4096];
static size_t length;
static long count, at = -1;
static int code, sticky, log_fd = -1;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void shim_watch(const char *folder) { strncpy(below, folder, sizeof below - 1); length = strlen(below); count = 0; at = -1; }
void shim_fail(long n, int error, int for_good) { count = 0; at = n; code = error; sticky = for_good; }
long shim_count(void) { return count; }
void shim_log(int fd) { log_fd = fd; }

static int mine(const char *path) {
    size_t n = strlen(path);
    return length && !strncmp(path, below, length) && !(n > 4 && !strcmp(path + n - 4, "-shm"));
}

static int named(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    if (n <= 0) return 0;
    path[n] = 0;
    return mine(path);
}

static void put(const void *data, size_t size) {
    REAL(write);
    if (real(log_fd, data, size) != (ssize_t)size) _exit(99);
}

/* One record: kind, length of the path, length of the data, offset; then path and data. */
static void record(char kind, const char *path, const void *data, uint64_t size, int64_t offset) {
    if (log_fd < 0) return;
    struct { uint64_t kind, path, size; int64_t offset; } head = {kind, strlen(path), size, offset};
    put(&head, sizeof head); put(path, head.path); put(data, size);
}

void shim_note(const char *text) { record('!', "", text, strlen(text), 0); }

/* Whether this change fails: -1 with errno set. */
static int fails(void) {
    long now = count++;
    if (at < 0 || (sticky ? now < at : now != at)) return 0;
    errno = code;
    return -1;
}

static int opened(const char *path, int flags, int fd, int was) {
    if (fd >= 0 && (flags & O_CREAT) && was) record('c', path, "", 0, 0);
    if (fd >= 0 && (flags & O_TRUNC)) record('t', path, "", 0, 0);
    return fd;
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    REAL(name); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
    if (!mine(path) || !(flags & (O_WRONLY | O_RDWR | O_CREAT))) return real(path, flags, mode); \
    int absent = access(path, F_OK); \
    if (((flags & O_TRUNC) || absent) && fails()) return -1; \
    return opened(path, flags, real(path, flags, mode), absent); }
OPEN(open)
OPEN(open64)

#define WRITE(name, PARAMS, ARGS, offset, call) \
ssize_t name PARAMS { \
    REAL(name); char path[4096]; \
    if (fd == log_fd || !length || !named(fd, path)) return real ARGS; \
    int64_t where = offset; \
    if (fails()) { size = size / 2; call; return -1; } \
    ssize_t done = real ARGS; \
    if (done > 0) record('w', path, data, done, where); \
    return done; }
WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), lseek(fd, 0, SEEK_CUR),
      (void)!real(fd, data, size); errno = code)
WRITE(pwrite, (int fd, const void *data, size_t size, off_t to), (fd, data, size, to), to,
      (void)!real(fd, data, size, to); errno = code)
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t to), (fd, data, size, to), to,
      (void)!real(fd, data, size, to); errno = code)

#define SYNC(name) \
int name(int fd) { \
    REAL(name); char path[4096]; \
    if (!length || !named(fd, path)) return real(fd); \
    if (fails()) return -1; \
    record('s', path, "", 0, 0); return 0; } /* nothing is really synced: the log says what was */
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!mine(from)) return real(from, to);
    if (fails()) return -1;
    int done = real(from, to);
    if (!done) record('r', from, to, strlen(to), 0);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!mine(path)) return real(path, mode);
    if (fails()) return -1;
    int done = real(path, mode);
    if (!done) record('m', path, "", 0, 0);
    return done;
}

int unlink(const char *path) {
    REAL(unlink);
    if (!mine(path)) return real(path);
    if (fails()) return -1;
    int done = real(path);
    if (!done) record('u', path, "", 0, 0);
    return done;
}

#define TRUNCATE(name, type) \
int name(int fd, type size) { \
    REAL(name); char path[4096]; \
    if (!length || !named(fd, path)) return real(fd, size); \
    if (fails()) return -1; \
    int done = real(fd, size); \
    if (!done) record('t', path, "", 0, size); \
    return done; }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
