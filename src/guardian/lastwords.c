#include "guardian/lastwords.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PIPES 1024
#define RESERVE 8 /* descriptors for the guardian's own use, whatever the limit */
#define PARTS 16  /* of PIPE_BUF bytes, from one pipe at a time: a pipe's usual size */

static int pipes[PIPES]; /* reading ends */
static int count;

/* Only an anonymous pipe can be opened for writing when nobody reads it; and then poll says so. */
static bool unheard(const char *path) {
  int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  struct pollfd end = {.fd = fd, .events = POLLOUT};
  bool gone = fd >= 0 && poll(&end, 1, 0) == 1 && (end.revents & POLLERR);
  if (fd >= 0) close(fd);
  return gone;
}

static bool can_spare(int fd) {
  struct rlimit limit;
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + RESERVE < limit.rlim_cur;
}

/* Is it a pipe without a name? So says the kernel from its own memory, where fstat() would ask a file system, which
 * may not answer. All paths begin with a slash. */
static bool is_pipe(const char *path) {
  static const char beginning[] = {'p', 'i', 'p', 'e', ':', '['};
  char target[sizeof beginning];
  return readlink(path, target, sizeof target) == (ssize_t)sizeof target &&
         memcmp(target, beginning, sizeof target) == 0;
}

/* The reading end of what `held` names, if that is a pipe that nobody hears. -1: it is not. */
static int reading_end(int held) {
  char path[40];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", held);
  return is_pipe(path) && unheard(path) ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
}

/* What a job has open may be another thing at each look, and we may be privileged where the job is not: so it is held
 * first (O_PATH reads nothing), and then looked at. What is no pipe at the first look is not even held: there are file
 * systems that want to be asked for that. */
static void hear(pid_t pid, int number) {
  char path[40];
  (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, number);
  int held = count < PIPES && is_pipe(path) ? open(path, O_PATH | O_CLOEXEC) : -1;
  if (held < 0) return;
  int fd = reading_end(held);
  close(held);
  if (fd < 0) return;
  if (can_spare(fd))
    pipes[count++] = fd;
  else
    close(fd);
}

void lastwords_hear(pid_t pid) {
  hear(pid, STDOUT_FILENO);
  hear(pid, STDERR_FILENO);
}

static void tell(const char *data, size_t size) {
  struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)) return;
  ssize_t ignored = write(STDERR_FILENO, data, size);
  (void)ignored;
}

/* False at the end of file. */
static bool pass_on(int fd) {
  char data[PIPE_BUF]; /* so much a pipe that polls writable takes without blocking */
  for (int i = 0; i < PARTS; i++) {
    ssize_t size = read(fd, data, sizeof data);
    if (size <= 0) return size < 0 && errno == EAGAIN;
    tell(data, (size_t)size);
  }
  return true;
}

void lastwords_pass_on(void) {
  for (int i = count - 1; i >= 0; i--) {
    if (pass_on(pipes[i])) continue;
    close(pipes[i]);
    pipes[i] = pipes[--count];
  }
}
