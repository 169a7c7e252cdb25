/* session: who is left of a job when its leader has ended.
 *
 * A child in a process group of its own (setpgid, a shell's `set -m`) is reached by no signal to the
 * job's group, but it is still of the job's session. When its parent has died it is a child of the guardian,
 * and whoever of a dead leader's session lives descends from one who is, so the guardian's list
 * (base/children.h) is all that must be read: once at the end of each job, and again only while somebody is
 * there. One whose parent still lives is found when that has died, too.
 *
 * Nobody else can be meant:
 *   - The caller looks while the leader is not reaped. A zombie holds its number, as a process and as a
 *     session; so no stranger's session can have it, and nobody enters a session from outside. Members that
 *     the leader leaves behind inherit it, or leave it for ever.
 *   - A number on the list may have been reaped by the guardian and given to a stranger since. So the
 *     process is held first (a pidfd), then its session is read, then that descriptor is signalled. If
 *     the number changed hands before its session was read, the descriptor's process is dead and the
 *     signal reaches nobody; if it did not, what was read is true of the descriptor's process.
 *   - It may call setsid between the look and the signal: then it is a former member that is told to stop.
 *
 * Who calls setsid has left: a stray. It is younger than the leader, and carries the job's mark in its
 * environment (process/mark.h), or no job's and the leader's name (a daemon that shows a title has written it there).
 * Who is of the session of another process that we started (a check of the job has the job's mark) is that one's.
 * Anybody can forge that, so it is good for a message and never for a signal. A control group is proof, and
 * there the cgroup's list takes the place of the session's.
 *
 * Without a guardian that adopts, a /proc of this namespace, or such lists in the kernel, nobody is
 * found. That is said once, as a debug message.
 *
 * A `struct session` owns the list of those that it told. */
#ifndef LUAPILOT_PROCESS_SESSION_H
#define LUAPILOT_PROCESS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/children.h"
#include "output/output.h"
#include "process/mark.h"

/* Somebody who has left the session. */
struct stray {
  struct child child;
  bool by_name; /* nothing but its program's name says of which job it is */
};

/* What all processes of a pilot share. */
struct orphanage {
  struct output *output; /* not owned */
  pid_t self;
  pid_t reaper; /* whose children orphans become; 0: not known */
  int list;     /* -1: not open */
  bool sought;  /* it was tried to open it */
  struct marks marks;
  /* Is the session another process's of this pilot? Its orphans are that one's: a check at work. */
  bool (*is_known)(const void *context, pid_t session);
  const void *context; /* not owned */
};

struct session {
  pid_t id;
  struct child leader; /* .pid 0: not looked at */
  pid_t first;         /* the first living member that the latest look found; 0: none */
  bool company;        /* there were orphans at some look, perhaps others' */
  /* Who was sent `number`: sorted; owned. */
  pid_t *told;
  size_t told_count;
  int number;
  int64_t ended; /* loop_now() of the first look for strays that were not there before; 0: none */
};

/* `guarded`: our parent adopts orphans. If not, we may be the one who does. The caller sets `is_known`. */
void orphanage_open(struct orphanage *orphanage, struct output *output, bool guarded);
void orphanage_close(struct orphanage *orphanage);
/* Whose children orphans become; 0: not known. */
pid_t orphanage_reaper(const struct orphanage *orphanage);

/* One look, while the leader is not reaped: sends `number`, and SIGCONT after it, to each member that is
 * not in the leader's group (which the caller signals) and has not had it; 0: to nobody. Returns how many
 * live, those in the group included. */
unsigned session_look(struct session *session, struct orphanage *orphanage, int number);

/* Fills in up to `most` strays, the oldest first; looks at the sixteen youngest orphans at most. `mark` is
 * "NAME=value". Returns how many there are; `unread`: the mark of some is still being read, and they do not count
 * yet. */
unsigned session_strays(struct session *session, struct orphanage *orphanage, const char *mark,
                        struct stray *strays, unsigned most, bool *unread);
/* The same of those that are older than the leader, and of `uid`: what earlier ones of that mark have left. Checks fail
 * for them, so the mark alone, which others can forge, is not enough. -1: none was seen, and not everybody could be
 * looked at, or read yet. */
int session_earlier_strays(struct session *session, struct orphanage *orphanage, const char *mark,
                           uid_t uid, struct stray *strays, unsigned most);

void session_free(struct session *session);

#endif
