/* launch: what happens between clone and exec.
 *
 * Everything that can be looked up, allocated, or opened has been prepared by the caller; here a
 * child is made that shares our memory and holds us up until it has become the program or has given
 * up (CLONE_VM | CLONE_VFORK: the cost of a start does not grow with the size of the pilot). Since
 * it runs in our memory, it makes plain system calls only: no allocation, no lock, no stdio, and
 * none of glibc's set*id() wrappers, which would try to change every thread of *ours*.
 *
 * Whatever fails in the child comes back as { stage, errno } in that memory. Where CLONE_VM is only
 * emulated by a plain fork (qemu-user, valgrind) it comes through a pipe, which a successful exec
 * closes, so that reading it waits for the exec. The first child has such a pipe, and shows whether
 * the others need one.
 *
 * From the second child on, if the kernel can, a child begins with our table of descriptors instead of
 * a copy, which would cost more with each job that runs. Before it touches one of them it makes a
 * table of its own, of those up to the highest of its three: so the caller lets these stand low.
 *
 * A child that hangs (its working directory or its program is on a file system that does not answer)
 * holds up who made it, so what may hang is launched from a thread: launch_apart(). There the child has a
 * stack of its own and a copy of the table, since those that all others share are in use meanwhile; it
 * always reports by the pipe; and others can see how far it is, and kill it, by struct launch_watch.
 *
 * It owns the child's stack, and nothing else; it closes no descriptor of the caller's. */
#ifndef LUAPILOT_PROCESS_LAUNCH_H
#define LUAPILOT_PROCESS_LAUNCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define LAUNCH_LIMITS 16
#define LAUNCH_CGROUPS 4

struct launch_limit {
  int resource; /* RLIMIT_… */
  struct rlimit value;
};

/* The whole plan. Everything in it is borrowed and only read. */
struct launch {
  char *const *argv;
  char *const *envp;
  char *const *candidates; /* paths to try, in order; NULL ends them */

  int stdio[3];                /* what becomes 0, 1, 2 */
  int cgroups[LAUNCH_CGROUPS]; /* open cgroup.procs files to enter */
  size_t cgroup_count;
  const char *oom_score_adj; /* its digits; NULL = stays */

  struct launch_limit limits[LAUNCH_LIMITS];
  size_t limit_count;

  bool become; /* take the identity below; false: stay who we are */
  uid_t uid;
  gid_t gid;
  const gid_t *groups;
  size_t group_count;

  bool no_new_privs;
  const char *cwd; /* NULL = stays; entered as the new user */
  int umask;       /* -1 = stays */
};

enum launch_stage {
  LAUNCH_FORK,
  LAUNCH_SESSION,
  LAUNCH_CGROUP, /* which = index in cgroups */
  LAUNCH_OOM_SCORE_ADJ,
  LAUNCH_LIMIT, /* which = index in limits */
  LAUNCH_GROUP,
  LAUNCH_USER,
  LAUNCH_NO_NEW_PRIVS,
  LAUNCH_CWD,
  LAUNCH_STDIO,
  LAUNCH_EXEC, /* which = the candidate that was found but could not be run, -1 = none was found */
};

struct launch_report {
  enum launch_stage stage;
  int code; /* errno */
  int which;
};

/* What other threads may know of a start. Zero-initialise, with pidfd -1. */
struct launch_watch {
  /* What the child does now: LAUNCH_CWD, LAUNCH_EXEC (it shows where memory is shared). */
  _Atomic int stage;
  /* As soon as there is a child, before it does anything. The caller's to close. */
  _Atomic int pidfd;
};

/* Returns the pid of the running program, leader of a session and a group of its own, not yet
 * reaped by anybody, and in `pidfd` its descriptor, which is the caller's; or -1 with `report` filled
 * in and nothing left behind. The descriptor is made before the child: without one to spare, nothing
 * has run. */
pid_t launch(const struct launch *plan, int *pidfd, struct launch_report *report);

#define LAUNCH_STACK ((size_t)64 * 1024)
/* The same in any thread, whose signals are all blocked, with a stack of LAUNCH_STACK bytes; not before
 * launch_begin(). The descriptor is in `watch`, after a failure, too. */
pid_t launch_apart(const struct launch *plan, char *stack, struct launch_watch *watch,
                   struct launch_report *report);
/* In the main thread, before the first start and before any code that is not ours. */
void launch_begin(void);
/* We have changed what a signal does in this process: the next launch() looks at all of them. A child puts back only
 * those that were not by default when it was last looked. */
void launch_look_again(void);
/* From now on code that is not ours may change what signals do, at any time and in any thread: each child puts back
 * all of them. So it is by itself once a library has been loaded. */
void launch_distrust(void);

#endif
