#include "output/output.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "output/format.h"
#include "output/sink.h"
#include "output/stream.h"

#define SAID 1024               /* the longest message that C says */
#define WAIT (NANOSECONDS / 10) /* so long we wait at once for a slow reader, at the end */

struct output {
  struct loop *loop; /* not owned */
  struct stream_set streams;
  struct sink standard[2]; /* our stdout and stderr */
  struct sink *files;      /* owned list */
  struct sink *main;       /* one of the above */
  struct buffer spare;     /* see struct sink */
  struct buffer scratch;   /* where own messages are rendered */
  enum log_level least;
  bool ending; /* what was lost is told on the other one of stdout and stderr */
};

static int64_t wall_clock(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- news of sinks ----------------------------------------------------------------------- */

static const char *name_of(const struct sink *sink) {
  if (sink->path) return sink->path;
  return sink->inherited == STDOUT_FILENO ? "stdout" : "stderr";
}

/* On the one of stdout and stderr that is not in trouble, if it takes it at once. It is a last
 * resort, so it goes around the sinks. */
static void cry(struct output *output, const struct sink *troubled,
                const struct log_message *message) {
  int fd = troubled->inherited == STDERR_FILENO ? STDOUT_FILENO : STDERR_FILENO;
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  struct buffer line = {0};
  if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) &&
      format_own(output->streams.format, &line, wall_clock(), message)) {
    ssize_t ignored = write(fd, line.data, line.end);
    (void)ignored;
  }
  buffer_free(&line);
}

static struct log_field text_field(const char *name, const char *value) {
  return (struct log_field){.name = name, .value = value, .size = strlen(value), .said = true};
}

static void in_trouble(struct output *output, struct sink *sink, const char *event,
                       const char *consequence) {
  char text[SAID];
  (void)snprintf(text, sizeof text, "cannot write to %s: %s; %s", name_of(sink),
                 strerror(sink->error), consequence);
  const struct log_field fields[] = {text_field("event", event), text_field("log", name_of(sink)),
                                     text_field("reason", strerror(sink->error))};
  const struct log_message message = {LOG_LEVEL_ERROR, text, strlen(text), NULL, fields, 3};
  if (sink == output->main)
    cry(output, sink, &message);
  else
    output_log(output, &message);
}

static const char *many(size_t count, const char *one, const char *several) {
  return count == 1 ? one : several;
}

/* What was lost, with its count. */
static void own_up(struct output *output, const struct sink *sink, const char *event, size_t count,
                   const char *text) {
  char digits[24];
  int size = snprintf(digits, sizeof digits, "%zu", count);
  const struct log_field fields[] = {text_field("event", event),
                                     text_field("log", name_of(sink)),
                                     {"lost", digits, (size_t)size, true, true}};
  const struct log_message message = {LOG_LEVEL_WARN, text, strlen(text), NULL, fields, 3};
  if (output->ending)
    cry(output, sink, &message);
  else
    output_log(output, &message);
}

static void tell_lost(struct output *output, const struct sink *sink, size_t count) {
  char text[SAID];
  (void)snprintf(text, sizeof text, "%zu %s to %s %s lost", count, many(count, "line", "lines"),
                 name_of(sink), many(count, "was", "were"));
  own_up(output, sink, "lines_lost", count, text);
}

static void sink_news(struct sink *sink, enum sink_news news, size_t count) {
  struct output *output = sink->context;
  char text[SAID];
  switch (news) {
  case SINK_HAS_GONE:
    in_trouble(output, sink, "log_gone",
               "its reader is gone, what is written there is lost from now on");
    break;
  case SINK_HAS_FAILED:
    in_trouble(output, sink, "log_failed",
               "trying again each second, what cannot be kept is dropped");
    break;
  case SINK_HAS_RECOVERED:
    (void)snprintf(text, sizeof text, "writing to %s works again; %zu %s lost", name_of(sink),
                   count, many(count, "line was", "lines were"));
    own_up(output, sink, "log_recovered", count, text);
    break;
  case SINK_HAS_LOST: tell_lost(output, sink, count); break;
  case SINK_HAS_ROOM:
    (void)snprintf(text, sizeof text, "%zu %s of luapilot %s dropped while the output was stalled",
                   count, many(count, "message", "messages"), many(count, "was", "were"));
    own_up(output, sink, "messages_dropped", count, text);
    break;
  }
}

/* --- sinks ------------------------------------------------------------------------------- */

/* One that nobody uses stays while it still has something to write (a full disk): it goes when
 * somebody looks again. */
static void sweep(struct output *output) {
  for (struct sink **link = &output->files, *sink; (sink = *link);) {
    if (sink->references > 0 || buffer_size(&sink->buffer) > 0) {
      link = &sink->next;
      continue;
    }
    *link = sink->next;
    if (sink->lost > 0) { /* to tell it may change the list */
      tell_lost(output, sink, sink->lost);
      link = &output->files;
    }
    sink_close(sink);
    free(sink);
  }
}

