/* object: reads a JSON object as RFC 8259 has it, slowly and by recursion, and not at all like output/parse.c, or
 * both would be wrong together. */
#ifndef LUAPILOT_FUZZ_OBJECT_H
#define LUAPILOT_FUZZ_OBJECT_H

#include <stdbool.h>
#include <stddef.h>

struct object {
  const char *text, *end; /* from { to behind } */
  int depth;              /* levels of objects and arrays */
  bool infinite;          /* a number that no double holds */
  bool wide;         /* a number of so many digits, or such an exponent, that it may be refused */
  bool has_return;   /* a CR in front of it, or between its tokens */
  bool half_pair;    /* an escaped surrogate by itself */
  int met;           /* how often the key stands at its top level */
  const char *value; /* of the last of them, if it is a scalar, as it is written; NULL: none */
  size_t value_size;
};

/* Whether `size` bytes at `text` are one object, and white space around it. `key` may be NULL. */
bool object_read(struct object *object, const char *text, size_t size, const char *key);
/* Whether it is one that output/parse.h excludes. */
bool object_excluded(const struct object *object);
/* Which level such a value names: that of enum log_level; -1: none. */
int object_level(const char *value, size_t size);

#endif
