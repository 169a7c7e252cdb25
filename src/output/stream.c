#include "output/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "output/format.h"
#include "output/sink.h"
#include "output/utf8.h"

/* A pipe that is found full is widened: the job can go on writing while we write. Only so many, as
 * an unprivileged user may have but 64 MiB in pipes: beyond that every new pipe of his, the
 * application's too, shrinks to two pages. */
#define WIDE_PIPE (256 * 1024)
#define WIDE_PIPES 64

/* What a stream needs when Lua hears it; most are never heard. */
struct hearing {
  struct stream *stream;
  struct timer timer; /* the group is gone: read on, whether or not there is anything */
  struct buffer held; /* what the event in flight, or the next one, holds */
  struct output_event event;
};

struct stream {
  struct stream_set *set;         /* not owned */
  struct stream *next, *previous; /* the set's */
  struct watcher watcher;         /* .fd owned; -1 after the end of file */
  const char *name;               /* static */
  uint64_t id;                    /* the process's */

  struct sink *sink;         /* one of its references is ours; NULL: only events */
  struct sink_feeder feeder; /* our place in its line */
  struct format format;      /* used with a sink only */

  struct buffer carry;     /* the beginning of a line whose end is not read yet */
  struct hearing *hearing; /* owned; NULL: it was never captured */
  bool cut;                /* of that line a part was written before */
  bool capture;
  bool in_flight;
  bool on_hold;
  bool asleep; /* who writes there has not been told of yet */
  bool wide;
  int rest; /* the group is gone: bytes to read until the end; -1: up to the end of file */

  void (*ended)(void *context); /* may be NULL */
  void *context;
};

#define STREAM_OF(member, pointer)                                                                 \
  ((struct stream *)((char *)(pointer)-offsetof(struct stream, member)))

