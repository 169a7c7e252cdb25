/* lastwords: what jobs say when the pilot that read their pipes is dead.
 *
 * A pipe without a reader kills who writes to it (SIGPIPE), or fails with EPIPE: an application that
 * logs while it stops would not survive its own log line. So the guardian opens the reading end
 * anew, by way of /proc/PID/fd, before it tells anybody to stop. What comes then goes to stderr as it
 * is, when that takes it at once; else it is lost, but nobody dies of it.
 *
 * Only what nobody reads is opened: the pipe between two processes is theirs. Best effort: what a job
 * writes before the guardian has noticed the pilot's death still finds no reader, and without /proc,
 * or for a job of another user when we lack CAP_SYS_PTRACE, nothing can be opened.
 *
 * It owns the descriptors, in a table without malloc; they end with the process. */
#ifndef LUAPILOT_GUARDIAN_LASTWORDS_H
#define LUAPILOT_GUARDIAN_LASTWORDS_H

#include <sys/types.h>

/* Opens what this process writes to as stdout and stderr, if nobody reads it. */
void lastwords_hear(pid_t pid);
/* Passes on what has come; a flood is cut short, the rest comes the next time. */
void lastwords_pass_on(void);

#endif
