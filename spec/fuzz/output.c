/* output: a pilot's output from the jobs' pipes to our stdout, under libFuzzer, with an oracle.
 *
 * An input is a small play: how the lines look and how large the bounds are, then what happens: jobs
 * write, the reader of our stdout stalls, takes a little, a disk is full, Lua takes an event, the
 * format changes, the log is rotated. The pipes of the jobs and the loop are real; read() and
 * write() are ours (--wrap), so that short reads and writes come where the input says.
 *
 * At the end everything may be written, and then it must have been: every line of every stream, in
 * order, whole, once, in a form that its readers accept (lines.h), and nothing else. What was
 * dropped where dropping is right (a full disk, a reader that is gone, no memory for messages) must
 * have been counted and told. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "input.h"
#include "lines.h"
#include "object.h"
#include "output/output.h"
#include "output/sink.h"

#define STREAMS 3
#define MESSAGES 256
#define TURNS 64 /* how many reads of the largest size it takes to hear all that jobs say … */
#define SENT_LIMIT (512 * 1024) /* … which is never more than this */

struct fuzz_limits fuzz_limits;

/* --- the kernel's side ------------------------------------------------------------------- */

enum weather { WEATHER_FINE, WEATHER_STALLED, WEATHER_FULL, WEATHER_GONE };

static struct {
  bool on; /* else the system calls are what they are */
  enum weather weather;
  size_t write_at_most, read_at_most;
  bool interrupted; /* the next call says EINTR, once */
  bool no_memory;
  bool cautious;                /* our stdout cannot be opened anew */
  ino_t standard;               /* our stdout's */
  struct buffer written, aside; /* to stdout and to files; to stderr */
} kernel;

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
int __real_open(const char *path, int flags, ...);
void *__real_realloc(void *old, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
int __wrap_open(const char *path, int flags, ...);
void *__wrap_realloc(void *old, size_t size);

static bool interrupts(void) {
  if (!kernel.interrupted) return false;
  kernel.interrupted = false;
  errno = EINTR;
  return true;
}

static ssize_t capture(struct buffer *place, const void *data, size_t size) {
  bool no_memory = kernel.no_memory;
  kernel.no_memory = false;
  if (!buffer_append(place, data, size)) abort();
  kernel.no_memory = no_memory;
  return (ssize_t)size;
}

/* The rest of it went with the reader. */
static void forget_half_a_line(void) {
  const char *text = buffer_front(&kernel.written);
  size_t size = buffer_size(&kernel.written);
  while (size > 0 && text[size - 1] != '\n') size--;
  buffer_cut(&kernel.written, size);
}

static ssize_t written(const void *data, size_t size) {
  static const int errors[] = {
      [WEATHER_STALLED] = EAGAIN, [WEATHER_FULL] = ENOSPC, [WEATHER_GONE] = EPIPE};
  if (interrupts()) return -1;
  if (kernel.weather == WEATHER_GONE) forget_half_a_line();
  if (kernel.weather != WEATHER_FINE) {
    errno = errors[kernel.weather];
    return -1;
  }
  return capture(&kernel.written, data, size < kernel.write_at_most ? size : kernel.write_at_most);
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
  if (!kernel.on) return __real_write(fd, data, size);
  return fd == STDERR_FILENO ? capture(&kernel.aside, data, size) : written(data, size);
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags) {
  return kernel.on ? written(data, size) : __real_send(fd, data, size, flags);
}

ssize_t __wrap_read(int fd, void *data, size_t size) {
  if (!kernel.on) return __real_read(fd, data, size);
  if (interrupts()) return -1;
  return __real_read(fd, data, size < kernel.read_at_most ? size : kernel.read_at_most);
}

int __wrap_open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (kernel.on && kernel.cautious && strncmp(path, "/proc/self/fd/", 14) == 0) {
    errno = EACCES;
    return -1;
  }
  return __real_open(path, flags, mode);
}

void *__wrap_realloc(void *old, size_t size) {
  if (!kernel.on || !kernel.no_memory) return __real_realloc(old, size);
  errno = ENOMEM;
  return NULL;
}