static void sink_unused(struct sink *sink) {
  sweep(sink->context);
}

static void adopt(struct output *output, struct sink *sink) {
  sink->news = sink_news;
  sink->unused = sink_unused;
  sink->context = output;
  sink->spare = &output->spare;
}

static struct sink *next_sink(struct output *output, struct sink *sink) {
  if (sink == NULL) return &output->standard[0];
  if (sink == &output->standard[0]) return &output->standard[1];
  return sink == &output->standard[1] ? output->files : sink->next;
}

/* Somebody else writes into the same pipe as `taken`: a raw job, or another sink. */
static void share(struct output *output, const struct sink *taken) {
  for (struct sink *sink = NULL; (sink = next_sink(output, sink));)
    if (sink_same(sink, taken)) sink->shared = true;
}

static void share_if_twice(struct output *output, const struct sink *opened) {
  unsigned count = 0;
  for (struct sink *sink = NULL; (sink = next_sink(output, sink));)
    count += sink_same(sink, opened);
  if (count > 1) share(output, opened);
}

struct sink *output_main(struct output *output) {
  return output->main;
}

static struct sink *find_file(struct output *output, const char *path) {
  struct sink *sink = output->files;
  while (sink && strcmp(sink->path, path) != 0) sink = sink->next;
  return sink;
}

static struct sink *add_file(struct output *output, const char *path, struct failure *failure) {
  struct sink *sink = malloc(sizeof *sink);
  if (sink == NULL) {
    (void)fail(failure, "open", ENOMEM, "cannot open \"%s\": out of memory", path);
    return NULL;
  }
  if (sink_open(sink, output->loop, path, failure) != 0) {
    free(sink);
    return NULL;
  }
  adopt(output, sink);
  sink->next = output->files;
  output->files = sink;
  share_if_twice(output, sink);
  return sink;
}

struct sink *output_file(struct output *output, const char *path, struct failure *failure) {
  sweep(output);
  struct sink *sink = find_file(output, path);
  if (sink == NULL) sink = add_file(output, path, failure);
  if (sink) sink->references++;
  return sink;
}

void output_release(struct sink *sink) {
  sink_release(sink);
}

static struct sink *find_sink(struct output *output, const char *where, struct failure *failure) {
  if (strcmp(where, "stdout") == 0 || strcmp(where, "stderr") == 0) {
    struct sink *sink = &output->standard[strcmp(where, "stderr") == 0];
    sink->references++;
    return sink;
  }
  return output_file(output, where, failure);
}

int output_redirect(struct output *output, const char *where, struct failure *failure) {
  struct sink *old = output->main, *new = find_sink(output, where, failure);
  if (new == NULL) return -1;
  output->main = new;
  stream_redirect(&output->streams, old, new);
  output_release(old);
  return 0;
}

void output_reopen(struct output *output) {
  struct failure failure;
  for (struct sink *sink = output->files; sink; sink = sink->next) {
    if (sink_reopen(sink, &failure) != 0)
      output_say(output, LOG_LEVEL_ERROR, "log_not_reopened", "%s; still using the old file",
                 failure.message);
    share_if_twice(output, sink);
  }
  for (int i = 0; i < 2; i++) (void)sink_reopen(&output->standard[i], &failure);
}

int output_descriptor(struct sink *sink, const char *stream) {
  struct output *output = sink->context;
  bool second = strcmp(stream, "stderr") == 0;
  share(output, sink->path ? sink : &output->standard[second]);
  if (sink->path) return sink->watcher.fd;
  return second ? STDERR_FILENO : STDOUT_FILENO;
}

void output_format(struct output *output, enum output_format format) {
  stream_change_format(&output->streams, format);
}

void output_level(struct output *output, enum log_level least) {
  output->least = least;
}

/* --- streams ----------------------------------------------------------------------------- */

struct stream *stream_new(struct output *output, int fd, const char *name, struct sink *sink,
                          const struct output_style *style, uint64_t id,
                          void (*ended)(void *context), void *context) {
  return stream_open(&output->streams, fd, name, sink, style, id, ended, context);
}

/* --- the pilot's own messages ------------------------------------------------------------ */

void output_log(struct output *output, const struct log_message *message) {
  if (message->level < output->least) return;
  /* Rendering may fail for want of memory, and sink_own() come back here with news: the scratch is
   * taken out while it is in use. */
  struct buffer line = output->scratch;
  output->scratch = (struct buffer){0};
  if (format_own(output->streams.format, &line, wall_clock(), message)) {
    sink_own(output->main, buffer_front(&line), buffer_size(&line));
  } else {
    output->main->dropped++;
  }
  buffer_cut(&line, 0);
  buffer_free(&output->scratch);
  output->scratch = line;
}

