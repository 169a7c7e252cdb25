/* spawn: from what Lua asks for to a running program, or to a sentence that says why not.
 *
 * Everything that the child needs is looked up, laid out and opened here, before there is a child:
 * the account, the candidates for exec, the control group, the descriptors. process/launch.c then does the
 * deed, and what it reports comes back as { stage, code, message } with names in it.
 *
 * A program that runs as a user of its own is told so: HOME, USER, LOGNAME and SHELL are those of the
 * account, in the place of ours. What the options say of them counts more. A shell that only refuses
 * (nologin, false) is not told; of a number without an account HOME is "/", and the rest is not told.
 *
 * It owns what it opened until it is handed over: see struct spawn. */
#ifndef LUAPILOT_PROCESS_SPAWN_H
#define LUAPILOT_PROCESS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/names.h"
#include "process/account.h"
#include "process/cgroup.h"
#include "process/launch.h"
#include "process/program.h"

/* Everything in it is borrowed for the length of the call. */
struct spawn_options {
  char *const *argv;
  char *const *envp;
  /* More "NAME=value", instead of those of the same name in envp; NULL = none. */
  char *const *env_added;
  const char *notify_socket; /* the same, of one; instead of one in env_added, too */
  const char *cwd;           /* NULL = ours */
  struct identity user, group;
  int umask; /* -1 = ours */
  struct launch_limit limits[LAUNCH_LIMITS];
  size_t limit_count;
  bool no_new_privs;
  bool has_oom_score_adj;
  int oom_score_adj;
  const struct cgroup_options *cgroup; /* NULL = ours */
  int stdio[3];    /* what becomes 0, 1, 2: a descriptor, SPAWN_PIPE, SPAWN_MERGED */
  bool is_pipe[3]; /* the descriptor is of spawn_pipes() */
};

#define SPAWN_PIPE (-1)
#define SPAWN_MERGED (-2) /* standard error: the pipe of standard output */
#define SPAWN_LOGIN 4     /* HOME, USER, LOGNAME, SHELL */

/* What all starts share. */
struct spawn_base {
  bool raised;          /* our own limit on descriptors: programs get back … */
  struct rlimit nofile; /* … this one */
  int null;             /* an open /dev/null */
  int low[3]; /* descriptors that stand low, each /dev/null but during a start; -1 = none */
};

/* Early, while low numbers are free; raises our limit on descriptors. Returns 0, or -1 with errno. */
int spawn_open(struct spawn_base *base);
/* Our limit is again what it was. */
void spawn_close(struct spawn_base *base);

/* Adds what a program gets back of what was changed for us: call it once, before the start. */
void spawn_inherit(const struct spawn_base *base, struct spawn_options *options);

struct spawn {
  struct launch plan;
  const struct spawn_base *base; /* not owned; NULL = in a thread: it is in use */
  struct account account;
  struct program program;
  char **envp;              /* owned; the strings are the options' and our own environment's */
  char *login[SPAWN_LOGIN]; /* what a user is told of itself; NULL = is not told */
  char *login_text;         /* owned: where that stands */
  char oom_text[16];        /* what plan.oom_score_adj points to */
  int child[3];             /* owned: the child's ends of pipes; -1 = none */
  /* Our ends of them, -1 = none, and the control group: the caller's once he has taken them (and put
   * -1 or a zeroed struct in their place); spawn_clean() ends what is left. */
  int ours[3];
  struct cgroup cgroup;
};

/* Makes the pipes alone. Returns 0, or -1 with `failure`; spawn_clean() is due in both cases. */
int spawn_pipes(struct spawn *spawn, const struct spawn_options *options, struct failure *failure);
/* Prepares everything; `base` is NULL in a thread. Returns 0, or -1 with `failure`; spawn_clean() is
 * due in both cases. */
int spawn_prepare(struct spawn *spawn, const struct spawn_options *options,
                  const struct spawn_base *base, struct failure *failure);
/* Starts the program. Returns its pid and, in `pidfd`, its descriptor, which is the caller's; or -1
 * with `failure`. */
pid_t spawn_run(struct spawn *spawn, const struct spawn_options *options, int *pidfd,
                struct failure *failure);
/* The same in a thread: see launch_apart(). */
pid_t spawn_run_apart(struct spawn *spawn, const struct spawn_options *options, char *stack,
                      struct launch_watch *watch, struct failure *failure);
void spawn_clean(struct spawn *spawn);

#endif
