#include "lines.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"

/* --- UTF-8 ------------------------------------------------------------------------------- */

/* By the code point: what it decodes to must need that many bytes, and be no surrogate. */
size_t utf8_length(const char *text, size_t size) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char *bytes = (const unsigned char *)text;
  if (size == 0) return 0;
  if (bytes[0] < 0x80) return 1;
  size_t length = 0;
  while (length < 8 && (bytes[0] >> (7 - length) & 1)) length++;
  if (length < 2 || length > 4 || length > size) return 0;
  uint32_t point = bytes[0] & (0x7fU >> length);
  for (size_t i = 1; i < length; i++) {
    if (bytes[i] >> 6 != 2) return 0;
    point = point << 6 | (bytes[i] & 0x3fU);
  }
  bool surrogate = point >= 0xd800 && point <= 0xdfff;
  return point < least[length] || point > 0x10ffff || surrogate ? 0 : length;
}

char *utf8_repair(const char *text, size_t size, size_t *repaired) {
  char *out = malloc(size * 3 + 1), *end = out;
  if (out == NULL) abort();
  while (size > 0) {
    size_t length = utf8_length(text, size);
    const char *from = length > 0 ? text : "\xef\xbf\xbd";
    size_t add = length > 0 ? length : 3, take = length > 0 ? length : 1;
    memcpy(end, from, add);
    end += add;
    text += take;
    size -= take;
  }
  *repaired = (size_t)(end - out);
  return out;
}

/* --- values ------------------------------------------------------------------------------ */

struct reader {
  const char *at, *end;
  char *out; /* where the next decoded byte goes: the arena, never longer than the text */
  const char *problem;
};

static bool wrong(struct reader *reader, const char *problem) {
  if (reader->problem == NULL) reader->problem = problem;
  return false;
}

static bool take(struct reader *reader, const char *text) {
  size_t size = strlen(text);
  if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, text, size) != 0)
    return false;
  reader->at += size;
  return true;
}

static int hex_digit(char digit) {
  static const char digits[] = "0123456789abcdef";
  const char *found = digit ? strchr(digits, digit) : NULL;
  return found ? (int)(found - digits) : -1;
}

/* \u00XX: luapilot has no reason to write another. */
static bool read_escape(struct reader *reader) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (reader->end - reader->at < 2) return wrong(reader, "an escape is cut off");
  char kind = reader->at[1];
  const char *known = kind ? strchr(from, kind) : NULL;
  reader->at += 2;
  if (known) {
    *reader->out++ = to[known - from];
    return true;
  }
  if (kind != 'u' || !take(reader, "00") || reader->end - reader->at < 2)
    return wrong(reader, "an unknown escape");
  int high = hex_digit(reader->at[0]), low = hex_digit(reader->at[1]);
  if (high < 0 || high > 7 || low < 0) return wrong(reader, "an escape without its digits");
  *reader->out++ = (char)(high * 16 + low);
  reader->at += 2;
  return true;
}

static bool read_character(struct reader *reader) {
  size_t length = utf8_length(reader->at, (size_t)(reader->end - reader->at));
  if (length == 0) return wrong(reader, "invalid UTF-8");
  if ((unsigned char)*reader->at < 0x20) return wrong(reader, "a bare control character");
  memcpy(reader->out, reader->at, length);
  reader->out += length;
  reader->at += length;
  return true;
}

/* After the opening quote, up to and with the closing one. */
static bool read_quoted(struct reader *reader, char **text, size_t *size) {
  *text = reader->out;
  while (reader->at < reader->end && *reader->at != '"') {
    bool ok = *reader->at == '\\' ? read_escape(reader) : read_character(reader);
    if (!ok) return false;
  }
  *size = (size_t)(reader->out - *text);
  return take(reader, "\"") || wrong(reader, "a quote is not closed");
}

/* Up to one of `stops`. */
static bool read_bare(struct reader *reader, const char *stops, char **text, size_t *size) {
  *text = reader->out;
  while (reader->at < reader->end && strchr(stops, *reader->at) == NULL) {
    if (*reader->at == '"' || *reader->at == '\\') return wrong(reader, "a quote in a bare word");
    if (!read_character(reader)) return false;
  }
  *size = (size_t)(reader->out - *text);
  return *size > 0 || wrong(reader, "an empty bare word");
}

/* --- numbers of JSON --------------------------------------------------------------------- */

static size_t digits(const char *text, size_t size) {
  size_t count = 0;
  while (count < size && text[count] >= '0' && text[count] <= '9') count++;
  return count;
}

static bool is_literal(const char *text, size_t size) {
  if (size == 4 && memcmp(text, "true", 4) == 0) return true;
  if (size == 5 && memcmp(text, "false", 5) == 0) return true;
  const char *end = text + size;
  if (text < end && *text == '-') text++;
  size_t whole = digits(text, (size_t)(end - text));
  if (whole == 0 || (whole > 1 && *text == '0')) return false;
  text += whole;
  if (text < end && *text == '.') {
    size_t after = digits(text + 1, (size_t)(end - text) - 1);
    if (after == 0) return false;
    text += 1 + after;
  }
  if (text < end && (*text == 'e' || *text == 'E')) {
    text++;
    if (text < end && (*text == '+' || *text == '-')) text++;
    size_t exponent = digits(text, (size_t)(end - text));
    if (exponent == 0) return false;
    text += exponent;
  }
  return text == end;
}

