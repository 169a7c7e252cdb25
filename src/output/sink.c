#include "output/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file/place.h"

#define RETRY NANOSECONDS
#define WIDE_PIPE (256 * 1024)
#define SPARE_LIMIT (1024 * 1024) /* a buffer that grew beyond this goes back to the system */

static void timer_fires(struct timer *timer);
static void becomes_writable(struct watcher *watcher, uint32_t events);

#define SINK_OF(member, pointer) ((struct sink *)((char *)(pointer)-offsetof(struct sink, member)))

/* --- feeders ----------------------------------------------------------------------------- */

bool sink_full(const struct sink *sink) {
  bool takes_part = sink->state == SINK_OPEN || sink->state == SINK_BLOCKED;
  return takes_part && buffer_size(&sink->buffer) >= SINK_HIGH;
}

void sink_wait(struct sink *sink, struct sink_feeder *feeder) {
  if (feeder->next) return;
  feeder->next = &sink->feeders;
  feeder->previous = sink->feeders.previous;
  sink->feeders.previous->next = feeder;
  sink->feeders.previous = feeder;
}

void sink_unwait(struct sink_feeder *feeder) {
  if (feeder->next == NULL) return;
  feeder->previous->next = feeder->next;
  feeder->next->previous = feeder->previous;
  feeder->next = feeder->previous = NULL;
}

/* In the order in which they came. One that finds the sink full again goes to the end of the line, so
 * each has its turn. */
static void resume_all(struct sink *sink) {
  while (sink->feeders.next != &sink->feeders) {
    struct sink_feeder *feeder = sink->feeders.next;
    sink_unwait(feeder);
    feeder->resume(feeder);
  }
}

/* --- the buffer -------------------------------------------------------------------------- */

static void borrow_spare(struct sink *sink) {
  if (sink->buffer.data || sink->spare == NULL) return;
  sink->buffer = *sink->spare;
  *sink->spare = (struct buffer){0};
}

static void give_back(struct sink *sink) {
  if (sink->buffer.data == NULL || sink->spare == NULL) return;
  if (sink->spare->data || sink->buffer.capacity > SPARE_LIMIT) {
    buffer_free(&sink->buffer);
    return;
  }
  *sink->spare = sink->buffer;
  sink->buffer = (struct buffer){0};
}

static void consume(struct sink *sink, size_t size) {
  buffer_consume(&sink->buffer, size);
  sink->written += size;
  if (sink->written < sink->mark) return;
  sink->own_below = buffer_size(&sink->buffer) > 0 ? sink->own_above : 0;
  sink->own_above = 0;
  sink->mark = sink->written + buffer_size(&sink->buffer);
}

struct buffer *sink_line(struct sink *sink) {
  if (sink->state == SINK_GONE) return NULL;
  if (sink->state == SINK_FAILING && buffer_size(&sink->buffer) >= SINK_HIGH) return NULL;
  borrow_spare(sink);
  return &sink->buffer;
}

void sink_lose(struct sink *sink) {
  sink->lost++;
}

void sink_commit(struct sink *sink) {
  if (sink->state == SINK_FAILING && sink->timer.index == 0) sink_flush(sink);
  if (sink->state != SINK_OPEN || sink->timer.index != 0 || buffer_size(&sink->buffer) == 0) return;
  if (loop_timer(sink->loop, &sink->timer, 0) != 0) sink_flush(sink);
}

void sink_own(struct sink *sink, const char *message, size_t size) {
  if (sink->state == SINK_GONE) {
    sink->lost++;
    return;
  }
  borrow_spare(sink);
  if (sink->own_below + sink->own_above + size > OUTPUT_OWN ||
      !buffer_append(&sink->buffer, message, size)) {
    sink->dropped++;
    return;
  }
  sink->own_above += size;
  if (sink->state == SINK_OPEN) sink_flush(sink);
}

/* --- writing ----------------------------------------------------------------------------- */

/* How much goes into one write. A pipe that polls writable takes PIPE_BUF bytes without blocking, if nobody
 * is faster: more is too much for a cautious one. */
static size_t portion(const struct sink *sink, const char *data, size_t size) {
  bool cautious = sink->way == SINK_CAUTIOUS;
  if (size <= PIPE_BUF || !(cautious || (sink->shared && sink->way != SINK_DIRECT))) return size;
  const char *newline = memrchr(data, '\n', PIPE_BUF);
  if (newline == NULL && cautious) return PIPE_BUF;
  if (newline == NULL) newline = memchr(data + PIPE_BUF, '\n', size - PIPE_BUF);
  return newline ? (size_t)(newline - data) + 1 : size;
}