static int64_t wall_clock(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- when to read ------------------------------------------------------------------------ */

static bool at_end(const struct stream *stream) {
  return stream->watcher.fd < 0;
}

static void pause_reading(struct stream *stream) {
  loop_unwatch(stream->set->loop, &stream->watcher);
  if (stream->hearing) loop_untimer(stream->set->loop, &stream->hearing->timer);
  sink_unwait(&stream->feeder);
}

static void read_on(struct stream *stream) {
  if (at_end(stream) || stream->in_flight || stream->on_hold || stream->asleep) return;
  if (stream->rest >= 0 && loop_timer(stream->set->loop, &stream->hearing->timer, 0) == 0) return;
  /* ENOMEM cannot be told to anybody here; Linux does not fail this for a descriptor that was in
   * epoll before, except for want of memory. The stream then waits for its group's end. */
  (void)loop_watch(stream->set->loop, &stream->watcher, EPOLLIN);
}

static void resume(struct sink_feeder *feeder) {
  read_on(STREAM_OF(feeder, feeder));
}

/* --- life -------------------------------------------------------------------------------- */

static void unlink_stream(struct stream *stream) {
  if (stream->next) stream->next->previous = stream->previous;
  if (stream->previous) {
    stream->previous->next = stream->next;
  } else {
    stream->set->first = stream->next;
  }
}

static void link_stream(struct stream *stream) {
  stream->next = stream->set->first;
  if (stream->next) stream->next->previous = stream;
  stream->set->first = stream;
}

static void close_pipe(struct stream *stream) {
  if (at_end(stream)) return;
  pause_reading(stream);
  close(stream->watcher.fd);
  stream->watcher.fd = -1;
  if (stream->wide) stream->set->wide_pipes--;
}

static void free_hearing(struct stream *stream) {
  if (stream->hearing == NULL) return;
  loop_unpublish(stream->set->loop, &stream->hearing->event.event);
  buffer_free(&stream->hearing->held);
  free(stream->hearing);
}

static void free_stream(struct stream *stream) {
  close_pipe(stream);
  free_hearing(stream);
  unlink_stream(stream);
  if (stream->sink) {
    format_free(&stream->format);
    sink_release(stream->sink);
  }
  buffer_free(&stream->carry);
  free(stream);
}

static void conclude(struct stream *stream) {
  void (*ended)(void *context) = stream->ended;
  void *context = stream->context;
  free_stream(stream);
  if (ended) ended(context);
}

/* --- events ------------------------------------------------------------------------------ */

static void publish(struct stream *stream, bool last) {
  struct hearing *hearing = stream->hearing;
  pause_reading(stream);
  stream->in_flight = true;
  hearing->event.data = hearing->held.data ? buffer_front(&hearing->held) : "";
  hearing->event.size = buffer_size(&hearing->held);
  hearing->event.last = last;
  loop_publish(stream->set->loop, &hearing->event.event);
}

/* Its process is told the end; what a stranger still writes goes to the log. */
static void live_on(struct stream *stream) {
  void (*ended)(void *context) = stream->ended;
  stream->ended = NULL;
  stream->capture = stream->on_hold = false;
  stream->rest = -1;
  read_on(stream);
  if (ended) ended(stream->context);
}

static void taken(struct event *event) {
  struct hearing *hearing = (struct hearing *)((char *)event - offsetof(struct hearing, event));
  struct stream *stream = hearing->stream;
  stream->in_flight = false;
  buffer_free(&hearing->held);
  if (!hearing->event.last) {
    read_on(stream);
  } else if (at_end(stream)) {
    conclude(stream);
  } else {
    live_on(stream);
  }
}

/* --- lines ------------------------------------------------------------------------------- */

/* What Lua is to see: the bytes as they came. Without memory an event is shorter; the log is not. */
static void hold(struct stream *stream, const char *data, size_t size, bool newline) {
  if (!stream->capture || !buffer_reserve(&stream->hearing->held, size + 1)) return;
  buffer_put(&stream->hearing->held, data, size);
  if (newline) buffer_put(&stream->hearing->held, "\n", 1);
}

enum line_end { LINE_COMPLETE, LINE_PART, LINE_LAST };

static void put_line(struct stream *stream, const char *line, size_t size, enum line_end end) {
  struct buffer *out = sink_line(stream->sink);
  enum format_part part = end == LINE_PART ? FORMAT_PART : stream->cut ? FORMAT_REST : FORMAT_WHOLE;
  if (out == NULL || !format_line(&stream->format, out, line, size, part)) sink_lose(stream->sink);
  stream->cut = end == LINE_PART;
  hold(stream, line, size, end == LINE_COMPLETE);
}

static void put_carry(struct stream *stream, enum line_end end) {
  put_line(stream, buffer_front(&stream->carry), buffer_size(&stream->carry), end);
  buffer_free(&stream->carry);
}

/* The carry is full and the line goes on: writes a part, keeps the character that is cut. */
static void put_part(struct stream *stream) {
  const char *data = buffer_front(&stream->carry);
  size_t whole = utf8_whole(data, buffer_size(&stream->carry));
  put_line(stream, data, whole, LINE_PART);
  buffer_consume(&stream->carry, whole);
}

/* A piece of a line that does not end in it, or began before it. */
static void carry(struct stream *stream, const char *data, size_t size) {
  while (size > 0) {
    size_t used = buffer_size(&stream->carry);
    if (used == OUTPUT_LINE) {
      put_part(stream);
      continue;
    }
    size_t fits = OUTPUT_LINE - used < size ? OUTPUT_LINE - used : size;
    if (!buffer_append(&stream->carry, data, fits)) {
      sink_lose(stream->sink);
      buffer_free(&stream->carry);
      stream->cut = true;
    }
    data += fits;
    size -= fits;
  }
}

static void take_lines(struct stream *stream, const char *data, size_t size) {
  format_stamp(&stream->format, wall_clock());
  const char *end = data + size, *newline;
  for (; (newline = memchr(data, '\n', (size_t)(end - data))); data = newline + 1) {
    size_t length = (size_t)(newline - data);
    if (buffer_size(&stream->carry) == 0) {
      put_line(stream, data, length, LINE_COMPLETE);
    } else {
      carry(stream, data, length);
      put_carry(stream, LINE_COMPLETE);
    }
  }
  carry(stream, data, (size_t)(end - data));
  sink_commit(stream->sink);
}

/* --- reading ----------------------------------------------------------------------------- */

static void finish(struct stream *stream) {
  close_pipe(stream);
  if (stream->sink && buffer_size(&stream->carry) > 0) {
    format_stamp(&stream->format, wall_clock());
    put_carry(stream, LINE_LAST);
    sink_commit(stream->sink);
  }
  if (stream->capture) {
    publish(stream, true);
  } else {
    conclude(stream);
  }
}

/* The group is gone and its rest is read, but somebody else still holds the pipe. */
static void finish_capture(struct stream *stream) {
  if (stream->sink == NULL) {
    finish(stream);
    return;
  }
  hold(stream, buffer_front(&stream->carry), buffer_size(&stream->carry), false);
  publish(stream, true);
}

/* Best effort, and one try. */
static void widen(struct stream *stream) {
  if (stream->wide || stream->set->wide_pipes >= WIDE_PIPES) return;
  (void)fcntl(stream->watcher.fd, F_SETPIPE_SZ, WIDE_PIPE);
  stream->wide = true;
  stream->set->wide_pipes++;
}

static void take(struct stream *stream, size_t size) {
  if (size == OUTPUT_LINE) widen(stream);
  if (stream->sink) {
    take_lines(stream, stream->set->chunk, size);
  } else {
    hold(stream, stream->set->chunk, size, false);
  }
  if (stream->rest >= 0) stream->rest -= stream->rest < (int)size ? stream->rest : (int)size;
  if (stream->capture && buffer_size(&stream->hearing->held) > 0) publish(stream, false);
}

/* Reads once; -1: nothing there now, 0: the end. */
static ssize_t read_chunk(struct stream *stream) {
  ssize_t size;
  do size = read(stream->watcher.fd, stream->set->chunk, OUTPUT_LINE);
  while (size < 0 && errno == EINTR);
  if (size < 0 && errno != EAGAIN) return 0; /* a pipe has no other errors; it would not recover */
  return size;
}

static void read_stream(struct stream *stream) {
  if (stream->sink && sink_full(stream->sink)) {
    pause_reading(stream);
    sink_wait(stream->sink, &stream->feeder);
    return;
  }
  ssize_t size = stream->rest == 0 ? -1 : read_chunk(stream);
  if (size > 0) {
    take(stream, (size_t)size);
    read_on(stream);
  } else if (size == 0) {
    finish(stream);
  } else if (stream->rest >= 0) {
    finish_capture(stream);
  }
}

static void readable(struct watcher *watcher, uint32_t events) {
  (void)events;
  read_stream(STREAM_OF(watcher, watcher));
}

static void timer_fires(struct timer *timer) {
  struct hearing *hearing = (struct hearing *)((char *)timer - offsetof(struct hearing, timer));
  read_stream(hearing->stream);
}

/* --- the interface ----------------------------------------------------------------------- */

/* From now on Lua may hear it. Returns 0, or -1 with ENOMEM. */
static int begin_hearing(struct stream *stream) {
  if (stream->hearing) return 0;
  struct hearing *hearing = calloc(1, sizeof *hearing);
  if (hearing == NULL) return -1;
  hearing->stream = stream;
  hearing->timer.fire = timer_fires;
  hearing->event.stream = stream->name;
  hearing->event.event = (struct event){.type = EVENT_OUTPUT, .id = stream->id, .taken = taken};
  stream->hearing = hearing;
  return 0;
}

static int set_up(struct stream *stream, struct sink *sink, const struct output_style *style) {
  if (sink == NULL && begin_hearing(stream) != 0) return -1;
  if (sink && format_init(&stream->format, stream->set->format, style, stream->name) != 0)
    return -1;
  if (loop_watch(stream->set->loop, &stream->watcher, EPOLLIN) == 0) return 0;
  int error = errno;
  if (sink) format_free(&stream->format);
  errno = error;
  return -1;
}

struct stream *stream_open(struct stream_set *set, int fd, const char *name, struct sink *sink,
                           const struct output_style *style, uint64_t id,
                           void (*ended)(void *context), void *context) {
  struct stream *stream = calloc(1, sizeof *stream);
  if (stream == NULL) goto fail;
  *stream = (struct stream){.set = set,
                            .name = name,
                            .id = id,
                            .capture = sink == NULL,
                            .rest = -1,
                            .ended = ended,
                            .context = context};
  stream->watcher = (struct watcher){.fd = fd, .ready = readable};
  stream->feeder.resume = resume;
  if (set_up(stream, sink, style) != 0) goto fail;
  if (sink) sink->references++;
  stream->sink = sink;
  link_stream(stream);
  return stream;
fail:;
  int error = errno;
  if (stream) free(stream->hearing);
  free(stream);
  close(fd);
  errno = error;
  return NULL;
}

/* What was to be heard is not, and the log goes on. */
static void end_hearing(struct stream *stream) {
  stream->capture = false;
  if (at_end(stream)) return; /* the last event comes, or has come, anyway */
  if (!stream->in_flight && !stream->on_hold && stream->rest < 0) return;
  stream->rest = -1;
  loop_unpublish(stream->set->loop, &stream->hearing->event.event);
  stream->in_flight = stream->on_hold = false;
  buffer_free(&stream->hearing->held);
  read_on(stream);
}

int stream_capture(struct stream *stream, bool on) {
  if (on && begin_hearing(stream) != 0) return -1;
  if (on)
    stream->capture = true;
  else
    end_hearing(stream);
  return 0;
}

void stream_hold(struct stream *stream, bool on) {
  if (stream->on_hold == on || !stream->capture || at_end(stream)) return;
  stream->on_hold = on;
  if (on)
    pause_reading(stream);
  else
    read_on(stream);
}

void stream_sleep(struct stream *stream, bool on) {
  stream->asleep = on;
  if (on)
    pause_reading(stream);
  else
    read_on(stream);
}

void stream_group_gone(struct stream *stream) {
  if (!stream->capture || stream->rest >= 0 || at_end(stream)) return;
  if (ioctl(stream->watcher.fd, FIONREAD, &stream->rest) != 0) stream->rest = 0;
  read_on(stream);
}

void stream_abandon(struct stream *stream) {
  stream->ended = NULL;
  if (stream->asleep) stream_sleep(stream, false);
  if (stream->sink == NULL || at_end(stream)) {
    free_stream(stream);
  } else {
    end_hearing(stream);
  }
}

void stream_close_all(struct stream_set *set) {
  for (struct stream *stream = set->first, *next; stream; stream = next) {
    next = stream->next;
    free_stream(stream);
  }
}

void stream_change_format(struct stream_set *set, enum output_format format) {
  set->format = format;
  for (struct stream *stream = set->first; stream; stream = stream->next)
    if (stream->sink) format_change(&stream->format, format);
}

void stream_redirect(struct stream_set *set, struct sink *from, struct sink *to) {
  for (struct stream *stream = set->first; stream; stream = stream->next) {
    if (stream->sink != from) continue;
    stream->sink = to;
    to->references++;
    sink_release(from);
    if (stream->feeder.next == NULL) continue;
    sink_unwait(&stream->feeder);
    read_on(stream);
  }
}

/* --- the end ----------------------------------------------------------------------------- */

static bool drain_once(struct stream *stream) {
  if (stream->sink == NULL || at_end(stream) || sink_full(stream->sink)) return false;
  ssize_t size = read_chunk(stream);
  if (size <= 0) return false;
  bool capture = stream->capture;
  stream->capture = false; /* an event in flight points into what is held */
  take_lines(stream, stream->set->chunk, (size_t)size);
  stream->capture = capture;
  return true;
}

bool stream_drain(struct stream_set *set) {
  bool more = false;
  for (struct stream *stream = set->first; stream; stream = stream->next)
    if (drain_once(stream)) more = true;
  return more;
}

void stream_finish_lines(struct stream_set *set) {
  for (struct stream *stream = set->first; stream; stream = stream->next) {
    if (stream->sink == NULL || buffer_size(&stream->carry) == 0) continue;
    format_stamp(&stream->format, wall_clock());
    bool capture = stream->capture;
    stream->capture = false;
    put_carry(stream, LINE_LAST);
    stream->capture = capture;
  }
}
