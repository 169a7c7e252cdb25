/* output: everything that jobs and the pilot say, on its way out.
 *
 * A `stream` reads one pipe of a job (its stdout or its stderr). What it reads goes, line by line,
 * into a `sink` (our stdout, our stderr, or a file), with the job's name and a time in front, as
 * logfmt, or as JSON; and, where Lua asked, as events. No Lua code runs on this way.
 *
 * Lines have any length, any bytes, and memory stays bounded: a line over OUTPUT_LINE bytes is
 * written in parts, each a line of its own (never cut inside a UTF-8 character; marked `partial`
 * where the format has fields). A last line without a newline is a line too.
 *
 * Backpressure: a sink that cannot write (a reader that is slow or stopped) stops the reading of
 * the streams that feed it, so the pipe pushes back on the job. The loop never waits for it. The
 * pilot's own messages have a room of their own in the sink (OUTPUT_OWN bytes); what does not fit is
 * dropped, counted, and the count is told when there is room again. Nothing is torn: what shares a
 * sink shares one buffer and is written in whole lines, however short the writes are.
 *
 * Lua may hold a stream whose events it hears: then that is not read either, with the same effect.
 *
 * A reader that is gone (EPIPE), or a disk that is full, never stops supervision: see sink.h.
 *
 * It owns the pipes it was given, the files it opened, the buffers. It never closes descriptors 1
 * and 2, never sets O_NONBLOCK on a description that it shares with others, and never forks. */
#ifndef LUAPILOT_OUTPUT_H
#define LUAPILOT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/names.h"
#include "loop/loop.h"

#ifndef OUTPUT_LINE /* fuzzing has smaller ones */
#  define OUTPUT_LINE (64 * 1024)
#  define OUTPUT_OWN (1024 * 1024)
#endif

struct output; /* all sinks and streams of one pilot */
struct stream; /* one pipe being read */
struct sink;   /* one place being written */

enum output_format { OUTPUT_DEFAULT, OUTPUT_TEXT, OUTPUT_JSON };

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* How one job's lines look and where they go. The strings are copied. */
struct output_style {
  const char *name;       /* the job's */
  const char *level;      /* label of its lines */
  bool prefix;            /* false: the bare line, in the default format */
  bool parse;             /* lines that are JSON objects are told apart: format.h, parse.h */
  const char *level_from; /* the key in them that names the level; NULL: none does */
};

/* A piece of output on its way to Lua: event.type is EVENT_OUTPUT, event.id the process's. */
struct output_event {
  struct event event;
  const char *stream; /* "stdout" or "stderr" */
  const char *data;   /* not terminated; valid until event.taken() */
  size_t size;
  bool last;
};

/* NULL with errno set. Ignores SIGPIPE in the whole process. */
struct output *output_new(struct loop *loop);
/* Frees everything; what is not flushed is lost. Accepts NULL. */
void output_free(struct output *output);

/* --- sinks --- */

/* The sink of the pilot's own output. Never NULL. */
struct sink *output_main(struct output *output);
/* The sink for a file, opened for appending (0640) when it is not open yet; counted, give it back
 * with output_release(). NULL with `failure`. */
struct sink *output_file(struct output *output, const char *path, struct failure *failure);
void output_release(struct sink *sink);
/* Sends the pilot's own output elsewhere: "stdout", "stderr" or a path. Returns 0, or -1 with
 * `failure` (the old place stays). */
int output_redirect(struct output *output, const char *where, struct failure *failure);
/* Opens every file anew, after a rotation. A file that cannot be opened keeps the old one, with a
 * message. */
void output_reopen(struct output *output);
/* The descriptor that a `raw` job inherits for `sink`: 1, 2, or the file's. `stream` says which of
 * our own two it would be. */
int output_descriptor(struct sink *sink, const char *stream);

void output_format(struct output *output, enum output_format format);
void output_level(struct output *output, enum log_level least);

/* --- streams --- */

/* Reads `fd` (non-blocking; taken over, even on failure) into `sink` in `style`; sink NULL: only
 * events, of raw data. `name` is "stdout" or "stderr" (static). `id` and `ended` belong to the process:
 * `ended` (may be NULL) is called once, when the stream has ended and its last event is taken; the
 * stream is freed after that. Returns NULL with errno set. */
struct stream *stream_new(struct output *output, int fd, const char *name, struct sink *sink,
                          const struct output_style *style, uint64_t id,
                          void (*ended)(void *context), void *context);
/* Events on or off. A stream has one event at a time and reads on when Lua has taken it. */
void stream_capture(struct stream *stream, bool on);
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

/* --- the pilot's own messages --- */

struct log_field {
  const char *name;
  const char *value;
  size_t size;  /* of value */
  bool literal; /* a number or a boolean: no quotes in JSON */
  bool said;    /* the text tells people the same: only for formats that machines read */
};

/* One message of the pilot's own. Nothing in it is owned. */
struct log_message {
  enum log_level level;
  const char *text;
  size_t size;
  const char *job; /* the name of the one that it is about; NULL: none */
  const struct log_field *fields;
  size_t count;
};

void output_log(struct output *output, const struct log_message *message);
/* The same from C, printf-like: `event` is its only field. */
void output_say(struct output *output, enum log_level level, const char *event, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/* Blocks until everything is written, `seconds` at most; reads what the pipes still hold first.
 * What is lost is told then. Returns the number of bytes that could not be written. */
size_t output_flush(struct output *output, double seconds);

#endif
