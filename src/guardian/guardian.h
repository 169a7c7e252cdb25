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
 * It never decides anything about a job that lives under a living pilot. Whom such a job hands over to
 * (succession.h) is an orphan that only the guardian can wait for, so the pilot is told
 * its status, in the page that they share.
 *
 * Signals. All are passed on but those that cannot be caught, CHLD, CONT, TSTP, TTIN, TTOU and the
 * faults. The pilot is in a process group of its own, so that what is sent to a whole group (a Ctrl-C
 * by the terminal, a kill of the group) reaches it through the guardian only, and counts once. A
 * SIGHUP of the kernel (the terminal is gone) is passed on as SIGTERM.
 *
 * The heartbeat. Every LUAPILOT_HEARTBEAT milliseconds (default 5000; "off": never, for debuggers) it
 * looks whether the pilot's loop has turned, or sleeps. Six looks in a row without a turn, and
 * the pilot gets SIGABRT, which leaves a core where those are wanted; a pilot that is stopped
 * (SIGSTOP) for six looks gets SIGKILL. It counts looks, not seconds: in a container that was paused,
 * or all of whose processes were stopped, the guardian did not look either.
 *
 * The deadline. A pilot that shuts down says how long that may take. One that is there a moment later
 * does something that it cannot be got out of: it is killed, and so is everybody else, at once. The
 * guardian counts this time itself, by the rules of lua/luapilot/patience.lua: a pause of the container
 * is nobody's time, and a pilot that its scripts keep busy gets no more of it.
 *
 * The service manager outside hears from the guardian what the pilot does: see manager.h.
 *
 * The end. However the pilot ended, it has killed nobody on the way: an error of the core, no memory, a
 * crash and a kill all leave the jobs to the guardian. Each group among its children gets the signal and
 * the grace that the pilot noted down for it (or its leader does, alone), else SIGTERM and
 * GUARDIAN_GRACE, then SIGKILL; what is left of the shutdown's time, and a second request to end, shorten that. Requests
 * are SIGTERM, SIGINT and SIGQUIT, or what the pilot wrote down instead; one that comes within a second of
 * the first is the same (a SIGINT: within 100 ms). Those who lose their parents by this become its
 * children, so it looks again until there are none. Its own group is never signalled, it may be shared
 * with strangers. What they say meanwhile is heard, see lastwords.h. What even SIGKILL does not end (a
 * process that waits for a dead disk) is named and left behind.
 *
 * The exit code: the pilot's; 128 + n when signal n killed it; 70 when it ended with 0 in the middle of
 * its work; 124 when its shutdown took too long, unless the pilot was told another; 64 when
 * LUAPILOT_HEARTBEAT makes no sense, 71 when the machine refuses to fork. */
#ifndef LUAPILOT_GUARDIAN_H
#define LUAPILOT_GUARDIAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop/loop.h"

#define GUARDIAN_NOTES 4096
#define GUARDIAN_WARDS 64
#define GUARDIAN_GRACE 10000 /* milliseconds */
#define GUARDIAN_SIGNAL(number) (UINT64_C(1) << ((number)-1))

/* What the pilot wrote down about one job: how to end it when the pilot no longer can. Written by
 * the pilot only, read by the guardian after the pilot is dead, so no lock. */
struct guardian_note {
  _Atomic pid_t pid; /* the leader; 0 = free */
  int signal;        /* the job's stop signal */
  int grace;         /* milliseconds from that to SIGKILL */
  bool leader_alone; /* hears the stop signal; when it has ended, the rest gets SIGKILL */
  bool killed;       /* its group was sent SIGKILL by the pilot, which does not wait for it */
  pid_t main;        /* the leader, or who follows it */
};

/* An orphan whose status the pilot wants to know: the guardian is who reaps it. Taken and given back by the
 * pilot, filled in by the guardian. */
struct guardian_ward {
  /* 0 = free. Else the pid, in the upper half, and once that has ended GUARDIAN_ENDED and its status as
   * waitpid() gave it. In one word: a ward that has changed hands meanwhile must not get the former one's. */
  _Atomic uint64_t word;
};
#define GUARDIAN_ENDED (UINT64_C(1) << 31)

/* How far the pilot has come, as it says itself. */
enum guardian_stage { GUARDIAN_LOADING, GUARDIAN_STARTED, GUARDIAN_OVER };

#define GUARDIAN_STATUS 64
#define GUARDIAN_NO_CODE (-1)

/* A shared anonymous mapping: the only thing the two processes have in common. */
struct guardian_page {
  struct heartbeat heartbeat;
  pid_t guardian;
  _Atomic int64_t budget;       /* nanoseconds in which all must have ended; 0 = no shutdown */
  _Atomic uint64_t requests;    /* of GUARDIAN_SIGNAL: those that ask for the end */
  _Atomic int code;             /* the exit code that was asked for, or GUARDIAN_NO_CODE */
  _Atomic int stage;            /* an enum guardian_stage; it only grows */
  char status[GUARDIAN_STATUS]; /* of the start, for people: written before `stage` says so */
  struct guardian_note notes[GUARDIAN_NOTES];
  _Atomic unsigned ward_count;
  struct guardian_ward wards[GUARDIAN_WARDS];
};

/* Forks. Returns in the pilot only (with its page, signals still blocked); the guardian stays inside
 * and calls _exit(). When the machine refuses, says so and exits. The caller has blocked all signals
 * and has a single thread. */
struct guardian_page *guardian_start(void);

/* Notes a job down, or (signal 0) crosses it out. Jobs beyond GUARDIAN_NOTES, and page NULL, are no
 * error: those get SIGTERM and the usual grace. */
void guardian_note(struct guardian_page *page, pid_t pid, int signal, int grace, bool leader_alone);

/* The pilot has killed the group of this note: nobody in it is left behind. */
void guardian_note_killed(struct guardian_page *page, pid_t pid);

/* From now on the job of this note has another main process. */
void guardian_note_main(struct guardian_page *page, pid_t pid, pid_t main);

/* Asks for the status of an orphan, before it is known to live: then no end is missed. NULL: there is no
 * guardian, or it has too many wards. */
struct guardian_ward *guardian_ward(struct guardian_page *page, pid_t pid);
/* Has it ended? Then `status` is its. */
bool guardian_has_ended(const struct guardian_ward *ward, int *status);
/* Accepts NULL. */
void guardian_dismiss(struct guardian_page *page, struct guardian_ward *ward);

/* The pilot's word: in how many nanoseconds all must have ended (0: that stays as it is), and with which
 * code (the same: GUARDIAN_NO_CODE); how far it has come (`status`: of the start, else NULL). The guardian
 * is woken by both. `page` may be NULL. */
void guardian_deadline(struct guardian_page *page, int64_t budget, int code);
void guardian_reached(struct guardian_page *page, enum guardian_stage stage, const char *status);

/* Looks a note up; NULL: there is none. */
const struct guardian_note *guardian_find(struct guardian_page *page, pid_t pid);

#endif