/* --- the play ---------------------------------------------------------------------------- */

/* Names that a pilot.lua may give, and some that it may not. */
static const char *const job_names[STREAMS] = {"app", "web-1", "a \"b\"=\\c"};
static const char *const levels[STREAMS] = {"info", "my level", "error"};

struct actor {
  struct stream *stream; /* NULL: ended, or abandoned */
  int end;               /* where the job writes; -1: closed */
  bool logged;           /* its lines go to the sink */
  bool captured;         /* from the beginning on, or never */
  bool parsed;           /* lines that are JSON objects are told apart, and name their level */
  bool in_parts;         /* the line that comes next is the rest of one */
  bool cut;              /* its events may end before its bytes do */
  bool abandoned;
  bool ended, last; /* the callback came; the last event came */
  struct buffer sent, heard;
  size_t compared; /* how much of `sent` was found again */
};

struct message {
  enum output_format format;
  char *text; /* what its lines must say: owned */
  size_t size;
  const char *job; /* what it is about; NULL: nothing */
  struct log_field fields[4];
  size_t fields_count;
  bool warn;
};

static struct {
  struct loop *loop;
  struct output *output;
  struct actor actors[STREAMS];
  unsigned count;
  enum output_format format;
  bool prefix;
  bool may_lose; /* the disk was full, or the reader gone */
  bool went;     /* the reader was gone */
  bool had_no_memory;
  bool redirected; /* to the file */
  bool abandoned;  /* any */
  bool stalled, short_writes;
  size_t total;
  struct message messages[MESSAGES];
  size_t messages_count;
  size_t lost_told, dropped_told; /* what the output says it lost */
} play;

static char log_path[64];

static void stream_ended(void *context) {
  struct actor *actor = context;
  if (actor->ended) wrong("a stream ended twice");
  if (actor->abandoned) wrong("an abandoned stream told its end");
  actor->ended = true;
}

/* A stream that ended is freed with its last word. */
static void forget_ended(void) {
  for (unsigned i = 0; i < play.count; i++)
    if (play.actors[i].ended) play.actors[i].stream = NULL;
}

static void open_actor(unsigned i, unsigned traits) {
  struct actor *actor = &play.actors[i];
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) abort();
  bool parsed = traits & 4;
  struct output_style style = {job_names[i], levels[i], play.prefix, parsed, "level"};
  *actor = (struct actor){
      .end = ends[1], .logged = (traits & 3) != 3, .captured = traits & 2, .parsed = parsed};
  actor->stream =
      stream_new(play.output, ends[0], i % 2 ? "stderr" : "stdout",
                 actor->logged ? output_main(play.output) : NULL, &style, i, stream_ended, actor);
  if (actor->stream == NULL) abort();
  if (actor->captured) stream_capture(actor->stream, true);
}

static void close_end(struct actor *actor) {
  if (actor->end >= 0) close(actor->end);
  actor->end = -1;
}

static size_t sent_limit(void) {
  return fuzz_limits.line < SENT_LIMIT / TURNS ? fuzz_limits.line * TURNS : SENT_LIMIT;
}

static void job_writes(struct actor *actor, const void *data, size_t size) {
  if (actor->end < 0 || actor->cut || play.total + size > sent_limit()) return;
  ssize_t taken = __real_write(actor->end, data, size);
  if (taken <= 0) return; /* the pipe is full: the job would wait */
  kernel.on = false;
  if (!buffer_append(&actor->sent, data, (size_t)taken)) abort();
  kernel.on = true;
  play.total += (size_t)taken;
}

static void job_writes_bytes(struct actor *actor) {
  size_t size = input_byte();
  const uint8_t *bytes = input_take(&size);
  job_writes(actor, bytes, size);
}

static void job_writes_many(struct actor *actor) {
  static char block[65536];
  size_t size = (input_byte() + 1) * (input_byte() % 4 == 3 ? 256 : 4);
  memset(block, (int)input_byte(), size);
  job_writes(actor, block, size);
}

