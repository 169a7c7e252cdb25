/* manager: what the service manager outside (systemd, or a container engine that passes its socket on)
 * hears of us, by the protocol of sd_notify(3).
 *
 *   READY=1      when the pilot says that it has started
 *   STOPPING=1   when its shutdown begins, or it has died
 *   WATCHDOG=1   twice in each WATCHDOG_USEC, by a pilot whose loop turns or sleeps
 *
 * The guardian speaks, because a manager believes the main process only. What the manager put into our
 * environment is read once and taken out, before there is a pilot: a job that found it there would
 * speak for all of us. The descriptors of LISTEN_FDS nobody gets.
 *
 * It never blocks and never allocates. What the manager has no room for is said again; what cannot be said at all
 * is told to people once. It owns its socket. */
#ifndef LUAPILOT_GUARDIAN_MANAGER_H
#define LUAPILOT_GUARDIAN_MANAGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct manager {
  struct sockaddr_un address;
  const char *name;           /* as it was given; NULL = nobody is to be told */
  socklen_t size;             /* of the address; 0 = nobody can be told */
  int socket;                 /* owned; -1 = not open */
  int64_t pulse;              /* nanoseconds between two WATCHDOG=1; 0 = nobody waits for them */
  bool is_ready, is_stopping; /* that has been said, or cannot be */
  int64_t next_pulse, retry;  /* times; retry 0 = there is nothing to be said again */
  const char *wrong;          /* why it could not be told something; NULL = nothing is wrong */
  bool is_wrong_said;         /* to people, by the guardian */
};

/* Reads the environment and takes out what was meant for us alone. Opens nothing. */
void manager_read(struct manager *manager);
/* Opens the socket. `now` here and below is of a clock that never goes back. */
void manager_open(struct manager *manager, int64_t now);

/* Both may be said often, and are heard once. `status` is a word for people. */
void manager_ready(struct manager *manager, const char *status, int64_t now);
void manager_stopping(struct manager *manager, const char *status, int64_t now);
/* Is it time to tell that we live? If so, the next time is set, and manager_pulse() is due if we do. */
bool manager_is_due(struct manager *manager, int64_t now);
void manager_pulse(struct manager *manager);

/* When there is something to do for it next; INT64_MAX: never. */
int64_t manager_next(const struct manager *manager);

#endif
