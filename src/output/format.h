/* format: how a line looks. Bytes in, bytes out; no clock, no descriptor, no state but the text.
 *
 *   default  2026-11-22T12:47:31.123Z app: the line
 *   text     time=2026-11-22T12:47:31.123Z level=info job=app stream=stdout msg="the line"
 *   json     {"time":"…","level":"info","job":"app","stream":"stdout","msg":"the line"}
 *
 * The pilot's own messages say `source` instead of `stream`, and, where they are about one, `job`:
 *
 *   default  2026-11-22T12:47:31.123Z luapilot: job "app": started pid=42
 *   text     time=2026-11-22T12:47:31.123Z level=info source=luapilot job=app msg="started" event=started pid=42
 *   json     {"time":"…","level":"info","source":"luapilot","job":"app","msg":"started","event":"started","pid":42}
 *
 * People read the first: fields whose content the text has already (log_field.said) are left out there.
 *
 * A line is a head, which is rendered once for a stream and has its time written over, then the
 * bytes, then a tail. The default format passes the bytes through unchanged. In the other two they
 * stand in quotes: control characters and NUL escaped, bytes that are not UTF-8 replaced by U+FFFD,
 * one for each, so every line is valid JSON, or logfmt, whatever the program wrote.
 *
 * Where the style says so, a line that is a JSON object (output/parse.h) is told apart: it may name the level, and in
 * JSON it stands as it is, behind what is ours, in the place of "msg":
 *
 *   json     {"time":"…","level":"error","job":"app","stream":"stdout","data":{"level":50,"err":"disk full"}}
 *
 * A line that is too long comes in parts. Each but the last says `partial`: the next line of the
 * same job and stream continues it. */
#ifndef LUAPILOT_OUTPUT_FORMAT_H
#define LUAPILOT_OUTPUT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "output/message.h"
#include "output/style.h"

#define FORMAT_STAMP (sizeof "2026-11-22T12:47:31.123Z" - 1)

/* A whole line; a part, behind which it goes on; the last part. */
enum format_part { FORMAT_WHOLE, FORMAT_PART, FORMAT_REST };

/* How the lines of one stream look. There are two for each job, so it is small. */
struct format {
  enum output_format kind;
  bool prefix;
  bool parse;
  char *name, *level; /* owned, as one piece */
  char *level_from;   /* in that, too; NULL: none */
  const char *stream; /* static; "stdout" or "stderr" */
  char *head;         /* owned */
  uint32_t head_size;
  uint32_t stamp;               /* where in the head the time stands; FORMAT_NO_STAMP: nowhere */
  uint32_t level_at, level_end; /* where the level stands, in text and JSON; */
  uint32_t msg_at;              /* where ends what is the same for a line and an object */
};

#define FORMAT_NO_STAMP UINT32_MAX

/* Copies what `style` holds. Returns 0, or -1 with ENOMEM. */
int format_init(struct format *format, enum output_format kind, const struct output_style *style,
                const char *stream);
void format_free(struct format *format);
/* Another kind from now on; without memory the old one stays. */
void format_change(struct format *format, enum output_format kind);

/* The time of the lines to come, in milliseconds since the epoch. */
void format_stamp(struct format *format, int64_t milliseconds);
/* Appends one line (without its newline) to `out`. False, and `out` as before, without memory. */
bool format_line(const struct format *format, struct buffer *out, const char *line, size_t size,
                 enum format_part part);

/* Appends one of the pilot's own messages: several lines when the message has several and the
 * format is the default one. False, and `out` as before, without memory. */
bool format_own(enum output_format kind, struct buffer *out, int64_t milliseconds,
                const struct log_message *message);

/* Writes the time as text, in UTC, without a terminator. Years 0 to 9999. */
void format_time(char text[FORMAT_STAMP], int64_t milliseconds);

#endif
