/* mark: which job an orphan is of, as a variable of its environment says.
 *
 * Reading /proc/PID/environ takes a lock of that process's memory. Its owner can hold that as long as he likes,
 * and so can a file system that does not answer: beside such a process ps(1) hangs. So the loop never does: a
 * thread reads it, one for each process, and who asked asks again. A process that does not let itself be read in
 * two seconds says nothing, and keeps its thread; of MARKS at most.
 *
 * A process is its number and the time of its start. What it has once said of a variable is kept. Nothing is also
 * what is found in the midst of an exec, so nobody needs to be content with an old "nothing".
 *
 * Anybody can forge a mark: it is good for a message, and never for a signal.
 *
 * It owns what is read. A thread and the loop share that, and the last one to let go frees it. */
#ifndef LUAPILOT_PROCESS_MARK_H
#define LUAPILOT_PROCESS_MARK_H

#include <stdint.h>

#include "base/children.h"

#define MARKS 32
#define MARK_PATIENCE (2 * INT64_C(1000000000)) /* so long an answer is worth waiting for */

enum mark {
  MARK_UNREAD, /* ask again */
  MARK_NONE,   /* nothing, or it cannot be read: a program that shows a title writes over it */
  MARK_OTHERS,
  MARK_OURS,
};

/* Zero-initialise. */
struct marks {
  struct reading *readings[MARKS];
};

/* What the environment that it was started with says of `variable`, "NAME=value". That it says nothing must
 * have been found after `since`, in loop_now() time. */
enum mark mark_of(struct marks *marks, const struct child *child, const char *variable,
                  int64_t since);
void marks_free(struct marks *marks);

#endif
