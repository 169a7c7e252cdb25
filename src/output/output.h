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
 * A reader that is gone (EPIPE), or a disk that is full, never stops supervision: see output/sink.h.
 *
 * It owns the pipes it was given, the files it opened, the buffers. It never closes descriptors 1
 * and 2, never sets O_NONBLOCK on a description that it shares with others, and never forks. */
#ifndef LUAPILOT_OUTPUT_OUTPUT_H
#define LUAPILOT_OUTPUT_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/names.h"
#include "loop/loop.h"
#include "output/message.h"
#include "output/stream.h"
#include "output/style.h"

struct output; /* all sinks and streams of one pilot */
struct sink;   /* one place being written */

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

/* --- streams: what is done with one is in output/stream.h --- */

/* Reads `fd` (non-blocking; taken over, even on failure) into `sink` in `style`; sink NULL: only
 * events, of raw data. `name` is "stdout" or "stderr" (static). `id` and `ended` belong to the process:
 * `ended` (may be NULL) is called once, when the stream has ended and its last event is taken; the
 * stream is freed after that. Returns NULL with errno set. */
struct stream *stream_new(struct output *output, int fd, const char *name, struct sink *sink,
                          const struct output_style *style, uint64_t id,
                          void (*ended)(void *context), void *context);

/* --- the pilot's own messages --- */

void output_log(struct output *output, const struct log_message *message);
/* The same from C, printf-like: `event` is its only field. */
void output_say(struct output *output, enum log_level level, const char *event, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/* Blocks until everything is written, `seconds` at most; reads what the pipes still hold first.
 * What is lost is told then. Returns the number of bytes that could not be written. */
size_t output_flush(struct output *output, double seconds);

#endif