static ssize_t put_cautiously(int fd, const char *data, size_t size) {
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  if (poll(&ready, 1, 0) == 0) {
    errno = EAGAIN;
    return -1;
  }
  return write(fd, data, size);
}

static ssize_t put(struct sink *sink, const char *data, size_t size) {
  int fd = sink->watcher.fd;
  size = portion(sink, data, size);
  if (sink->way == SINK_SOCKET) return send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sink->way == SINK_CAUTIOUS) return put_cautiously(fd, data, size);
  return write(fd, data, size);
}

/* Without memory for a timer, the next line is the next try: nobody may wait for one that never comes. */
static void retry_later(struct sink *sink) {
  if (loop_timer(sink->loop, &sink->timer, loop_now() + RETRY) == 0) return;
  sink->state = SINK_FAILING;
  resume_all(sink);
}

static size_t lines_in(const struct buffer *buffer) {
  const char *at = buffer_front(buffer), *end = at + buffer_size(buffer);
  size_t lines = 0;
  while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
    at++;
    lines++;
  }
  return lines;
}

static void go(struct sink *sink, int error) {
  loop_unwatch(sink->loop, &sink->watcher);
  loop_untimer(sink->loop, &sink->timer);
  sink->state = SINK_GONE;
  sink->error = error;
  sink->lost += lines_in(&sink->buffer);
  consume(sink, buffer_size(&sink->buffer));
  give_back(sink);
  resume_all(sink);
  sink->news(sink, SINK_HAS_GONE, 0);
}

/* A pipe that was found full once is widened, best effort: fewer changes between us and the reader.
 * What is no pipe says EBADF. */
static void widen(struct sink *sink) {
  if (!sink->widened) (void)fcntl(sink->watcher.fd, F_SETPIPE_SZ, WIDE_PIPE);
  sink->widened = true;
}

static void block(struct sink *sink) {
  widen(sink);
  sink->state = SINK_BLOCKED;
  if (loop_watch(sink->loop, &sink->watcher, EPOLLOUT) != 0) retry_later(sink);
}

static void falter(struct sink *sink, int error) {
  bool news = sink->state != SINK_FAILING;
  loop_unwatch(sink->loop, &sink->watcher);
  sink->state = SINK_FAILING;
  sink->error = error;
  retry_later(sink);
  resume_all(sink); /* from now on lines are dropped, nobody waits */
  if (news) sink->news(sink, SINK_HAS_FAILED, 0);
}

static void refused(struct sink *sink, int error) {
  if (error == EAGAIN) {
    block(sink);
  } else if (error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == EBADF) {
    go(sink, error);
  } else {
    falter(sink, error);
  }
}

/* The news may come back here, and may not arrive either: then they are lost still. */
static void tell_lost(struct sink *sink, enum sink_news news) {
  size_t lost = sink->lost;
  sink->lost = 0;
  sink->news(sink, news, lost);
  if (sink->state == SINK_GONE) sink->lost += lost;
}

static void emptied(struct sink *sink) {
  bool recovered = sink->state == SINK_FAILING;
  loop_unwatch(sink->loop, &sink->watcher);
  loop_untimer(sink->loop, &sink->timer);
  sink->state = SINK_OPEN;
  give_back(sink);
  if (recovered || sink->lost > 0) tell_lost(sink, recovered ? SINK_HAS_RECOVERED : SINK_HAS_LOST);
}

static void tell_dropped(struct sink *sink) {
  size_t dropped = sink->dropped;
  if (dropped == 0) return;
  sink->dropped = 0;
  sink->news(sink, SINK_HAS_ROOM, dropped);
}

