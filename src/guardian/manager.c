#include "guardian/manager.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/loop.h"

#define AGAIN NANOSECONDS            /* between two attempts */
#define SHORTEST (NANOSECONDS / 100) /* between two pulses, whatever is asked for */
#define MESSAGE 256

/* --- the environment --------------------------------------------------------------------- */

/* "/run/notify" or "@abstract", where the @ stands for a NUL byte. */
static void read_address(struct manager *manager, const char *name) {
  const size_t head = offsetof(struct sockaddr_un, sun_path), length = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || name[1] == '\0') {
    manager->wrong = "expected a path, or a name that begins with '@'";
  } else if (length >= sizeof manager->address.sun_path) {
    manager->wrong = "it is too long for the address of a socket";
  } else {
    manager->address.sun_family = AF_UNIX;
    memcpy(manager->address.sun_path, name, length + 1);
    if (name[0] == '@') manager->address.sun_path[0] = '\0';
    manager->size = (socklen_t)(head + length + (name[0] == '/'));
  }
}

/* A variable that another process was meant to read, which had exec'd or forked us, counts for nothing. */
static bool is_for_us(const char *pid) {
  return pid == NULL || strtol(pid, NULL, 10) == getpid();
}

static int64_t read_pulse(void) {
  const char *text = getenv("WATCHDOG_USEC");
  char *end;
  if (text == NULL || *text == '\0' || !is_for_us(getenv("WATCHDOG_PID"))) return 0;
  errno = 0;
  long long microseconds = strtoll(text, &end, 10);
  if (errno != 0 || *end != '\0' || microseconds <= 0 || microseconds > INT64_MAX / 1000) return 0;
  int64_t pulse = microseconds * 1000 / 2;
  return pulse < SHORTEST ? SHORTEST : pulse;
}

void manager_read(struct manager *manager) {
  static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                      "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};
  const char *name = getenv("NOTIFY_SOCKET");
  *manager = (struct manager){.socket = -1};
  if (name && *name) {
    manager->name = name; /* the text stays where it is when the variable is gone */
    read_address(manager, name);
  }
  if (manager->size > 0) manager->pulse = read_pulse();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) (void)unsetenv(names[i]);
}

/* --- talking ----------------------------------------------------------------------------- */

void manager_open(struct manager *manager, int64_t now) {
  if (manager->size == 0) return;
  manager->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (manager->socket < 0) {
    manager->wrong = strerror(errno);
    manager->size = 0;
  }
  manager->next_pulse = now;
}

static bool comes_back(int code) {
  return code == EAGAIN || code == ENOBUFS || code == ENOMEM || code == EINTR;
}

/* False: it must be said again. */
static bool tell(struct manager *manager, const char *message) {
  if (manager->size == 0) return true;
  const struct sockaddr *address = (const struct sockaddr *)&manager->address;
  if (sendto(manager->socket, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT, address,
             manager->size) >= 0)
    return true;
  if (comes_back(errno)) return false;
  if (manager->wrong == NULL) manager->wrong = strerror(errno);
  return true;
}

static bool say_once(struct manager *manager, const char *word, const char *status, int64_t now) {
  char message[MESSAGE];
  (void)snprintf(message, sizeof message, "%s\nSTATUS=%s\n", word, status);
  bool said = tell(manager, message);
  manager->retry = said ? 0 : now + AGAIN;
  return said;
}

void manager_ready(struct manager *manager, const char *status, int64_t now) {
  if (!manager->is_ready && now >= manager->retry)
    manager->is_ready = say_once(manager, "READY=1", status, now);
}

void manager_stopping(struct manager *manager, const char *status, int64_t now) {
  if (!manager->is_stopping && now >= manager->retry)
    manager->is_stopping = say_once(manager, "STOPPING=1", status, now);
}

bool manager_is_due(struct manager *manager, int64_t now) {
  if (manager->pulse == 0 || now < manager->next_pulse) return false;
  manager->next_pulse = now + manager->pulse;
  return true;
}

/* One that has no room is not said again: the next is soon. */
void manager_pulse(struct manager *manager) {
  (void)tell(manager, "WATCHDOG=1\n");
}

int64_t manager_next(const struct manager *manager) {
  int64_t next = manager->pulse > 0 ? manager->next_pulse : INT64_MAX;
  return manager->retry > 0 && manager->retry < next ? manager->retry : next;
}
