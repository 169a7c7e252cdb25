#include "succession.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "children.h"
#include "place.h"

/* "123", blanks around it: what every pidfile holds. */
static pid_t read_number(const char *text) {
  char *end;
  while (isspace((unsigned char)*text)) text++;
  if (!isdigit((unsigned char)*text)) return 0;
  long number = strtol(text, &end, 10);
  while (isspace((unsigned char)*end)) end++;
  return *end == '\0' && number > 1 && number < INT32_MAX ? (pid_t)number : 0;
}

static pid_t read_file(const char *path) {
  char text[32];
  struct stat status;
  struct failure why;
  int fd = place_open_file(path, PLACE_READ, &status, &why);
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof text);
  close(fd);
  if (size <= 0 || size == (ssize_t)sizeof text) return 0;
  text[size] = '\0';
  return read_number(text);
}

pid_t succession_heir(const struct succession *succession, pid_t dead) {
  if (succession->refused) return dead;
  if (succession->named != 0 && succession->named != dead) return succession->named;
  return succession->file ? read_file(succession->file) : dead;
}

static bool runs_as(pid_t pid, uid_t uid) {
  char path[32];
  struct stat status;
  (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
  return stat(path, &status) == 0 && status.st_uid == uid;
}

int succession_hold(pid_t pid, pid_t session, uid_t uid, pid_t guardian) {
  struct child child;
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) return -1;
  struct pollfd ended = {.fd = pidfd, .events = POLLIN};
  /* The last question: while it lives, the number was its own when the others were asked. */
  if (getsid(pid) == session && children_look(pid, &child) && child.parent == guardian &&
      runs_as(pid, uid) && poll(&ended, 1, 0) == 0)
    return pidfd;
  close(pidfd);
  return -1;
}