void output_say(struct output *output, enum log_level level, const char *event, const char *format,
                ...) {
  char text[SAID];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (size < 0) return;
  if ((size_t)size >= sizeof text) size = sizeof text - 1;
  const struct log_field field = text_field("event", event);
  output_log(output, &(struct log_message){level, text, (size_t)size, NULL, &field, 1});
}

/* --- the end ----------------------------------------------------------------------------- */

static void flush_all(struct output *output) {
  for (struct sink *sink = NULL; (sink = next_sink(output, sink));) sink_flush(sink);
}

static size_t unwritten(struct output *output) {
  size_t bytes = 0;
  for (struct sink *sink = NULL; (sink = next_sink(output, sink));)
    bytes += buffer_size(&sink->buffer);
  return bytes;
}

/* The time for a slow reader: a pause of the machine is none of it. */
struct allowance {
  int64_t most; /* nanoseconds */
  struct awake awake;
};

static int64_t time_left(struct allowance *time) {
  return time->most - loop_awake(&time->awake);
}

/* Waits a moment until one of the blocked sinks can be written; false: none is, or the time is over. More
 * than a handful are not worth an allocation: the others are tried when one of these moves. */
static bool wait_writable(struct output *output, struct allowance *time) {
  struct pollfd ready[16];
  nfds_t count = 0;
  for (struct sink *sink = NULL; (sink = next_sink(output, sink)) && count < 16;) {
    int fd = sink_waits_for(sink);
    if (fd >= 0) ready[count++] = (struct pollfd){.fd = fd, .events = POLLOUT};
  }
  int64_t left = time_left(time);
  if (count == 0 || left <= 0) return false;
  (void)poll(ready, count, (int)((left < WAIT ? left : WAIT) / 1000000 + 1));
  return true;
}

/* What a job still writes while we read is its own affair: the time bounds it. */
static void drain(struct output *output, struct allowance *time) {
  bool more = true;
  while (more) {
    more = stream_drain(&output->streams);
    size_t held = unwritten(output);
    flush_all(output);
    /* Where there is room now, streams may have been held up for it. */
    if (!more && held > 0) more = unwritten(output) < held || wait_writable(output, time);
    if (time_left(time) <= 0) more = false;
  }
}

/* Bytes that are lost if nothing is written any more, and were not counted before: finalisers may write a line
 * after the last word on the rest. */
static size_t newly_lost(struct sink *sink) {
  uint64_t end = sink->written + buffer_size(&sink->buffer);
  uint64_t from = sink->told > sink->written ? sink->told : sink->written;
  sink->told = end;
  return (size_t)(end - from);
}

/* Nobody would hear of it later. What has lost something may be the main sink, so it is told beside that. */
static void tell_all(struct output *output) {
  char text[SAID];
  output->ending = true;
  for (struct sink *sink = NULL; (sink = next_sink(output, sink));) {
    size_t bytes = newly_lost(sink);
    (void)snprintf(text, sizeof text, "%zu %s could not be written to %s", bytes,
                   many(bytes, "byte", "bytes"), name_of(sink));
    if (bytes > 0) own_up(output, sink, "bytes_lost", bytes, text);
    if (sink->lost > 0) tell_lost(output, sink, sink->lost);
    sink->lost = 0;
  }
  output->ending = false;
}

size_t output_flush(struct output *output, double seconds) {
  struct allowance time = {(int64_t)(seconds * (double)NANOSECONDS), {.seen = loop_now()}};
  drain(output, &time);
  stream_finish_lines(&output->streams);
  flush_all(output);
  while (unwritten(output) > 0 && wait_writable(output, &time)) flush_all(output);
  tell_all(output);
  return unwritten(output);
}

/* --- life -------------------------------------------------------------------------------- */

struct output *output_new(struct loop *loop) {
  struct output *output = calloc(1, sizeof *output);
  char *chunk = malloc(OUTPUT_LINE);
  if (output == NULL || chunk == NULL) goto fail;
  (void)signal(SIGPIPE, SIG_IGN); /* EPIPE tells the same, and kills nobody */
  output->loop = loop;
  output->least = LOG_LEVEL_INFO;
  output->streams = (struct stream_set){.loop = loop, .chunk = chunk};
  for (int i = 0; i < 2; i++) {
    sink_init(&output->standard[i], loop, i + STDOUT_FILENO);
    adopt(output, &output->standard[i]);
  }
  output->main = &output->standard[0];
  output->main->references++;
  return output;
fail:
  free(chunk);
  free(output);
  return NULL;
}

void output_free(struct output *output) {
  if (output == NULL) return;
  stream_close_all(&output->streams);
  while (output->files) {
    struct sink *sink = output->files;
    output->files = sink->next;
    sink_close(sink);
    free(sink);
  }
  for (int i = 0; i < 2; i++) sink_close(&output->standard[i]);
  free(output->streams.chunk);
  buffer_free(&output->spare);
  buffer_free(&output->scratch);
  free(output);
}
