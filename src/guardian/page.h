/* page: what the pilot and its guardian have in common: a page of memory, and what each writes there for the other.
 *
 *   the pilot writes     that its loop turns, how each job is to be ended, whose status it wants to know, how far it
 *                        has come, when all must have ended, with which code
 *   the guardian writes  its own number, and the status of whom the pilot asked for
 *
 * There is no lock, or whoever dies while he holds it would stop the other: what both touch at the same time is atomic,
 * and the notes are read when the pilot is dead. Nothing is allocated after the start.
 *
 * The mapping is made before the fork and lives as long as either of them. */
#ifndef LUAPILOT_GUARDIAN_PAGE_H
#define LUAPILOT_GUARDIAN_PAGE_H

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

/* A new one, nothing in it but the signals that ask for the end; before there is a pilot. NULL with errno set. */
struct guardian_page *guardian_page_new(void);

/* --- the pilot's side: `page` may be NULL, then nobody guards --- */

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

/* --- the guardian's side --- */

/* Looks a note up; NULL: there is none. */
const struct guardian_note *guardian_find(struct guardian_page *page, pid_t pid);

/* A child has ended, with this status of waitpid(): for the pilot, where that has asked. */
void guardian_ward_ended(struct guardian_page *page, pid_t pid, int status);

#endif
