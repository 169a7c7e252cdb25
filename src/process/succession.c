#include "process/succession.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/children.h"
#include "file/place.h"

/* "123", blanks around it: what every pidfile holds. */
static pid_t read_number(const char *text) {
  char *end;
  while (isspace((unsigned char)*text)) text++;
  if (!isdigit((unsigned char)*text)) return 0;
  long number = strtol(text, &end, 10);
  while (isspace((unsigned char)*end)) end++;
  return *end == '\0' && number > 1 && number < INT32_MAX ? (pid_t)number : 0;
}

static pid_t read_file(const char *path, const char **fault) {
  char text[32];
  struct stat status;
  struct failure why = {0};
  int fd = place_open_file(path, PLACE_READ, &status, &why);
  *fault = why.code == ENOENT ? "absent" : "unreadable";
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof text);
  close(fd);
  *fault = "no_pid";
  if (size <= 0 || size == (ssize_t)sizeof text) return 0;
  text[size] = '\0';
  pid_t number = read_number(text);
  if (number != 0) *fault = NULL;
  return number;
}

pid_t succession_heir(struct succession *succession, pid_t dead) {
  succession->fault = NULL;
  succession->heir = dead;
  if (succession->refused) return dead;
  if (succession->named != 0 && succession->named != dead)
    succession->heir = succession->named;
  else if (succession->file)
    succession->heir = read_file(succession->file, &succession->fault);
  return succession->heir;
}

static const char *fault_of(pid_t pid, pid_t session, uid_t uid, pid_t guardian) {
  struct child child;
  if (getsid(pid) != session) return "session";
  if (!children_is_of(pid, uid)) return "user";
  return children_look(pid, &child) && child.parent == guardian ? NULL : "parent";
}

int succession_hold(struct succession *succession, pid_t session, uid_t uid, pid_t guardian) {
  int pidfd = (int)syscall(SYS_pidfd_open, succession->heir, 0);
  succession->fault = "ended";
  if (pidfd < 0) return -1;
  const char *fault = fault_of(succession->heir, session, uid, guardian);
  struct pollfd ended = {.fd = pidfd, .events = POLLIN};
  /* The last question: while it lives, the number was its own when the others were asked. */
  if (poll(&ended, 1, 0) == 0) succession->fault = fault;
  if (succession->fault == NULL) return pidfd;
  close(pidfd);
  return -1;
}
