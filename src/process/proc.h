/* proc: the life of the processes that we start.
 *
 *   RUNNING ── the leader exits ──► ENDING ── no process of the session lives ──► GONE ──► freed
 *
 *   STARTING ──► RUNNING, or failed
 *
 * STARTING Where the start may hang, and as another user always: somebody else is at it, see process/errand.h. There is
 *          no process yet that could be signalled. After ten seconds, and each minute, is told what it hangs in. Who
 *          is stopped meanwhile (SIGSTOP) is continued each second.
 * RUNNING  The leader of a session and a process group of its own; a pidfd tells us of its exit.
 *          It may hand over: then another process of the session is what runs (process/succession.h), and what
 *          is said of the leader's exit and of signals to the leader is meant of that.
 * ENDING   The leader's exit was published at once, whoever still holds its pipes. What is left of the
 *          group, and of the session outside of it (process/session.h), got the end signal while the zombie
 *          still kept the number of both from being given to strangers. The leader is reaped when
 *          nobody of the session is seen any more. We ask again and again, at growing intervals,
 *          whether somebody is left: the kernel has no way to tell us.
 * GONE     Published, with the strays that it left. What remains are captured streams that are not read
 *          to their end.
 *
 * We wait for our own children only, each by its own descriptor, never for "any": others in this
 * process, or the guardian as PID 1, may have children, too. A process that calls setsid leaves
 * the session and escapes, unless it lives in a control group: then that counts as part of the group.
 *
 * A cancelled process goes the same way, killed and silent, and frees itself at the end.
 *
 * It owns the processes' descriptors, timers and control groups; the pipes belong to the streams. */
#ifndef LUAPILOT_PROCESS_PROC_H
#define LUAPILOT_PROCESS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/names.h"
#include "guardian/page.h"
#include "loop/handle.h"
#include "loop/loop.h"
#include "output/output.h"
#include "process/session.h"
#include "process/spawn.h"
#include "process/succession.h"

struct proc;
struct procs; /* all processes of one pilot */

/* Where lines go. */
struct proc_output {
  struct output_style style;
  bool raw;         /* the program writes there itself */
  bool merge;       /* its stderr is its stdout: one pipe, one stream */
  const char *file; /* NULL = to our own output */
};

enum proc_input { PROC_NULL, PROC_TEXT, PROC_OPEN, PROC_INHERIT };

/* Borrowed for the length of the call. proc_spawn() itself fills in spawn.notify_socket and .stdio, and our own
 * environment where spawn.envp is NULL. */
struct proc_options {
  struct spawn_options spawn;
  enum proc_input input; /* standard input: /dev/null, `text`, a pipe without an end, or our own */
  const char *text;
  size_t text_size;
  const struct proc_output *output; /* NULL = nowhere, or only captured */
  bool capture;
  bool notify;
  const char *pidfile; /* says who follows the leader, see process/succession.h; NULL = none */
  const char *mark;    /* "NAME=value" of its environment, by which strays are known; NULL = none */
  int end_signal;      /* to the rest of the session, when the leader has exited */
  int stop_signal;     /* these three are for the guardian */
  int grace;           /* milliseconds */
  bool leader_alone;   /* the stop signal is for the leader, SIGKILL for the rest */
};

#define PROC_STRAYS 4

/* What the counts of control groups say of an end that nobody here has caused. */
enum lack {
  LACK_NONE,
  LACK_OWN,    /* the kernel has killed somebody in its own group */
  LACK_AROUND, /* in ours, since it was started; it has no own group with controlled memory */
};

/* event.type is EVENT_EXIT. */
struct proc_exit {
  struct event event;
  int code;       /* its exit code, when `signal` is 0 */
  int signal;     /* what killed it; 0 = it exited */
  enum lack lack; /* of memory: was that why it was killed, or has failed? */
  /* Nobody has followed, though others of the session lived: why, as a word of the port; NULL = it is not so. */
  const char *unfollowed;
  pid_t heir;     /* then: whom the job named; 0 = nobody */
  bool by_notify; /* it did so by sd_notify */
};

/* event.type is EVENT_MAIN. */
struct proc_main {
  struct event event;
  pid_t pid; /* has followed the leader */
};

/* Who is left of a process that has ended: of few is anybody. */
struct proc_left {
  struct stray strays[PROC_STRAYS]; /* left behind, and not ended */
  /* Of one that exited with 0: a descendant that lived on, then or now; .child.pid 0 = none. */
  struct stray first;
};

/* event.type is EVENT_GROUP_GONE. */
struct proc_gone {
  struct event event;
  struct proc_left *left;     /* owned by the process; NULL: nobody */
  unsigned count;             /* of strays: there may be more than stand there */
  unsigned ended;             /* orphans of the session when it exited; they were ended */
  const struct child *leader; /* not owned; .pid 0: not known */
};

/* What becomes of a start that is under way. event.type is EVENT_SPAWNED, EVENT_SPAWN_FAILED, or EVENT_SPAWNING:
 * it hangs. */
struct proc_news {
  struct event event;
  struct proc *proc;
  pid_t pid;              /* of EVENT_SPAWNED */
  struct failure failure; /* of the others: its stage and message */
  int64_t since;          /* loop_now() of the call */
  int64_t due;            /* then it is told what it hangs in */
};

/* Returns NULL with errno set (ENOSYS: a kernel before Linux 5.4). `page` may be NULL: no guardian. */
struct procs *procs_new(struct loop *loop, struct handle_table *handles, struct output *output,
                        struct guardian_page *page);
/* Kills and reaps what is left, and frees everything. Before output_free(). Accepts NULL. */
void procs_free(struct procs *procs);

/* Returns the handle's id and, in `pid`, the process, 0 while the start is under way; or 0 with `failure` and
 * nothing left behind. */
uint64_t proc_spawn(struct procs *procs, const struct proc_options *wanted, pid_t *pid,
                    struct failure *failure);

/* The process behind a handle of kind HANDLE_PROC. */
struct proc *proc_of(struct handle *handle);

enum proc_target { PROC_GROUP, PROC_LEADER };
/* Returns 0, or an errno: ESRCH when nobody is left, EBADF when that has been said already. */
int proc_kill(struct proc *proc, int number, enum proc_target target);
/* Says who follows when the main process has ended; 0: nobody, now or later. */
void proc_successor(struct proc *proc, pid_t pid);
/* Strays that are older than it: of processes with the same mark before it. Returns how many there are; -1: none was
 * seen, and not everybody could be looked at. */
int proc_strays(struct proc *proc, struct stray strays[PROC_STRAYS]);
/* Returns 0; EINVAL: it has no output of lines; ENOMEM: nothing of it is captured. */
int proc_capture(struct proc *proc, bool on);
/* Returns 0, or EINVAL: nobody listens to its output. */
int proc_hold(struct proc *proc, bool on);

#endif
