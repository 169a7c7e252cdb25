/* stream: one pipe of a job, being read. The interface that the rest of the runtime uses is in
 * output.h; this is what output.c needs beside it.
 *
 * A stream is always in one of these, and reads only in the first:
 *
 *   reading    armed in the loop
 *   waiting    its sink is full: it stands in the sink's line
 *   in flight  an event of its is on its way to Lua: goes on when Lua has taken it
 *   on hold    Lua has enough for now: goes on when it says so
 *   ended      end of file; the last event, if anybody listens, is in flight
 *
 * One buffer for reading serves all streams: what a read leaves behind, the beginning of a line, is
 * kept by its stream. A job that says nothing costs no memory. */
#ifndef LUAPILOT_STREAM_H
#define LUAPILOT_STREAM_H

#include "output/output.h"

/* All streams, and what they share. Owned by output.c. */
struct stream_set {
  struct loop *loop; /* not owned */
  enum output_format format;
  struct stream *first;
  char *chunk;    /* owned; OUTPUT_LINE bytes: what is read goes here */
  int wide_pipes; /* how many were given a larger pipe */
};

struct stream *stream_open(struct stream_set *set, int fd, const char *name, struct sink *sink,
                           const struct output_style *style, uint64_t id,
                           void (*ended)(void *context), void *context);
/* Frees all, without another word. */
void stream_close_all(struct stream_set *set);

void stream_change_format(struct stream_set *set, enum output_format format);
/* Streams into `from` go into `to` from now on. */
void stream_redirect(struct stream_set *set, struct sink *from, struct sink *to);

/* For the end: reads once what is in the pipes of streams with a sink, and the beginnings of lines
 * they still hold, all without events. Returns whether there may be more to read. */
bool stream_drain(struct stream_set *set);
/* Writes what streams hold of lines that are not complete. */
void stream_finish_lines(struct stream_set *set);

#endif
