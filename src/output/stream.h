/* stream: one pipe of a job, being read. It is made by stream_new() of output/output.h, which knows all of them.
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
#ifndef LUAPILOT_OUTPUT_STREAM_H
#define LUAPILOT_OUTPUT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "output/style.h"

#ifndef OUTPUT_LINE /* fuzzing has a smaller one */
#  define OUTPUT_LINE (64 * 1024)
#endif

struct stream; /* one pipe being read */
struct sink;   /* one place being written */

/* A piece of output on its way to Lua: event.type is EVENT_OUTPUT, event.id the process's. */
struct output_event {
  struct event event;
  const char *stream; /* "stdout" or "stderr" */
  const char *data;   /* not terminated; valid until event.taken() */
  size_t size;
  bool last;
};

/* Events on or off. A stream has one event at a time and reads on when Lua has taken it. Returns 0, or -1 with
 * ENOMEM and no events; off never fails. */
int stream_capture(struct stream *stream, bool on);
/* Not read, or read again, while its events are on: the pipe pushes back on the job, and the log waits,
 * too. What ends the events ends the hold. */
void stream_hold(struct stream *stream, bool on);
/* Not read until it is woken: nobody may hear what is written before he knows by whom. */
void stream_sleep(struct stream *stream, bool on);
/* The group is gone: what is in the pipe now is the rest: the events end when that is read, even if a
 * stranger still holds the pipe. With a sink the stream then lives on by itself, as after
 * stream_abandon(); one that nobody captures goes on anyway. */
void stream_group_gone(struct stream *stream);
/* Nobody wants events any more and `ended` must not be called: a capture-only stream is closed and
 * freed at once, one with a sink lives on by itself until its end of file. */
void stream_abandon(struct stream *stream);

/* --- for output/output.c --- */

/* All streams, and what they share. Owned by output/output.c. */
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
