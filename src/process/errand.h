/* errand: the start of a process that may hang, done in a thread.
 *
 * A working directory or a program that is in the hands of another machine or program (see file/remote.h) may not
 * answer for hours, nor may the directory that a user is looked up in. And a child that has taken a user's identity
 * can be stopped by any process of that user before it is the program. Whoever starts such a process stands
 * still meanwhile, so it is not the loop: a thread looks up the account, makes the child and waits until that is the
 * program. Everything that it needs is copied before; it touches nothing that the loop uses.
 *
 *   waiting ──► at work ──► done: `ready` is called, in the loop
 *      └───────────┴──────► abandoned: nothing is called. The thread ends what comes of it
 *
 * One start at a time of the same program in the same directory as the same user, or in the same control group:
 * should one hang, the next would hang beside it, and one that was abandoned is over, and has removed its group, before
 * there is a new one. At most ERRANDS threads; what is beyond waits for its turn.
 *
 * Threads. They block every signal. A child that is made in one has its pid and its status in the whole
 * process, so the loop follows it as any other; no parent-death signal is set, which would mean the
 * thread. vfork suspends the thread alone, so that errno and thread-local storage, which the child shares
 * with it, are nobody else's meanwhile. Where clone() is only emulated by a fork (valgrind), the thread
 * waits for the report in the pipe instead; what the child does is not seen there, and valgrind ends
 * only when what hangs does. A child that hangs can be killed by its descriptor, where the kernel lets
 * it die there. What neither dies nor answers keeps its thread, and its turn.
 *
 * Nobody ever waits for a thread. When the pilot ends, its threads end with it, and what they started is
 * left to the guardian like all else. A thread and the loop share what is known of an errand, and the last
 * one to let go frees it.
 *
 * It owns the errands, the threads' stacks for children, and copies of descriptors. */
#ifndef LUAPILOT_PROCESS_ERRAND_H
#define LUAPILOT_PROCESS_ERRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/names.h"
#include "loop/loop.h"
#include "process/spawn.h"

#define ERRANDS 32

struct errand;
struct errands; /* all of one pilot */

/* What came of it. Everything in it is the caller's once he has taken it out (see struct spawn). */
struct errand_result {
  pid_t pid; /* -1 = `failure` */
  int pidfd; /* of a pid */
  struct spawn spawn;
  struct failure failure;
};

/* NULL: no memory. */
struct errands *errands_new(struct loop *loop);
/* Abandons them all. Accepts NULL. */
void errands_free(struct errands *errands);

/* Must this be an errand? Any start as another user or group; else it costs one system call where nothing here
 * can hang. */
bool errand_is_due(const struct spawn_options *options);
/* Begins one; `ready` is called once, with what came of it, unless it is abandoned before. NULL with
 * `failure`. The options ask for no SPAWN_PIPE. */
struct errand *errand_begin(struct errands *errands, const struct spawn_options *options,
                            void (*ready)(void *context, struct errand_result *result),
                            void *context, struct failure *failure);
/* What is begun is not wanted any more. False: it is done, and `ready` is still to come. */
bool errand_abandon(struct errand *errand);

/* A child that was stopped on its way goes on: to be called now and then. */
void errand_continue(struct errand *errand);
/* What it waits for: 'hangs in working directory "/dead"'; returns the stage, as in a failure, or
 * "turn". */
const char *errand_tell(const struct errand *errand, char *text, size_t size);

#endif