static void heard(const struct output_event *event) {
  struct actor *actor = &play.actors[event->event.id];
  if (!actor->captured) wrong("an event that nobody asked for");
  if (actor->last) wrong("an event after the last one");
  kernel.on = false;
  if (!buffer_append(&actor->heard, event->data, event->size)) abort();
  kernel.on = true;
  actor->last = event->last;
}

/* True when there was an event. */
static bool turn(void) {
  struct event *event = loop_wait(play.loop, false);
  if (event) {
    heard((struct output_event *)event);
    event->taken(event);
  }
  forget_ended();
  return event != NULL;
}

/* --- the pilot's own messages ------------------------------------------------------------ */

static char *copy(const void *data, size_t size) {
  char *text = malloc(size + 1);
  if (text == NULL) abort();
  if (size > 0) memcpy(text, data, size);
  text[size] = 0;
  return text;
}

static size_t some_bytes(char **text, size_t most) {
  size_t size = input_byte() % (most + 1);
  const uint8_t *bytes = input_take(&size);
  *text = copy(bytes, size);
  return size;
}

/* Sorted, as the port sends them. */
static void choose_fields(struct message *message) {
  static const char *const names[] = {"",        "a b=\"c\"", "level", "msg",
                                      "n\xff\n", "source",    "time",  "time_"};
  static const char *const literals[] = {"true", "false", "-1.5e+07", "0", "nan", "007", "1."};
  for (unsigned i = 0, set = input_byte(); i < 8 && message->fields_count < 4; i++) {
    if (!(set >> i & 1)) continue;
    struct log_field *field = &message->fields[message->fields_count++];
    unsigned kind = input_byte();
    field->name = names[i];
    field->said = kind & 64;
    field->literal = kind % 2;
    if (field->literal) {
      const char *literal = literals[kind / 2 % 7];
      field->value = copy(literal, strlen(literal));
      field->size = strlen(literal);
    } else {
      char *text;
      field->size = some_bytes(&text, 15);
      field->value = text;
    }
  }
}

/* Each has its number in front, so that none is taken for another. */
static void pilot_says(void) {
  if (play.messages_count == MESSAGES || !play.prefix) return;
  char *bytes, number[32];
  size_t size = some_bytes(&bytes, 63);
  int digits = snprintf(number, sizeof number, "#%zu ", play.messages_count);
  struct message *message = &play.messages[play.messages_count++];
  unsigned traits = input_byte();
  *message = (struct message){.format = play.format,
                              .warn = traits % 2,
                              .job = traits & 8 ? job_names[traits >> 4 & 1] : NULL};
  message->size = size + (size_t)digits;
  message->text = malloc(message->size + 1);
  memcpy(message->text, number, (size_t)digits);
  memcpy(message->text + digits, bytes, size);
  free(bytes);
  choose_fields(message);
  output_log(play.output, &(struct log_message){message->warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
                                                message->text, message->size, message->job,
                                                message->fields, message->fields_count});
}

static void free_messages(void) {
  for (size_t i = 0; i < play.messages_count; i++) {
    struct message *message = &play.messages[i];
    free(message->text);
    for (size_t j = 0; j < message->fields_count; j++) free((char *)message->fields[j].value);
  }
}

/* --- what happens ------------------------------------------------------------------------ */

static void change_weather(unsigned weather) {
  kernel.weather = weather % 4;
  if (kernel.weather == WEATHER_STALLED && play.redirected)
    kernel.weather = WEATHER_FINE; /* a file */
  if (kernel.weather >= WEATHER_FULL) play.may_lose = true;
  if (kernel.weather == WEATHER_STALLED) play.stalled = true;
  if (kernel.weather == WEATHER_GONE) play.went = true;
}

static void change_format(unsigned format) {
  if (!play.prefix) return;
  play.format = format % 3;
  output_format(play.output, play.format);
}

static void rotate(void) {
  if (!play.redirected) return;
  (void)unlink(log_path);
  output_reopen(play.output);
}

