/* utf8: bytes as characters: which of them are one, and what may stand between quotes. Of what jobs write nothing is
 * taken for granted. The rules are those of RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF.
 *
 * Pure; it owns nothing. */
#ifndef LUAPILOT_OUTPUT_UTF8_H
#define LUAPILOT_OUTPUT_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* How much of `data` to take so that no UTF-8 character is cut in two: at least size - 3. */
size_t utf8_whole(const char *data, size_t size);

/* A byte that stands between quotes as it is, by itself. */
static inline bool utf8_plain(unsigned char byte) {
  return (byte >= 0x20) & (byte < 0x80) & (byte != '"') & (byte != '\\');
}

/* How many bytes from the front may stand between quotes as they are: valid UTF-8, no control, quote or backslash. */
size_t utf8_clean(const char *data, size_t size);

/* Appends `text` as it stands between quotes: JSON's escapes, U+FFFD for each byte of what is no character. False:
 * there is no memory, and `out` may have some of it. */
bool utf8_escape(struct buffer *out, const char *text, size_t size);

#endif
