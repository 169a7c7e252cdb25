#include "output/format.h"

#include <stdlib.h>
#include <string.h>

#include "output/parse.h"
#include "output/utf8.h"

#define OWN_NAME "luapilot"

/* --- time -------------------------------------------------------------------------------- */

static void digits(char *text, int width, int64_t value) {
  for (int i = width - 1; i >= 0; i--) {
    text[i] = (char)('0' + value % 10);
    value /= 10;
  }
}

static int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

/* Years are counted from March, so that the leap day is the last one, in cycles of 400 years.
 * Not gmtime_r(), which takes a lock and reads the time zone's file when it is called first. */
static void write_date(char *text, int64_t days) {
  days += 719468; /* from 1970-01-01 to 0000-03-01 */
  int64_t cycle = floor_div(days, 146097);
  int64_t day = days - cycle * 146097;
  int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  day -= year * 365 + year / 4 - year / 100;
  int64_t month = (5 * day + 2) / 153; /* 0 = March */
  day -= (153 * month + 2) / 5;
  month = month < 10 ? month + 3 : month - 9;
  digits(text, 4, cycle * 400 + year + (month <= 2));
  digits(text + 5, 2, month);
  digits(text + 8, 2, day + 1);
}

void format_time(char text[FORMAT_STAMP], int64_t milliseconds) {
  const int64_t first = -62167219200000, last = 253402300799999; /* years 0 and 9999 */
  if (milliseconds < first) milliseconds = first;
  if (milliseconds > last) milliseconds = last;
  int64_t seconds = floor_div(milliseconds, 1000);
  int64_t days = floor_div(seconds, 86400);
  int64_t of_day = seconds - days * 86400;
  memcpy(text, "0000-00-00T00:00:00.000Z", FORMAT_STAMP);
  write_date(text, days);
  digits(text + 11, 2, of_day / 3600);
  digits(text + 14, 2, of_day / 60 % 60);
  digits(text + 17, 2, of_day % 60);
  digits(text + 20, 3, milliseconds - seconds * 1000);
}

/* --- quoting ----------------------------------------------------------------------------- */

static bool put_text(struct buffer *out, const char *text) {
  return buffer_append(out, text, strlen(text));
}

static bool put_quoted(struct buffer *out, const char *text, size_t size) {
  return put_text(out, "\"") && utf8_escape(out, text, size) && put_text(out, "\"");
}

/* A logfmt value needs quotes when a reader would end it early, or undo an escape in it. */
static bool needs_quotes(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!utf8_plain((unsigned char)text[i]) || text[i] == ' ' || text[i] == '=') return true;
  return size == 0;
}

static bool put_value(struct buffer *out, const char *text, size_t size) {
  return needs_quotes(text, size) ? put_quoted(out, text, size) : buffer_append(out, text, size);
}

/* --- levels ------------------------------------------------------------------------------ */

static const char *level_name(enum log_level level) {
  static const char *const names[] = {"debug", "info", "warn", "error"};
  return names[level];
}

/* --- the lines of jobs ------------------------------------------------------------------- */

static bool put_time(struct buffer *out) {
  return put_text(out, "0000-00-00T00:00:00.000Z");
}

static bool head_default(struct format *format, struct buffer *out) {
  if (!format->prefix) {
    format->stamp = FORMAT_NO_STAMP;
    return true;
  }
  format->stamp = 0;
  return put_time(out) && put_text(out, " ") && put_text(out, format->name) && put_text(out, ": ");
}

static bool put_level(struct format *format, struct buffer *out, bool quoted) {
  size_t size = strlen(format->level);
  format->level_at = (uint32_t)buffer_size(out);
  if (!(quoted ? put_quoted : put_value)(out, format->level, size)) return false;
  format->level_end = (uint32_t)buffer_size(out);
  return true;
}

static bool head_text(struct format *format, struct buffer *out) {
  format->stamp = sizeof "time=" - 1;
  if (!put_text(out, "time=") || !put_time(out) || !put_text(out, " level=") ||
      !put_level(format, out, false) || !put_text(out, " job=") ||
      !put_value(out, format->name, strlen(format->name)) || !put_text(out, " stream=") ||
      !put_text(out, format->stream))
    return false;
  format->msg_at = (uint32_t)buffer_size(out);
  return put_text(out, " msg=\"");
}

