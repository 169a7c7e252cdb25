/* message: what the pilot itself says: a level, a text, and fields for machines that read it. */
#ifndef LUAPILOT_OUTPUT_MESSAGE_H
#define LUAPILOT_OUTPUT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

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

#endif
