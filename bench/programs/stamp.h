/* What the job side of the benchmarks writes down: one record for each start, appended to the file
 * that STAMP names. An append of so few bytes is whole, whoever else writes. */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct stamp {
  int64_t begun; /* nanoseconds of CLOCK_MONOTONIC: the first instruction that we have a say in */
  int64_t pid;
};

static inline int64_t nanoseconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How many records there are now; -1: STAMP is not set, or its file cannot be written. */
static inline int64_t stamp_write(int64_t begun) {
  struct stamp stamp = {.begun = begun, .pid = getpid()};
  const char *path = getenv("STAMP");
  if (path == NULL) return -1;
  int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  struct stat status;
  int64_t count = -1;
  if (fd >= 0 && write(fd, &stamp, sizeof stamp) == sizeof stamp && fstat(fd, &status) == 0)
    count = status.st_size / (int64_t)sizeof stamp;
  if (fd >= 0) (void)close(fd);
  return count;
}

#endif
