/* proc: the life of the processes that we start.
 *
 *   RUNNING ── the leader exits ──► ENDING ── no process of the group lives ──► GONE ──► freed
 *
 * RUNNING  The leader of a session and a process group of its own; a pidfd tells us of its exit.
 * ENDING   The leader's exit was published at once, whoever still holds its pipes. What is left of the
 *          group got the end signal while the zombie still kept the group's number from being given
 *          to strangers; only then was the leader reaped. We ask again and again, at growing
 *          intervals, whether somebody is left: the kernel has no way to tell us.
 * GONE     Published. What remains are captured streams that are not read to their end.
 *
 * We wait for our own children only, each by its own descriptor, never for "any": others in this
 * process, or the guardian as PID 1, may have children, too. A process that calls setsid leaves
 * the group and escapes, unless it lives in a control group: then that counts as part of the group.
 *
 * A cancelled process goes the same way, killed and silent, and frees itself at the end.
 *
 * It owns the processes' descriptors, timers and control groups; the pipes belong to the streams. */
#ifndef LUAPILOT_PROC_H
#define LUAPILOT_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guardian.h"
#include "handle.h"
#include "loop.h"
#include "names.h"
#include "output.h"
#include "spawn.h"

struct proc;
struct procs; /* all processes of one pilot */

/* Where lines go. */
struct proc_output {
  struct output_style style;
  bool raw;         /* the program writes there itself */
  bool merge;       /* its stderr is its stdout: one pipe, one stream */
  const char *file; /* NULL = to our own output */
};

/* Borrowed for the length of the call. proc_spawn() itself fills in spawn.notify_socket, .feed and
 * .output. */
struct proc_options {
  struct spawn_options spawn;
  const char *text; /* for standard input; NULL = /dev/null */
  size_t text_size;
  const struct proc_output *output; /* NULL = nowhere, or only captured */
  bool capture;
  bool notify;
  int end_signal;  /* to the rest of the group, when the leader has exited */
  int stop_signal; /* these two are for the guardian */
  int grace;       /* milliseconds */
};

/* event.type is EVENT_EXIT. */
struct proc_exit {
  struct event event;
  int code;            /* its exit code, when `signal` is 0 */
  int signal;          /* what killed it; 0 = it exited */
  double user, system; /* seconds of processor time, of the leader and those it waited for */
  int64_t maxrss;      /* bytes */
};

/* Returns NULL with errno set (ENOSYS: a kernel before Linux 5.4). `page` may be NULL: no guardian. */
struct procs *procs_new(struct loop *loop, struct handle_table *handles, struct output *output,
                        struct guardian_page *page);
/* Kills and reaps what is left, and frees everything. Before output_free(). Accepts NULL. */
void procs_free(struct procs *procs);

/* Returns the handle's id and, in `pid`, the process; or 0 with `failure` and nothing left behind. */
uint64_t proc_spawn(struct procs *procs, const struct proc_options *wanted, pid_t *pid,
                    struct failure *failure);

/* The process behind a handle of kind HANDLE_PROC. */
struct proc *proc_of(struct handle *handle);

enum proc_target { PROC_GROUP, PROC_LEADER };
/* Returns 0, or an errno: ESRCH when nobody is left, EBADF when that has been said already. */
int proc_kill(struct proc *proc, int number, enum proc_target target);
/* Returns 0, or EINVAL: it has no output of lines. */
int proc_capture(struct proc *proc, bool on);
/* Returns 0, or EINVAL: nobody listens to its output. */
int proc_hold(struct proc *proc, bool on);

#endif