static bool head_json(struct format *format, struct buffer *out) {
  format->stamp = sizeof "{\"time\":\"" - 1;
  if (!put_text(out, "{\"time\":\"") || !put_time(out) || !put_text(out, "\",\"level\":") ||
      !put_level(format, out, true) || !put_text(out, ",\"job\":") ||
      !put_quoted(out, format->name, strlen(format->name)) || !put_text(out, ",\"stream\":\"") ||
      !put_text(out, format->stream) || !put_text(out, "\""))
    return false;
  format->msg_at = (uint32_t)buffer_size(out);
  return put_text(out, ",\"msg\":\"");
}

/* What ends a line, and what ends a part behind which it goes on. */
static const struct tail {
  const char *text;
  size_t size;
} tails[][2] = {
#define TAIL(text)                                                                                 \
  { text, sizeof(text) - 1 }
    [OUTPUT_TEXT] = {TAIL("\"\n"), TAIL("\" partial=true\n")},
    [OUTPUT_JSON] = {TAIL("\"}\n"), TAIL("\",\"partial\":true}\n")},
#undef TAIL
};

static bool render_head(struct format *format, enum output_format kind) {
  static bool (*const heads[])(struct format *, struct buffer *) = {
      [OUTPUT_DEFAULT] = head_default, [OUTPUT_TEXT] = head_text, [OUTPUT_JSON] = head_json};
  struct buffer head = {0};
  struct format next = *format;
  if (!heads[kind](&next, &head)) {
    buffer_free(&head);
    return false;
  }
  free(format->head);
  *format = next;
  buffer_fit(&head);
  format->kind = kind;
  format->head = head.data;
  format->head_size = (uint32_t)head.end;
  return true;
}

/* All in one piece: the name is what must be freed. */
static bool copy_words(struct format *format, const struct output_style *style) {
  const char *from = style->level_from;
  size_t size = strlen(style->name) + strlen(style->level) + (from ? strlen(from) : 0) + 3;
  format->name = malloc(size);
  if (format->name == NULL) return false;
  format->level = stpcpy(format->name, style->name) + 1;
  char *at = stpcpy(format->level, style->level) + 1;
  if (from == NULL) return true;
  format->level_from = at;
  (void)stpcpy(at, from);
  return true;
}

int format_init(struct format *format, enum output_format kind, const struct output_style *style,
                const char *stream) {
  *format = (struct format){.prefix = style->prefix, .parse = style->parse, .stream = stream};
  if (copy_words(format, style) && render_head(format, kind)) return 0;
  format_free(format);
  return -1; /* errno = ENOMEM, by malloc */
}

void format_free(struct format *format) {
  free(format->name);
  free(format->head);
  *format = (struct format){0};
}

void format_change(struct format *format, enum output_format kind) {
  (void)render_head(format, kind);
}

void format_stamp(struct format *format, int64_t milliseconds) {
  if (format->stamp != FORMAT_NO_STAMP) format_time(format->head + format->stamp, milliseconds);
}

/* The rest of a line, from the first byte on that is not plain. */
static bool put_difficult(struct buffer *out, const char *line, size_t size,
                          const struct tail *tail) {
  return utf8_escape(out, line, size) && buffer_append(out, tail->text, tail->size);
}

/* As it is: what most lines are. */
static bool put_default(const struct format *format, struct buffer *out, const char *line,
                        size_t size) {
  if (!buffer_reserve(out, format->head_size + size + 1)) return false;
  buffer_put(out, format->head, format->head_size);
  buffer_put(out, line, size);
  buffer_put(out, "\n", 1);
  return true;
}