void sink_flush(struct sink *sink) {
  if (sink->state == SINK_GONE) return;
  int error = 0;
  while (error == 0 && buffer_size(&sink->buffer) > 0) {
    ssize_t written = put(sink, buffer_front(&sink->buffer), buffer_size(&sink->buffer));
    if (written == 0) {
      error = EIO; /* it takes nothing, and does not say why */
    } else if (written > 0) {
      consume(sink, (size_t)written);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error) {
    refused(sink, error);
  } else {
    emptied(sink);
  }
  if (sink->state == SINK_GONE || buffer_size(&sink->buffer) > SINK_LOW) return;
  resume_all(sink);
  tell_dropped(sink);
}

static void timer_fires(struct timer *timer) {
  sink_flush(SINK_OF(timer, timer));
}

static void becomes_writable(struct watcher *watcher, uint32_t events) {
  (void)events;
  sink_flush(SINK_OF(watcher, watcher));
}

int sink_waits_for(const struct sink *sink) {
  return sink->state == SINK_BLOCKED ? sink->watcher.fd : -1;
}

/* --- opening ----------------------------------------------------------------------------- */

static void prepare(struct sink *sink, struct loop *loop, int inherited) {
  *sink = (struct sink){.loop = loop, .inherited = inherited};
  sink->watcher.ready = becomes_writable;
  sink->timer.fire = timer_fires;
  sink->feeders.next = sink->feeders.previous = &sink->feeders;
}

/* Opening the master of a pseudo terminal anew makes another terminal. */
static bool is_ptmx(const struct stat *status) {
  return status->st_rdev == makedev(5, 2);
}

static void recognise(struct sink *sink, const struct stat *status) {
  bool direct = sink->way == SINK_DIRECT;
  sink->device = direct ? 0 : status->st_dev;
  sink->inode = direct ? 0 : status->st_ino;
}

bool sink_same(const struct sink *sink, const struct sink *other) {
  return sink->inode != 0 && sink->inode == other->inode && sink->device == other->device;
}

static int own_description(int fd) {
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void sink_init(struct sink *sink, struct loop *loop, int fd) {
  struct stat status;
  prepare(sink, loop, fd);
  sink->watcher.fd = fd;
  sink->way = SINK_DIRECT;
  if (fstat(fd, &status) != 0) {
    sink->state = SINK_GONE;
    sink->watcher.fd = -1;
    return;
  }
  if (S_ISSOCK(status.st_mode)) {
    sink->way = SINK_SOCKET;
  } else if (S_ISFIFO(status.st_mode) || isatty(fd)) {
    int own = is_ptmx(&status) ? -1 : own_description(fd);
    sink->way = own < 0 ? SINK_CAUTIOUS : SINK_OWN;
    if (own >= 0) sink->watcher.fd = own;
  }
  recognise(sink, &status);
}

static void close_descriptor(struct sink *sink) {
  if (sink->watcher.fd < 0 || sink->watcher.fd == sink->inherited) return;
  int error = errno;
  loop_unwatch(sink->loop, &sink->watcher);
  close(sink->watcher.fd);
  sink->watcher.fd = -1;
  errno = error;
}

/* Returns 0, or -1 with `failure`: nothing changed. */
static int open_log(struct sink *sink, struct failure *failure) {
  struct stat status;
  int fd = place_open_file(sink->path, PLACE_LOG, &status, failure);
  if (fd < 0) return -1;
  close_descriptor(sink);
  sink->watcher.fd = fd;
  sink->way = S_ISFIFO(status.st_mode) || isatty(fd) ? SINK_OWN : SINK_DIRECT;
  recognise(sink, &status);
  return 0;
}

int sink_open(struct sink *sink, struct loop *loop, const char *path, struct failure *failure) {
  prepare(sink, loop, -1);
  sink->path = strdup(path);
  if (sink->path == NULL)
    return fail(failure, "open", ENOMEM, "cannot open \"%s\": out of memory", path);
  sink->watcher.fd = -1;
  if (open_log(sink, failure) == 0) return 0;
  free(sink->path);
  sink->path = NULL;
  return -1;
}

int sink_reopen(struct sink *sink, struct failure *failure) {
  if (sink->path && open_log(sink, failure) != 0) return -1;
  if (sink->watcher.fd < 0) return 0; /* was closed from the start */
  if (sink->state == SINK_GONE) sink->state = SINK_OPEN;
  sink_flush(sink);
  return 0;
}

void sink_release(struct sink *sink) {
  if (--sink->references > 0 || sink->path == NULL) return;
  sink_flush(sink);
  sink->unused(sink);
}

void sink_close(struct sink *sink) {
  loop_untimer(sink->loop, &sink->timer);
  loop_unwatch(sink->loop, &sink->watcher);
  while (sink->feeders.next != &sink->feeders) sink_unwait(sink->feeders.next);
  close_descriptor(sink);
  buffer_free(&sink->buffer);
  free(sink->path);
  sink->path = NULL;
}