/* Once, so that what is in the file is later than what is on stdout. */
static void redirect(void) {
  if (play.redirected || kernel.weather != WEATHER_FINE) return;
  sink_flush(output_main(play.output));
  struct failure failure;
  if (output_redirect(play.output, log_path, &failure) != 0) wrong("%s", failure.message);
  play.redirected = true;
}

static void group_gone(struct actor *actor) {
  if (!actor->stream || !actor->captured) return;
  actor->cut = true; /* from now on a stranger writes, who is not heard */
  stream_group_gone(actor->stream);
}

static void abandon(struct actor *actor) {
  if (!actor->stream || actor->last) return;
  actor->abandoned = actor->cut = play.abandoned = true;
  if (!actor->logged) close_end(actor);
  stream_abandon(actor->stream);
  actor->stream = NULL;
}

static void hold(struct actor *actor, bool on) {
  if (actor->stream) stream_hold(actor->stream, on);
}

static void act(void) {
  unsigned what = input_byte();
  struct actor *actor = &play.actors[(what >> 5) % play.count];
  switch (what & 15) {
  case 0:
  case 1:
  case 2: job_writes_bytes(actor); break;
  case 3: job_writes_many(actor); break;
  case 4: (void)turn(); break;
  case 5:
    if (what & 16)
      hold(actor, what >> 7);
    else
      (void)turn();
    break;
  case 6:
    while (turn()) continue;
    break;
  case 7: change_weather(what >> 5); break;
  case 8:
    kernel.write_at_most = input_byte() + 1;
    play.short_writes = true;
    break;
  case 9: kernel.read_at_most = input_byte() + 1; break;
  case 10: kernel.interrupted = true; break;
  case 11: change_format(what >> 5); break;
  case 12: pilot_says(); break;
  case 13: what >> 7 ? redirect() : rotate(); break;
  case 14: what >> 7 ? abandon(actor) : group_gone(actor); break;
  default:
    kernel.no_memory = what >> 7;
    play.had_no_memory |= kernel.no_memory;
    if ((what >> 4) == 1) close_end(actor);
  }
}

/* --- the oracle -------------------------------------------------------------------------- */

/* The next line of a stream, as the documentation tells it: up to a newline; what is longer than
 * the bound in parts, none of which ends inside a character. */
struct expected {
  const char *text;
  size_t size;
  bool partial;
  size_t next; /* where the one after it begins */
};

static size_t part_of(const char *text, size_t bound) {
  for (size_t back = 1; back <= 3 && back < bound; back++) {
    const char *from = text + bound - back;
    if (((unsigned char)*from & 0xc0) == 0x80) continue;
    /* A character that the bound cuts: some continuation makes it whole. */
    for (unsigned second = 0x80; second < 0xc0; second++) {
      char whole[4] = {0, (char)second, (char)0x80, (char)0x80};
      memcpy(whole, from, back);
      if (utf8_length(whole, 4) > back) return bound - back;
      if (back > 1) break;
    }
    return bound;
  }
  return bound;
}

static bool next_expected(const struct actor *actor, size_t at, struct expected *line) {
  size_t left = buffer_size(&actor->sent) - at;
  if (left == 0) return false;
  const char *text = buffer_front(&actor->sent) + at;
  const char *newline = memchr(text, '\n', left);
  size_t length = newline ? (size_t)(newline - text) : left;
  *line = (struct expected){text, length, false, at + length + (newline != NULL)};
  if (length > fuzz_limits.line) {
    line->size = part_of(text, fuzz_limits.line);
    line->partial = true;
    line->next = at + line->size;
  }
  return true;
}

static bool is_text(const struct pair *pair, const char *text, size_t size) {
  if (pair == NULL || (pair->bare && pair->size == 0)) return false;
  size_t repaired;
  char *clean = utf8_repair(text, size, &repaired);
  bool same = pair->size == repaired && memcmp(pair->value, clean, repaired) == 0;
  free(clean);
  return same;
}

static bool is_word(const struct pair *pair, const char *word) {
  return is_text(pair, word, strlen(word));
}