static bool put_line(const struct format *format, struct buffer *out, const char *line, size_t size,
                     const struct tail *tail) {
  size_t before = buffer_size(out);
  if (!buffer_reserve(out, format->head_size + size + tail->size)) return false;
  size_t clean = utf8_clean(line, size);
  buffer_put(out, format->head, format->head_size);
  buffer_put(out, line, clean);
  if (clean == size) {
    buffer_put(out, tail->text, tail->size);
    return true;
  }
  if (put_difficult(out, line + clean, size - clean, tail)) return true;
  buffer_cut(out, before);
  return false;
}

/* The head up to `end`, with the level that the object names. */
static bool put_object_head(const struct format *format, struct buffer *out,
                            const struct parse_object *object, size_t end) {
  enum log_level level;
  if (object->value == NULL || !parse_level(object->value, object->value_size, &level))
    return buffer_append(out, format->head, end);
  bool quoted = format->kind == OUTPUT_JSON;
  return buffer_append(out, format->head, format->level_at) && (!quoted || put_text(out, "\"")) &&
         put_text(out, level_name(level)) && (!quoted || put_text(out, "\"")) &&
         buffer_append(out, format->head + format->level_end, end - format->level_end);
}

static bool put_object(const struct format *format, struct buffer *out, const char *line,
                       size_t size, const struct parse_object *object) {
  if (format->kind == OUTPUT_JSON)
    return put_object_head(format, out, object, format->msg_at) && put_text(out, ",\"data\":") &&
           buffer_append(out, object->text, object->size) && put_text(out, "}\n");
  return put_object_head(format, out, object, format->head_size) &&
         put_difficult(out, line, size, &tails[format->kind][0]);
}

bool format_line(const struct format *format, struct buffer *out, const char *line, size_t size,
                 enum format_part part) {
  struct parse_object object;
  if (format->kind == OUTPUT_DEFAULT) return put_default(format, out, line, size);
  if (!format->parse || part != FORMAT_WHOLE ||
      !parse_object(line, size, format->level_from, &object))
    return put_line(format, out, line, size, &tails[format->kind][part == FORMAT_PART]);
  size_t before = buffer_size(out);
  if (put_object(format, out, line, size, &object)) return true;
  buffer_cut(out, before);
  return false;
}

/* --- the pilot's own messages ------------------------------------------------------------ */

/* In the default format people read it, and most messages are information. */
static const char *level_word(enum log_level level) {
  static const char *const words[] = {"debug: ", "", "warning: ", "error: "};
  return words[level];
}

/* The names of the line's own fields, and what such a name becomes. */
static bool is_taken(const char *name) {
  static const char *const words[] = {"time", "level", "source", "msg"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t size = strlen(words[i]);
    if (strncmp(name, words[i], size) == 0 && name[size + strspn(name + size, "_")] == 0)
      return true;
  }
  return false;
}

/* They get one more underscore: no key comes twice. */
static bool put_key(struct buffer *out, const char *name) {
  return utf8_escape(out, name, strlen(name)) && (!is_taken(name) || put_text(out, "_"));
}

/* logfmt has no quotes for a key: what would end it, or needs an escape, becomes an underscore. */
static bool put_bare_key(struct buffer *out, const char *name) {
  size_t before = buffer_size(out);
  if (!put_key(out, *name ? name : "_")) return false;
  for (char *at = buffer_front(out) + before; at < out->data + out->end; at++)
    if (strchr(" =\"\\", *at)) *at = '_';
  return true;
}

static bool put_pairs(struct buffer *out, const struct log_message *message, bool all) {
  for (size_t i = 0; i < message->count; i++) {
    const struct log_field *field = &message->fields[i];
    if (field->said && !all) continue;
    bool ok = put_text(out, " ") && put_bare_key(out, field->name) && put_text(out, "=") &&
              put_value(out, field->value, field->size);
    if (!ok) return false;
  }
  return true;
}

/* One digit or more, and nothing else, from *at on. */
static bool skip_digits(const char **at, const char *end) {
  const char *start = *at;
  while (*at < end && **at >= '0' && **at <= '9') ++*at;
  return *at > start;
}

