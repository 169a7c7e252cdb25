/* lines: reads what luapilot wrote, as strictly as the strictest reader would: JSON by RFC 8259 with
 * valid UTF-8 and no key twice, logfmt, the default format. Written from the formats' descriptions
 * and not from output/format.c, or both would be wrong together. */
#ifndef LUAPILOT_FUZZ_LINES_H
#define LUAPILOT_FUZZ_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "output/output.h"

#define LINE_PAIRS 16

struct pair {
  char *key, *value; /* in the line's arena */
  size_t key_size, size;
  bool bare; /* without quotes */
};

struct line {
  enum output_format kind;
  struct pair pairs[LINE_PAIRS]; /* none in the default format */
  size_t count;
  const char *rest; /* default format: what follows the time, into the text that was read */
  size_t rest_size;
  char *arena; /* owned; line_free() */
};

/* Reads one line, without its newline. NULL, or what is wrong with it. */
const char *line_read(struct line *line, const char *text, size_t size);
void line_free(struct line *line);
/* NULL: there is no such pair. */
const struct pair *line_find(const struct line *line, const char *key);

/* The length of the UTF-8 character at `text`; 0: there is none. */
size_t utf8_length(const char *text, size_t size);
/* `text` with U+FFFD for each byte that is not UTF-8, in memory of its own. */
char *utf8_repair(const char *text, size_t size, size_t *repaired);

#endif