/* --- the formats ------------------------------------------------------------------------- */

static struct pair *add_pair(struct reader *reader, struct line *line) {
  if (line->count < LINE_PAIRS) return &line->pairs[line->count++];
  (void)wrong(reader, "too many pairs");
  return NULL;
}

/* The last member, as it is written. */
static bool read_data(struct reader *reader, struct pair *pair) {
  struct object object;
  pair->value = (char *)reader->at;
  pair->size = (size_t)(reader->end - reader->at) - 1;
  reader->at += pair->size;
  bool whole = object_read(&object, pair->value, pair->size, NULL) && object.text == pair->value &&
               object.end == reader->at;
  return (whole && !object_excluded(&object)) || wrong(reader, "data that is not one object");
}

static bool read_member(struct reader *reader, struct line *line) {
  struct pair *pair = add_pair(reader, line);
  if (pair == NULL) return false;
  if (!take(reader, "\"")) return wrong(reader, "a key without quotes");
  if (!read_quoted(reader, &pair->key, &pair->key_size)) return false;
  if (!take(reader, ":")) return wrong(reader, "a key without a colon");
  if (take(reader, "\"")) return read_quoted(reader, &pair->value, &pair->size);
  pair->bare = true;
  if (reader->at < reader->end && *reader->at == '{') return read_data(reader, pair);
  if (!read_bare(reader, ",}", &pair->value, &pair->size)) return false;
  return is_literal(pair->value, pair->size) || wrong(reader, "a literal that JSON has not");
}

static void read_json(struct reader *reader, struct line *line) {
  line->kind = OUTPUT_JSON;
  do {
    if (!read_member(reader, line)) return;
  } while (take(reader, ","));
  if (!take(reader, "}") || reader->at != reader->end) (void)wrong(reader, "not one object");
}

static bool read_logfmt_pair(struct reader *reader, struct line *line) {
  struct pair *pair = add_pair(reader, line);
  if (pair == NULL) return false;
  if (!read_bare(reader, " =", &pair->key, &pair->key_size)) return false;
  if (!take(reader, "=")) return wrong(reader, "a key without a value");
  if (take(reader, "\"")) return read_quoted(reader, &pair->value, &pair->size);
  pair->bare = true;
  return read_bare(reader, " =", &pair->value, &pair->size);
}

static void read_logfmt(struct reader *reader, struct line *line) {
  line->kind = OUTPUT_TEXT;
  do {
    if (!read_logfmt_pair(reader, line)) return;
  } while (take(reader, " "));
  if (reader->at != reader->end) (void)wrong(reader, "something between two pairs");
}

#define STAMP "2000-00-00T00:00:00.000Z"

static bool is_time(const char *text, size_t size) {
  const char *shape = STAMP;
  if (size < sizeof STAMP - 1) return false;
  for (size_t i = 0; shape[i]; i++) {
    bool digit = shape[i] >= '0' && shape[i] <= '9';
    if (digit ? digits(text + i, 1) == 0 : text[i] != shape[i]) return false;
  }
  return memcmp(text, "20", 2) == 0; /* the clock of this machine is not older */
}

static void read_default(struct reader *reader, struct line *line) {
  size_t size = (size_t)(reader->end - reader->at);
  line->kind = OUTPUT_DEFAULT;
  if (!is_time(reader->at, size) || size == sizeof STAMP - 1 ||
      reader->at[sizeof STAMP - 1] != ' ') {
    (void)wrong(reader, "a line without its time");
    return;
  }
  line->rest = reader->at + sizeof STAMP;
  line->rest_size = size - sizeof STAMP;
}

static void check_pairs(struct reader *reader, const struct line *line) {
  const struct pair *first = &line->pairs[0];
  if (first->key_size != 4 || memcmp(first->key, "time", 4) != 0 ||
      !is_time(first->value, first->size))
    (void)wrong(reader, "the first pair is not the time");
  for (size_t i = 0; i < line->count; i++)
    for (size_t j = 0; j < i; j++) {
      const struct pair *a = &line->pairs[i], *b = &line->pairs[j];
      if (a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0)
        (void)wrong(reader, "a key comes twice");
    }
}

const char *line_read(struct line *line, const char *text, size_t size) {
  *line = (struct line){.arena = malloc(size + 1)};
  if (line->arena == NULL) abort();
  struct reader reader = {text, text + size, line->arena, NULL};
  if (take(&reader, "{")) {
    read_json(&reader, line);
  } else if (size >= 5 && memcmp(text, "time=", 5) == 0) {
    read_logfmt(&reader, line);
  } else {
    read_default(&reader, line);
  }
  if (reader.problem == NULL && line->kind != OUTPUT_DEFAULT) check_pairs(&reader, line);
  return reader.problem;
}

void line_free(struct line *line) {
  free(line->arena);
  *line = (struct line){0};
}

const struct pair *line_find(const struct line *line, const char *key) {
  size_t size = strlen(key);
  for (size_t i = 0; i < line->count; i++)
    if (line->pairs[i].key_size == size && memcmp(line->pairs[i].key, key, size) == 0)
      return &line->pairs[i];
  return NULL;
}
