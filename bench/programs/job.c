/* job: what is supervised. It writes its stamp and then rests; it costs its supervisor nothing more.
 *
 *   STAMP=FILE          where the stamp goes
 *   STAMP_CRASHES=N     exit with 1 instead of resting, until the file has N records
 *
 * Everything is in the environment because s6 and runit start a service without arguments. It ends by
 * itself after ten minutes, should whoever measures have died. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#include "freestanding.h"

struct stamp {
  int64_t begun, pid; /* as in stamp.h */
};

static const char *variable(char **environment, const char *name) {
  for (; *environment; environment++) {
    const char *text = *environment;
    size_t i = 0;
    while (name[i] && text[i] == name[i]) i++;
    if (name[i] == '\0' && text[i] == '=') return text + i + 1;
  }
  return NULL;
}

static long number(const char *digits) {
  long value = 0;
  while (*digits >= '0' && *digits <= '9') value = 10 * value + *digits++ - '0';
  return value;
}

/* How many records there are now. */
static long append(const char *path, const struct stamp *stamp) {
  long fd = call(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_APPEND, 0);
  (void)call(SYS_write, fd, (long)stamp, sizeof *stamp, 0);
  long size = call(SYS_lseek, fd, 0, 2 /* SEEK_END */, 0);
  (void)call(SYS_close, fd, 0, 0, 0);
  return size / (long)sizeof *stamp;
}

static int body(char **environment) {
  struct timespec now;
  (void)call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
  struct stamp stamp = {.begun = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec,
                        .pid = call(SYS_getpid, 0, 0, 0, 0)};
  const char *path = variable(environment, "STAMP");
  const char *crashes = variable(environment, "STAMP_CRASHES");
  long count = path ? append(path, &stamp) : 0;
  if (crashes && count > 0 && count < number(crashes)) return 1;
  const struct itimerval bound = {.it_value.tv_sec = 600};
  (void)call(SYS_setitimer, ITIMER_REAL, (long)&bound, 0, 0);
  for (;;) (void)call(SYS_ppoll, 0, 0, 0, 0);
}