static bool is_data(const struct pair *pair, const struct object *object) {
  size_t size = (size_t)(object->end - object->text);
  return pair && pair->size == size && memcmp(pair->value, object->text, size) == 0;
}

/* The level of the line, or, where it is an object, of that. */
static bool fits_content(unsigned i, const struct expected *expected, const struct line *line) {
  static const char *const names[] = {"debug", "info", "warn", "error"};
  const struct actor *actor = &play.actors[i];
  struct object object = {0};
  bool apart = actor->parsed && !actor->in_parts && !expected->partial &&
               object_read(&object, expected->text, expected->size, "level") &&
               !object_excluded(&object);
  int level = apart && object.value ? object_level(object.value, object.value_size) : -1;
  if (!is_word(line_find(line, "level"), level < 0 ? levels[i] : names[level])) return false;
  if (apart && line->kind == OUTPUT_JSON)
    return !line_find(line, "msg") && is_data(line_find(line, "data"), &object);
  return !line_find(line, "data") &&
         is_text(line_find(line, "msg"), expected->text, expected->size);
}

static bool fits(unsigned i, const struct expected *expected, const struct line *line,
                 const char *text, size_t size) {
  if (line->kind == OUTPUT_DEFAULT)
    return size == expected->size && memcmp(text, expected->text, size) == 0;
  const struct pair *partial = line_find(line, "partial");
  if ((partial != NULL) != expected->partial) return false;
  return fits_content(i, expected, line);
}

/* What libFuzzer does not see in the code: under which circumstances a line was found to be right. Without this it
 * would keep the plays that reach most code, and those are the ones in which so much fails that little can be
 * checked. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t proofs[1 << 10];

static void proven(const struct actor *actor, const struct line *line,
                   const struct expected *expected) {
  size_t repaired, size = expected->size;
  char *clean = utf8_repair(expected->text, size, &repaired);
  unsigned which = (unsigned)line->kind;
  which = which * 3 + (size > 0) + (size > fuzz_limits.line / 2);
  which = which * 3 + (repaired != size) + expected->partial;
  free(clean);
  which = which << 5 | (unsigned)play.may_lose << 4 | (unsigned)actor->captured << 3 |
          (unsigned)play.stalled << 2 | (unsigned)play.short_writes << 1 | (play.count > 1);
  uint8_t *proof = &proofs[which % sizeof proofs];
  if (*proof < UINT8_MAX) ++*proof;
}

/* Finds the line among those that the job wrote, in order. */
static void found(unsigned i, const struct line *line, const char *text, size_t size) {
  struct actor *actor = &play.actors[i];
  struct expected expected;
  if (play.had_no_memory) return; /* it may lack its beginning */
  if (!actor->logged) wrong("a line of a stream that has no sink");
  if (line->kind != OUTPUT_DEFAULT &&
      !is_word(line_find(line, "stream"), i % 2 ? "stderr" : "stdout"))
    wrong("a line of another stream");
  while (next_expected(actor, actor->compared, &expected)) {
    actor->compared = expected.next;
    bool fitting = fits(i, &expected, line, text, size);
    actor->in_parts = expected.partial;
    if (fitting) {
      proven(actor, line, &expected);
      return;
    }
    if (!play.may_lose) wrong("job %s: not the line that comes next", job_names[i]);
    play.lost_told--; /* one that was lost: it was told */
  }
  wrong("job %s: a line that it never wrote, or twice", job_names[i]);
}

/* --- own messages, again ----------------------------------------------------------------- */

static size_t next_message;

/* In logfmt a key is a bare word. */
static void check_fields(const struct message *message, const struct line *line) {
  size_t first = message->job ? 5 : 4;
  const struct pair *job = line_find(line, "job");
  if (message->job ? !job || !is_word(job, message->job) : job != NULL) wrong("another job");
  if (line->count != first + message->fields_count) wrong("a field too many, or too few");
  for (size_t i = 0; i < message->fields_count; i++) {
    const struct log_field *field = &message->fields[i];
    if (!is_text(&line->pairs[first + i], field->value, field->size))
      wrong("another value of a field");
  }
}