static bool json_number(const char *at, const char *end) {
  if (at < end && *at == '-') at++;
  if (end - at > 1 && at[0] == '0' && at[1] >= '0' && at[1] <= '9') return false;
  if (!skip_digits(&at, end)) return false;
  if (at < end && *at == '.') {
    at++;
    if (!skip_digits(&at, end)) return false;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    at++;
    if (at < end && (*at == '+' || *at == '-')) at++;
    if (!skip_digits(&at, end)) return false;
  }
  return at == end;
}

/* "nan" and "inf" are numbers to Lua but not to JSON. */
static bool json_literal(const struct log_field *field) {
  const char *value = field->value;
  if (!field->literal) return false;
  if (field->size == 4 && memcmp(value, "true", 4) == 0) return true;
  if (field->size == 5 && memcmp(value, "false", 5) == 0) return true;
  return json_number(value, value + field->size);
}

static bool put_members(struct buffer *out, const struct log_message *message) {
  for (size_t i = 0; i < message->count; i++) {
    const struct log_field *field = &message->fields[i];
    bool ok = put_text(out, ",\"") && put_key(out, field->name) && put_text(out, "\":") &&
              (json_literal(field) ? buffer_append(out, field->value, field->size)
                                   : put_quoted(out, field->value, field->size));
    if (!ok) return false;
  }
  return true;
}

static bool put_subject(struct buffer *out, const char *job) {
  return put_text(out, "job ") && put_quoted(out, job, strlen(job)) && put_text(out, ": ");
}

/* Every line of a message, a traceback for instance, gets the prefix: a line alone still tells who
 * said it. The job stands on the first, and the fields. */
static bool own_default(struct buffer *out, const char *stamp, const struct log_message *message) {
  const char *text = message->text;
  size_t size = message->size;
  while (size > 0 && text[size - 1] == '\n') size--;
  for (bool first = true, more = true; more; first = false) {
    const char *newline = memchr(text, '\n', size);
    size_t length = newline ? (size_t)(newline - text) : size;
    bool ok = buffer_append(out, stamp, FORMAT_STAMP) && put_text(out, " " OWN_NAME ": ") &&
              put_text(out, level_word(message->level)) &&
              (!first || message->job == NULL || put_subject(out, message->job)) &&
              buffer_append(out, text, length) && (!first || put_pairs(out, message, false)) &&
              put_text(out, "\n");
    if (!ok) return false;
    more = newline != NULL;
    text += length + more;
    size -= length + more;
  }
  return true;
}

static bool own_text(struct buffer *out, const char *stamp, const struct log_message *message) {
  const char *job = message->job;
  return put_text(out, "time=") && buffer_append(out, stamp, FORMAT_STAMP) &&
         put_text(out, " level=") && put_text(out, level_name(message->level)) &&
         put_text(out, " source=" OWN_NAME) &&
         (job == NULL || (put_text(out, " job=") && put_value(out, job, strlen(job)))) &&
         put_text(out, " msg=") && put_quoted(out, message->text, message->size) &&
         put_pairs(out, message, true) && put_text(out, "\n");
}

static bool own_json(struct buffer *out, const char *stamp, const struct log_message *message) {
  const char *job = message->job;
  return put_text(out, "{\"time\":\"") && buffer_append(out, stamp, FORMAT_STAMP) &&
         put_text(out, "\",\"level\":\"") && put_text(out, level_name(message->level)) &&
         put_text(out, "\",\"source\":\"" OWN_NAME "\"") &&
         (job == NULL || (put_text(out, ",\"job\":") && put_quoted(out, job, strlen(job)))) &&
         put_text(out, ",\"msg\":") && put_quoted(out, message->text, message->size) &&
         put_members(out, message) && put_text(out, "}\n");
}

bool format_own(enum output_format kind, struct buffer *out, int64_t milliseconds,
                const struct log_message *message) {
  static bool (*const forms[])(struct buffer *, const char *, const struct log_message *) = {
      [OUTPUT_DEFAULT] = own_default, [OUTPUT_TEXT] = own_text, [OUTPUT_JSON] = own_json};
  char stamp[FORMAT_STAMP];
  size_t before = buffer_size(out);
  format_time(stamp, milliseconds);
  if (forms[kind](out, stamp, message)) return true;
  buffer_cut(out, before);
  return false;
}
