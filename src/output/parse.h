/* parse: what a line of a job is, when it is a JSON object by itself.
 *
 * Such a line is written into a line of ours byte for byte, so what is taken for an object must be one for every
 * reader of our log: else a job could make a line of ours that nobody can read, or that is two. It is
 * RFC 8259, and stricter where readers differ:
 *
 *   - one object, from the first byte of the line to the last but spaces, tabs and a CR
 *   - valid UTF-8; escapes of surrogates in pairs only
 *   - between its tokens spaces and tabs, no CR: there are readers for whom that ends a line
 *   - numbers that a double can hold: fewer than 309 digits in front of the point, exponent included
 *   - at most 32 levels of objects and arrays
 *   - the key that is asked for stands at its top level once
 *
 * Everything else is an ordinary line. It goes through the bytes once, in time proportional to their number,
 * and keeps a counter and a word of bits. It never allocates, recurses, changes or decodes anything,
 * and it does not look for other keys that come twice: what readers make of those is all the same to us. */
#ifndef LUAPILOT_OUTPUT_PARSE_H
#define LUAPILOT_OUTPUT_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "output/message.h"

#define PARSE_DEPTH 32

/* Both point into the line. */
struct parse_object {
  const char *text; /* from { to } */
  size_t size;
  const char *value; /* of the key: a scalar as it is written, quotes included; NULL: none */
  size_t value_size;
};

/* False: an ordinary line. `key` (NULL: none) is compared byte by byte: one that is written with escapes is
 * another. */
bool parse_object(const char *line, size_t size, const char *key, struct parse_object *object);

/* What a value that names a level means: "warning", or 40. False, and `level` as before: nothing. */
bool parse_level(const char *value, size_t size, enum log_level *level);

#endif