static bool take_number(const char **text, const char *end, size_t *number) {
  char *after;
  if (*text == end || **text < '0' || **text > '9') return false;
  *number = strtoul(*text, &after, 10);
  *text = after;
  return true;
}

/* "writing to … works again; 3 lines were lost", "3 lines to … were lost", "3 messages of luapilot were
 * dropped …" */
static void about_losses(const char *text, size_t size) {
  char *said = copy(text, size);
  const char *lines = strstr(said, "works again; "), *at = said;
  size_t number;
  if (lines) {
    at = lines + strlen("works again; ");
    if (take_number(&at, said + size, &number)) play.lost_told += number;
  } else if (take_number(&at, said + size, &number)) {
    if (strncmp(at, " lines to ", 10) == 0 || strncmp(at, " line to ", 9) == 0)
      play.lost_told += number;
    else if (strncmp(at, " messages of luapilot ", 22) == 0 ||
             strncmp(at, " message of luapilot ", 21) == 0)
      play.dropped_told += number;
    else
      wrong("the pilot counts what nobody counts: %s", said);
  } else if (strncmp(said, "cannot write to ", 16) != 0) {
    wrong("the pilot says what nobody said: %s", said);
  }
  free(said);
}

/* The line of a message, in the default format: its text may have several. */
static const char *default_part(const struct message *message, size_t at, size_t *size) {
  size_t end = message->size;
  while (end > 0 && message->text[end - 1] == '\n') end--;
  if (at > end) return NULL;
  const char *newline = memchr(message->text + at, '\n', end - at);
  *size = newline ? (size_t)(newline - message->text) - at : end - at;
  return message->text + at;
}

static size_t inside; /* default format: where the current message goes on; 0: at none */

static bool shows_fields(const struct message *message) {
  for (size_t i = 0; i < message->fields_count; i++)
    if (!message->fields[i].said) return true;
  return false;
}

static void check_default(const char *text, size_t size) {
  const struct message *message = &play.messages[next_message];
  size_t length;
  const char *part = default_part(message, inside, &length);
  if (size < length || memcmp(text, part, length) != 0) wrong("another text of a message");
  if (size > length && (inside > 0 || !shows_fields(message))) wrong("more than a message");
  inside += length + 1;
  if (default_part(message, inside, &length) == NULL) {
    inside = 0;
    next_message++;
  }
}

static bool take_word(const char **text, size_t *size, const char *word) {
  size_t length = strlen(word);
  if (*size < length || memcmp(*text, word, length) != 0) return false;
  *text += length;
  *size -= length;
  return true;
}

/* Another line of a message that has begun. */
static void goes_on(const char *text, size_t size) {
  if (play.messages[next_message].warn && !take_word(&text, &size, "warning: "))
    wrong("another level of a line");
  check_default(text, size);
}

static void own_default(const char *text, size_t size) {
  if (inside > 0) {
    goes_on(text, size);
    return;
  }
  bool warn = take_word(&text, &size, "warning: ");
  if (!warn) (void)take_word(&text, &size, "error: ");
  const char *job = NULL;
  for (size_t i = 0; i < 2 && !job; i++) {
    char subject[32];
    (void)snprintf(subject, sizeof subject, "job \"%s\": ", job_names[i]);
    if (take_word(&text, &size, subject)) job = job_names[i];
  }
  size_t number;
  const char *at = text + 1;
  if (size == 0 || *text != '#' || !take_number(&at, text + size, &number)) {
    about_losses(text, size);
    return;
  }
  if (number < next_message || number >= play.messages_count) wrong("a message comes twice");
  next_message = number;
  if (play.messages[number].warn != warn) wrong("another level of a message");
  if (play.messages[number].job != job) wrong("another job of a message");
  check_default(text, size);
}

