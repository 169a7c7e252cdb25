/* guardian: the process that outlives the pilot. PID 1 in a container.
 *
 *   luapilot (guardian) ── luapilot (the pilot: loop, Lua) ── jobs
 *
 * It is forked from before anything else is initialised: no Lua, no curl, no threads, no malloc
 * after the start, a few hundred kB. It reaps every orphan (as PID 1, else as a subreaper), passes
 * signals on to the pilot, and looks at the pilot's heartbeat. When the pilot has ended, however it
 * ended, it ends whatever is left of the jobs and exits with the pilot's code, or with a failure
 * when the pilot crashed, was killed, or stopped turning its loop. No script, however bad, leaves
 * a container with zombies, leaked jobs, or an undead supervisor.
 *
 * It never decides anything about a job that lives under a living pilot. */
#ifndef LUAPILOT_GUARDIAN_H
#define LUAPILOT_GUARDIAN_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"

#define GUARDIAN_NOTES 4096

/* What the pilot wrote down about one job: how to end it when the pilot no longer can. Written by
 * the pilot only, read by the guardian after the pilot is dead, so no lock. */
struct guardian_note {
  _Atomic pid_t pid; /* the leader; 0 = free */
  int signal;        /* the job's stop signal */
  int grace;         /* milliseconds from that to SIGKILL */
};

/* A shared anonymous mapping: the only thing the two processes have in common. */
struct guardian_page {
  struct heartbeat heartbeat;
  _Atomic int64_t deadline; /* loop_now() time by which all must have ended; 0 = none */
  struct guardian_note notes[GUARDIAN_NOTES];
};

/* Forks. Returns in the pilot only (with its page, signals still blocked); the guardian stays inside
 * and calls _exit(). When the machine refuses, says so and exits. */
struct guardian_page *guardian_start(void);

/* Notes a job down, or (signal 0) crosses it out. Jobs beyond GUARDIAN_NOTES, and page NULL, are no
 * error: those get SIGTERM and the usual grace. */
void guardian_note(struct guardian_page *page, pid_t pid, int signal, int grace);

#endif
