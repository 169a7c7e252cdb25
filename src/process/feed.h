/* feed: text on its way into a child's standard input.
 *
 * What the pipe takes at once goes at once; the rest follows as the child reads, without ever
 * waiting. When all is written, or nobody will read any more (which is no failure: many programs
 * read a line and leave), the pipe is closed and the text freed.
 *
 * Embedded in the process that it feeds. It owns its end of the pipe and its copy of the text. */
#ifndef LUAPILOT_PROCESS_FEED_H
#define LUAPILOT_PROCESS_FEED_H

#include <stddef.h>

#include "loop/loop.h"

struct feed {
  struct loop *loop;
  struct watcher watcher; /* the writing end; fd closed by feed_stop() */
  char *text;             /* owned; NULL = nothing to feed (any more) */
  bool started;           /* fd is open */
  size_t size, written;
};

/* Keeps a copy of `text` for feed_start(). Returns 0, or -1 with ENOMEM. `feed` is zero-initialised. */
int feed_keep(struct feed *feed, const char *text, size_t size);
/* Takes over `fd` (non-blocking), and writes what can be written of the text that it keeps. */
void feed_start(struct feed *feed, struct loop *loop, int fd);
/* The reader never sees an end, nor a word, until feed_stop(): takes over `fd`. Returns 0, or -1 with ENOMEM
 * and `fd` closed. */
int feed_hold(struct feed *feed, struct loop *loop, int fd);
/* Closes and frees; harmless when it has ended by itself or never begun. */
void feed_stop(struct feed *feed);

#endif
