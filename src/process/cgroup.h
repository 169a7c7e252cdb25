/* cgroup: a control group for one process and whatever it starts.
 *
 * A limit that was asked for is either in force before the program's first instruction, or the start
 * fails and the message says which file refused, why, and what to do: a limit that is silently not
 * there is worse than none. Both worlds are served, also mixed as on many machines: a controller is
 * taken from the unified hierarchy (v2) when that offers it, else from a hierarchy of its own (v1).
 *
 * The groups are made directly below the one that the pilot itself is in, named
 * "luapilot-<pid>-<job>". In v2 a group that passes controllers on may hold no processes itself; when
 * all that live in ours belong to this pilot, they move into a leaf "luapilot-<pid>" beside the jobs.
 * Nobody else's processes are ever moved.
 *
 * It owns the directories that it made and removes them; never any other. */
#ifndef LUAPILOT_PROCESS_CGROUP_H
#define LUAPILOT_PROCESS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/names.h"

#define CGROUP_PLACES 4 /* at most one directory in each hierarchy: v2, memory, cpu, pids */

struct cgroup_options {
  const char *name;   /* the job's; '/' and the like are replaced */
  int64_t memory_max; /* bytes; 0 = no limit */
  double cpu_max;     /* processors; 0 = no limit */
  int64_t pids_max;   /* 0 = no limit */
};

struct cgroup {
  char *places[CGROUP_PLACES]; /* directories; owned, removed by cgroup_remove() */
  size_t count;
};

/* Makes the directories and sets the limits. Returns 0, or -1 with `failure` and nothing left. */
int cgroup_make(struct cgroup *cgroup, const struct cgroup_options *options,
                struct failure *failure);
/* Opens the files by which a child enters; the caller closes all `cgroup->count` of them. Returns 0,
 * or -1 with `failure` and none open. */
int cgroup_open(const struct cgroup *cgroup, int *files, struct failure *failure);
/* Sends `number` to the members that are not in the process group `except`: those that called setsid
 * and would otherwise escape. True when there was one. */
bool cgroup_signal(const struct cgroup *cgroup, int number, pid_t except);
/* Removes the directories. False while live processes are in them: try again later. What cannot be
 * removed although no process of ours is in it is left behind. */
bool cgroup_remove(struct cgroup *cgroup);
/* How many processes of the group the kernel has killed for lack of memory, since it was made; -1: it has no
 * such count, since its memory is not controlled. */
int64_t cgroup_oom_kills(const struct cgroup *cgroup);
/* The file with the same count of the group that we are in ourselves, to be read again and again. Returns
 * a descriptor that is the caller's, or -1. */
int cgroup_open_own_count(void);
/* What such a file says now; -1: it cannot be read. */
int64_t cgroup_read_count(int file);
/* Frees the memory and leaves the directories behind. */
void cgroup_forget(struct cgroup *cgroup);

#endif