static void own_quoted(const struct line *line) {
  const struct pair *msg = line_find(line, "msg");
  size_t number;
  const char *at = msg ? msg->value + 1 : NULL;
  if (inside > 0) wrong("a message that is interrupted");
  if (msg == NULL) wrong("a message that says nothing");
  if (!is_word(line_find(line, "source"), "luapilot")) wrong("a message of somebody else");
  if (msg->size == 0 || *msg->value != '#' || !take_number(&at, msg->value + msg->size, &number)) {
    about_losses(msg->value, msg->size);
    if (!line_find(line, "event") || !line_find(line, "log"))
      wrong("a loss of which machines hear less");
    return;
  }
  if (number < next_message || number >= play.messages_count) wrong("a message comes twice");
  const struct message *message = &play.messages[number];
  if (message->format != line->kind) wrong("a message in another format");
  if (!is_text(msg, message->text, message->size)) wrong("another text of a message");
  if (!is_word(line_find(line, "level"), message->warn ? "warn" : "info")) wrong("another level");
  check_fields(message, line);
  next_message = number + 1;
}

/* --- all that was written ---------------------------------------------------------------- */

static void check_line(const char *text, size_t size) {
  struct line line;
  const char *problem = line_read(&line, text, size);
  if (problem) wrong("%s: %.*s", problem, (int)size, text);
  if (play.had_no_memory) { /* nothing but its form is sure */
    line_free(&line);
    return;
  }
  const struct pair *job = line_find(&line, "job");
  bool known = false;
  for (unsigned i = 0; i < play.count && !known; i++) {
    size_t length = strlen(job_names[i]);
    if (line.kind != OUTPUT_DEFAULT) {
      known = job && !line_find(&line, "source") && is_word(job, job_names[i]);
    } else {
      known = line.rest_size >= length + 2 && memcmp(line.rest, job_names[i], length) == 0 &&
              memcmp(line.rest + length, ": ", 2) == 0;
    }
    if (known && line.kind == OUTPUT_DEFAULT)
      found(i, &line, line.rest + length + 2, line.rest_size - length - 2);
    else if (known)
      found(i, &line, NULL, 0);
  }
  if (!known && line.kind != OUTPUT_DEFAULT) own_quoted(&line);
  if (!known && line.kind == OUTPUT_DEFAULT) {
    if (line.rest_size < 10 || memcmp(line.rest, "luapilot: ", 10) != 0) wrong("a line of nobody");
    own_default(line.rest + 10, line.rest_size - 10);
  }
  line_free(&line);
}

/* One stream, nothing in front of its lines; the pilot itself may speak in between. */
static void check_bare(const char *text, size_t size) {
  static const char pilot[] = " luapilot: warning: ";
  struct line line = {.kind = OUTPUT_DEFAULT};
  if (play.may_lose && size > 24 + sizeof pilot && memcmp(text + 24, pilot, sizeof pilot - 1) == 0)
    check_line(text, size);
  else
    found(0, &line, text, size);
}

static void check_lines(const struct buffer *written, bool bare) {
  const char *text = written->data ? buffer_front(written) : "";
  const char *end = text + buffer_size(written);
  while (text < end) {
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    if (newline == NULL) wrong("a line without an end");
    if (bare)
      check_bare(text, (size_t)(newline - text));
    else
      check_line(text, (size_t)(newline - text));
    text = newline + 1;
  }
}

static void check_rest(void) {
  struct expected line;
  if (play.had_no_memory) return;
  for (unsigned i = 0; i < play.count; i++)
    while (play.actors[i].logged &&
           next_expected(&play.actors[i], play.actors[i].compared, &line)) {
      if (!play.may_lose) wrong("job %s: a line is missing", job_names[i]);
      play.actors[i].compared = line.next;
      play.lost_told--;
    }
}

static void check_events(const struct actor *actor) {
  size_t heard = buffer_size(&actor->heard), sent = buffer_size(&actor->sent);
  if (!actor->captured) return;
  if (play.had_no_memory) return;
  if (heard > sent ||
      (heard > 0 && memcmp(buffer_front(&actor->heard), buffer_front(&actor->sent), heard) != 0))
    wrong("Lua heard what the job did not say");
  if (!actor->abandoned && heard != sent) wrong("Lua did not hear all");
  if (!actor->abandoned && !actor->last) wrong("Lua did not hear the end");
}

