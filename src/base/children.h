/* children: whom the kernel names as a process's children, and what it tells of one of them.
 *
 * An orphan becomes a child of the guardian, so the guardian's list names whoever has lost his parent,
 * in one read of some microseconds, where all of /proc takes as many milliseconds as there are hundreds of
 * processes. A number that it names may be a stranger's as soon as the guardian has reaped: whoever acts on
 * it must hold the process first, and look again (process/session.h).
 *
 * What a process says of itself (its name) is its own invention: it is read within bounds, made printable, and
 * good for messages only. Nothing is read that takes a lock of the process's memory, which it can hold for ever:
 * stat, not cmdline, and environ only as process/mark.h does it.
 *
 * It allocates nothing: the guardian, too, uses it, and that may be because memory is short. */
#ifndef LUAPILOT_BASE_CHILDREN_H
#define LUAPILOT_BASE_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#define CHILDREN_NAME 16

/* Is /proc there, and of this PID namespace? It may be another one's (unshare --pid alone): its numbers
 * mean strangers here. */
bool children_proc_is_ours(void);

/* Opens the list of a process with one thread. Returns a descriptor that is the caller's, or -1: there is
 * no /proc of ours, or the kernel makes no such lists (CONFIG_PROC_CHILDREN). */
int children_open(pid_t parent);

/* Calls `met` for each of them, the oldest first. False: the list cannot be read (any more). */
bool children_each(int list, void (*met)(void *context, pid_t pid), void *context);

/* What /proc/PID/stat tells. A process that was reaped, and whose number another one has, differs in
 * `start`. */
struct child {
  pid_t pid, parent;
  char name[CHILDREN_NAME]; /* of its program, printable */
  bool ended;               /* a zombie */
  unsigned long long start; /* in clock ticks since the machine started */
};

/* False: there is no such process, or it cannot be read; then the name is "?". */
bool children_look(pid_t pid, struct child *child);

/* Was it started by `uid`? Its real uid, which no set-user-ID program changes, unlike the owner of /proc/PID. */
bool children_is_of(pid_t pid, uid_t uid);

#endif
