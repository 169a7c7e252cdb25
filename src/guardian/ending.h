/* ending: how the guardian ends what the pilot left behind.
 *
 * It knows its children by asking the kernel, again and again, because those who lose their parents on
 * the way become its children. What it has already signalled it keeps in a table without malloc: the
 * machine may be out of memory, that may be why we are here.
 *
 * It owns nothing but that table, and the descriptors in it. It signals children and their groups, and reaps; the waiting is the
 * guardian's. */
#ifndef LUAPILOT_GUARDIAN_ENDING_H
#define LUAPILOT_GUARDIAN_ENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guardian/page.h"

#define ENDING_NAMES 128

/* Its times are nanoseconds since it began, without pauses of the machine. */
struct ending {
  struct guardian_page *page; /* not owned */
  struct awake awake;
  int64_t deadline;         /* of the pilot's shutdown; INT64_MAX: none */
  int64_t last_call;        /* by then all have been killed */
  bool hurry;               /* kill at once */
  char names[ENDING_NAMES]; /* of the first it met: "sleep (12), sh (13)" */
  unsigned found;           /* how many children the latest look found */
  bool proc;                /* /proc is there, and of this PID namespace */
};

/* `left`: nanoseconds of the pilot's shutdown; INT64_MAX: it had not begun. */
void ending_begin(struct ending *ending, struct guardian_page *page, int64_t left);
/* How late it is. */
int64_t ending_now(struct ending *ending);
/* One look: signals whoever has not been, kills whoever's time is over. Returns when to look again at
 * the latest. */
int64_t ending_look(struct ending *ending);

#endif
