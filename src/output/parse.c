#include "output/parse.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "output/utf8.h"

#define INTEGER_DIGITS 308 /* DBL_MAX has one more */

/* What may come next inside the innermost object or array. */
enum expected { FIRST, ITEM, AFTER };

struct reader {
  const char *at, *end;
  enum expected expected;
  unsigned depth;
  uint64_t arrays; /* by depth: a bit for an array; 0: an object */
  const char *key; /* that is asked for */
  size_t key_size;
  bool met;   /* the key was there */
  bool noted; /* the value that comes is the key's */
  struct parse_object *object;
};

static void skip_space(struct reader *reader) {
  while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t')) reader->at++;
}

static bool take(struct reader *reader, char byte) {
  if (reader->at == reader->end || *reader->at != byte) return false;
  reader->at++;
  return true;
}

/* --- strings ----------------------------------------------------------------------------- */

static int hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  digit |= 0x20;
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The unit of \uXXXX, of which the X come; -1: that is none. */
static int32_t read_unit(struct reader *reader) {
  int32_t unit = 0;
  if (reader->end - reader->at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(*reader->at++);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

static bool read_unicode(struct reader *reader) {
  int32_t unit = read_unit(reader);
  if (unit < 0xd800 || unit > 0xdfff) return unit >= 0;
  if (unit > 0xdbff || !take(reader, '\\') || !take(reader, 'u')) return false;
  unit = read_unit(reader);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/* After the backslash. */
static bool read_escape(struct reader *reader) {
  if (reader->at == reader->end) return false;
  char kind = *reader->at++;
  return kind == 'u' ? read_unicode(reader) : kind && strchr("\"\\/bfnrt", kind);
}

#define SHORT 16

/* Keys and most values are short: utf8_clean() is for what is longer. */
static void skip_clean(struct reader *reader) {
  const char *at = reader->at, *end = reader->end - at > SHORT ? at + SHORT : reader->end;
  while (at < end && (unsigned char)(*at - ' ') < 0x80 - ' ' && *at != '"' && *at != '\\') at++;
  bool more = at == end || (unsigned char)*at >= 0x80;
  reader->at = at;
  if (more) reader->at += utf8_clean(at, (size_t)(reader->end - at));
}

static bool read_string(struct reader *reader) {
  if (!take(reader, '"')) return false;
  for (;;) {
    skip_clean(reader);
    if (take(reader, '"')) return true;
    if (!take(reader, '\\') || !read_escape(reader)) return false; /* a control, or no UTF-8 */
  }
}

/* --- numbers and words ------------------------------------------------------------------- */

static size_t skip_digits(struct reader *reader) {
  const char *start = reader->at;
  while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') reader->at++;
  return (size_t)(reader->at - start);
}

/* Adds the exponent to the digits in front of the point; what is too much stays so. */
static bool read_exponent(struct reader *reader, size_t *integer) {
  bool negative = take(reader, '-');
  if (!negative) (void)take(reader, '+');
  const char *digit = reader->at;
  if (skip_digits(reader) == 0) return false;
  size_t exponent = 0;
  for (; digit < reader->at && exponent <= INTEGER_DIGITS; digit++)
    exponent = exponent * 10 + (size_t)(*digit - '0');
  if (!negative) *integer += exponent;
  return true;
}

static bool read_number(struct reader *reader) {
  (void)take(reader, '-');
  bool zero = reader->at < reader->end && *reader->at == '0';
  size_t integer = skip_digits(reader);
  if (integer == 0 || (zero && integer > 1)) return false;
  if (take(reader, '.') && skip_digits(reader) == 0) return false;
  if ((take(reader, 'e') || take(reader, 'E')) && !read_exponent(reader, &integer)) return false;
  return integer <= INTEGER_DIGITS;
}

static bool read_word(struct reader *reader, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
    return false;
  reader->at += size;
  return true;
}

static bool read_scalar(struct reader *reader) {
  switch (*reader->at) {
  case '"': return read_string(reader);
  case 't': return read_word(reader, "true");
  case 'f': return read_word(reader, "false");
  case 'n': return read_word(reader, "null");
  default: return read_number(reader);
  }
}

/* --- objects and arrays ------------------------------------------------------------------ */

static bool in_array(const struct reader *reader) {
  return reader->arrays >> reader->depth & 1;
}

static bool open_one(struct reader *reader) {
  if (reader->depth == PARSE_DEPTH) return false;
  reader->depth++;
  reader->arrays &= ~((uint64_t)1 << reader->depth);
  reader->arrays |= (uint64_t)(*reader->at == '[') << reader->depth;
  reader->at++;
  reader->expected = FIRST;
  return true;
}

static bool close_one(struct reader *reader) {
  if (!take(reader, in_array(reader) ? ']' : '}')) return false;
  reader->depth--;
  reader->expected = AFTER;
  return true;
}

/* False, too, when the one that is asked for comes again: readers differ in which of them counts. */
static bool read_key(struct reader *reader) {
  const char *start = reader->at + 1;
  if (!read_string(reader)) return false;
  size_t size = (size_t)(reader->at - start) - 1;
  bool asked = reader->depth == 1 && reader->key && size == reader->key_size &&
               memcmp(start, reader->key, size) == 0;
  if (asked && reader->met) return false;
  reader->met |= asked;
  reader->noted = asked;
  skip_space(reader);
  if (!take(reader, ':')) return false;
  skip_space(reader);
  return reader->at < reader->end;
}

static bool read_value(struct reader *reader) {
  const char *start = reader->at;
  if (*start == '{' || *start == '[') return open_one(reader);
  if (!read_scalar(reader)) return false;
  reader->expected = AFTER;
  if (reader->noted) {
    reader->object->value = start;
    reader->object->value_size = (size_t)(reader->at - start);
  }
  return true;
}

/* An item, a comma, or an end. */
static bool read_next(struct reader *reader) {
  skip_space(reader);
  if (reader->at == reader->end) return false;
  if (reader->expected == AFTER) {
    if (!take(reader, ',')) return close_one(reader);
    reader->expected = ITEM;
    return true;
  }
  if (reader->expected == FIRST && close_one(reader)) return true;
  reader->noted = false;
  return (in_array(reader) || read_key(reader)) && read_value(reader);
}

bool parse_object(const char *line, size_t size, const char *key, struct parse_object *object) {
  struct reader reader = {.at = line, .end = line + size, .key = key, .object = object};
  if (key) reader.key_size = strlen(key);
  skip_space(&reader);
  *object = (struct parse_object){.text = reader.at};
  if (reader.at == reader.end || *reader.at != '{' || !open_one(&reader)) return false;
  while (reader.depth > 0)
    if (!read_next(&reader)) return false;
  object->size = (size_t)(reader.at - object->text);
  while (reader.at < reader.end && strchr(" \t\r", *reader.at) && *reader.at) reader.at++;
  return reader.at == reader.end;
}

/* --- levels ------------------------------------------------------------------------------ */

static const struct {
  const char *word;
  enum log_level level;
} levels[] = {
    {"trace", LOG_LEVEL_DEBUG},    {"debug", LOG_LEVEL_DEBUG}, {"info", LOG_LEVEL_INFO},
    {"notice", LOG_LEVEL_INFO},    {"warn", LOG_LEVEL_WARN},   {"warning", LOG_LEVEL_WARN},
    {"error", LOG_LEVEL_ERROR},    {"err", LOG_LEVEL_ERROR},   {"fatal", LOG_LEVEL_ERROR},
    {"critical", LOG_LEVEL_ERROR},
};

/* 10 to 60, as pino and bunyan have them: 30 is info. */
static bool numeric_level(const char *value, size_t size, enum log_level *level) {
  if (size != 2 || value[0] < '1' || value[0] > '6' || value[1] < '0' || value[1] > '9')
    return false;
  int number = (value[0] - '0') * 10 + value[1] - '0';
  if (number > 60) return false;
  *level = number < 30   ? LOG_LEVEL_DEBUG
           : number < 40 ? LOG_LEVEL_INFO
           : number < 50 ? LOG_LEVEL_WARN
                         : LOG_LEVEL_ERROR;
  return true;
}

bool parse_level(const char *value, size_t size, enum log_level *level) {
  if (size == 0 || *value != '"') return numeric_level(value, size, level);
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    const char *word = levels[i].word;
    if (strlen(word) != size - 2 || strncasecmp(word, value + 1, size - 2) != 0) continue;
    *level = levels[i].level;
    return true;
  }
  return false;
}