static void check(size_t unwritten) {
  inside = next_message = 0;
  for (unsigned i = 0; i < play.count; i++)
    if (!play.actors[i].abandoned && !play.actors[i].ended) wrong("a stream did not end");
  check_lines(&kernel.aside, false);
  play.lost_told = play.dropped_told = inside = next_message = 0;
  check_lines(&kernel.written, !play.prefix);
  check_rest();
  if (!play.went && !play.had_no_memory && play.lost_told != 0 && fuzz_limits.own >= 4096)
    wrong("%zd lines more told as lost than were", (ssize_t)play.lost_told);
  if (unwritten > 0) wrong("%zu bytes are left", unwritten);
  for (unsigned i = 0; i < play.count; i++) check_events(&play.actors[i]);
}

/* --- a play, from its beginning to its end ----------------------------------------------- */

static size_t small(size_t real) {
  unsigned choice = input_byte();
  return choice == 255 ? real : choice + 1;
}

static void begin(void) {
  unsigned traits = input_byte();
  kernel.weather = WEATHER_FINE;
  kernel.write_at_most = kernel.read_at_most = SIZE_MAX;
  kernel.interrupted = kernel.no_memory = false;
  kernel.cautious = traits >> 2 & 1;
  fuzz_limits.line = small(64 * 1024) + 3; /* a whole character fits */
  fuzz_limits.high = small(1024) * 256;
  fuzz_limits.low = fuzz_limits.high / 4;
  fuzz_limits.own = small(1) == 1 ? 1024 * 1024 : 256;
  play.format = traits & 3 ? (traits & 3) - 1 : 0;
  play.prefix = (traits & 3) != 0;
  play.count = play.prefix ? 1 + (traits >> 4) % STREAMS : 1;
  play.loop = loop_new();
  play.output = output_new(play.loop);
  if (play.output == NULL) abort();
  output_format(play.output, play.format);
  for (unsigned i = 0; i < play.count; i++) open_actor(i, input_byte());
}

static bool all_ended(void) {
  for (unsigned i = 0; i < play.count; i++)
    if (play.actors[i].stream) return false;
  return true;
}

/* A stream that is never read to its end would be found by check(). */
static size_t end(void) {
  kernel.weather = WEATHER_FINE;
  kernel.write_at_most = kernel.read_at_most = SIZE_MAX;
  kernel.interrupted = kernel.no_memory = false;
  for (unsigned i = 0; i < play.count; i++) {
    close_end(&play.actors[i]);
    hold(&play.actors[i], false);
  }
  for (size_t turns = 0; turns <= 16 * TURNS && !all_ended(); turns++) (void)turn();
  /* Of an abandoned stream nobody hears the end: each turn reads as much as there may be in a read. */
  for (size_t turns = play.total / fuzz_limits.line + 8; turns > 0 && play.abandoned; turns--)
    (void)turn();
  return output_flush(play.output, 1);
}

static void clean_up(void) {
  output_free(play.output);
  loop_free(play.loop);
  for (unsigned i = 0; i < play.count; i++) {
    close_end(&play.actors[i]);
    buffer_free(&play.actors[i].sent);
    buffer_free(&play.actors[i].heard);
  }
  free_messages();
  memset(&play, 0, sizeof play);
  kernel.on = false;
  buffer_free(&kernel.written);
  buffer_free(&kernel.aside);
  (void)unlink(log_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Our stdout becomes a pipe that nobody ever fills: always writable, as far as epoll knows. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  int ends[2];
  const char *directory = getenv("TMPDIR");
  (void)snprintf(log_path, sizeof log_path, "%s/luapilot-fuzz.%d", directory ? directory : "/tmp",
                 (int)getpid());
  if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) abort();
  close(ends[1]);
  return 0; /* ends[0] stays open */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_begin(data, size);
  kernel.on = true;
  begin();
  for (int acts = 0; input_more() && acts < 2000; acts++) act();
  size_t unwritten = end();
  check(unwritten);
  clean_up();
  return 0;
}
