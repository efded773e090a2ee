/* Preloaded into a writer of the store: every write, truncation and sync of files under $RECORD_FOLDER is noted in $RECORD_FILE,
 * in order, as `kind:u8 path_length:u16 offset:u64 length:u32 path data`. Kinds: w write, t truncate, s sync, u unlink. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;

static ssize_t plain_write(int fd, const void *data, size_t length) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = dlsym(RTLD_NEXT, "write");
  return real(fd, data, length);
}

static int watched(int fd, char *path, size_t size) {
  const char *folder = getenv("RECORD_FOLDER");
  char link[64];
  if (!folder || fd == record) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, folder, strlen(folder)) == 0;
}

static void note(char kind, const char *path, uint64_t offset, const void *data, uint32_t length) {
  pthread_mutex_lock(&lock);
  if (record < 0) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    record = real(getenv("RECORD_FILE"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  }
  uint16_t size = strlen(path);
  char head[15];
  head[0] = kind;
  memcpy(head + 1, &size, 2);
  memcpy(head + 3, &offset, 8);
  memcpy(head + 11, &length, 4);
  plain_write(record, head, sizeof head);
  plain_write(record, path, size);
  if (data) plain_write(record, data, length);
  pthread_mutex_unlock(&lock);
}

#define WRITER(name, offset_type)                                                        \
  ssize_t name(int fd, const void *data, size_t length, offset_type offset) {            \
    static ssize_t (*real)(int, const void *, size_t, offset_type);                      \
    if (!real) real = dlsym(RTLD_NEXT, #name);                                           \
    ssize_t done = real(fd, data, length, offset);                                       \
    char path[4096];                                                                     \
    if (done > 0 && watched(fd, path, sizeof path)) note('w', path, offset, data, done); \
    return done;                                                                         \
  }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t length) {
  char path[4096];
  int mine = fd > 2 && watched(fd, path, sizeof path);
  off_t at = mine ? lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t done = plain_write(fd, data, length);
  if (mine && done > 0 && at >= 0) note('w', path, at, data, done);
  return done;
}

#define TRUNCATER(name, offset_type)                                                  \
  int name(int fd, offset_type length) {                                              \
    static int (*real)(int, offset_type);                                             \
    if (!real) real = dlsym(RTLD_NEXT, #name);                                        \
    int done = real(fd, length);                                                      \
    char path[4096];                                                                  \
    if (done == 0 && watched(fd, path, sizeof path)) note('t', path, length, 0, 0);   \
    return done;                                                                      \
  }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

#define SYNCER(name)                                                              \
  int name(int fd) {                                                              \
    static int (*real)(int);                                                      \
    if (!real) real = dlsym(RTLD_NEXT, #name);                                    \
    int done = real(fd);                                                          \
    char path[4096];                                                              \
    if (done == 0 && watched(fd, path, sizeof path)) note('s', path, 0, 0, 0);    \
    return done;                                                                  \
  }
SYNCER(fsync)
SYNCER(fdatasync)

int unlink(const char *path) {
  static int (*real)(const char *);
  const char *folder = getenv("RECORD_FOLDER");
  if (!real) real = dlsym(RTLD_NEXT, "unlink");
  int done = real(path);
  if (done == 0 && folder && strncmp(path, folder, strlen(folder)) == 0) note('u', path, 0, 0, 0);
  return done;
}
