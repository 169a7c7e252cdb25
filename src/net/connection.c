#include "net/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/names.h"
#include "file/place.h"
#include "net/passed.h"

#define FIRST_PAUSE (NANOSECONDS / 100) /* until a unix socket is asked again */
#define LAST_PAUSE (NANOSECONDS / 5)

struct connection {
  struct handle handle;
  struct handle_table *handles;
  struct loop *loop;
  struct reached reached;
  struct connection_ready ready;
  struct reach reach;     /* by TCP, until it is there */
  struct watcher watcher; /* the socket; -1 = none yet */
  struct timer timer;     /* the next attempt; then: it was dropped */
  uint32_t wanted;        /* epoll's bits, each until it was told */
  bool may_bring;         /* descriptors: the kernel cannot refuse them */
  int64_t deadline, pause;
  double timeout;
  char path[]; /* of a unix socket; "" = by TCP */
};

#define CONNECTION_OF(member, pointer)                                                             \
  ((struct connection *)((char *)(pointer)-offsetof(struct connection, member)))

static void let_go(int fd, bool may_bring) {
  if (may_bring)
    passed_close(fd);
  else
    close(fd);
}

static void cancel(struct handle *handle) {
  struct connection *connection = CONNECTION_OF(handle, handle);
  loop_unpublish(connection->loop, &connection->reached.event);
  loop_unpublish(connection->loop, &connection->ready.event);
  handle_remove(connection->handles, handle);
  if (connection->reach.loop) reach_stop(&connection->reach);
  loop_untimer(connection->loop, &connection->timer);
  if (connection->watcher.fd >= 0) {
    loop_unwatch(connection->loop, &connection->watcher);
    let_go(connection->watcher.fd, connection->may_bring);
  }
  free(connection);
}

/* --- the way there ----------------------------------------------------------------------- */

static void reached_taken(struct event *event) {
  struct connection *connection = CONNECTION_OF(reached.event, event);
  if (connection->watcher.fd < 0) cancel(&connection->handle);
}

static void conclude(struct connection *connection, int fd) {
  connection->watcher.fd = fd;
  loop_publish(connection->loop, &connection->reached.event);
}

/* What is written is a whole command, as a rule: it goes at once. */
static void reach_done(struct reach *reach, int fd) {
  int on = 1;
  if (fd >= 0) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  conclude(CONNECTION_OF(reach, reach), fd);
}

/* Through its descriptor: the very socket that was found, however long its path. Returns a descriptor, or -1
 * with errno. */
static int connect_socket(int found, bool *may_bring) {
  struct sockaddr_un address;
  socklen_t size = place_address(found, &address);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  *may_bring = !passed_refuse(fd);
  if (connect(fd, (struct sockaddr *)&address, size) == 0) return fd;
  int code = errno;
  close(fd);
  errno = code;
  return -1;
}

static void give_up(struct connection *connection, int code, const char *message) {
  struct reached *reached = &connection->reached;
  char name[NAME_SIZE];
  (void)snprintf(reached->code, sizeof reached->code, "%s", error_name(code, name));
  (void)snprintf(reached->error, sizeof reached->error, "%.*s", (int)sizeof reached->error - 1,
                 message);
  conclude(connection, -1);
}

static void give_up_errno(struct connection *connection, int code) {
  char text[TEXT_SIZE], time[NAME_SIZE], message[sizeof connection->reached.error];
  if (code == EAGAIN) code = ETIMEDOUT;
  if (code == ETIMEDOUT)
    (void)snprintf(text, sizeof text, "no answer within %s",
                   duration_text(connection->timeout, time));
  else if (code == ENOENT) /* it was found */
    (void)snprintf(text, sizeof text, "/proc is not mounted, by which a socket is opened");
  else
    (void)error_text(code, text);
  (void)snprintf(message, sizeof message, "cannot connect to unix:%.300s: %s", connection->path,
                 text);
  give_up(connection, code, message);
}

/* Once more, somewhat later, where there is time left. */
static bool try_later(struct connection *connection) {
  int64_t due = loop_now() + connection->pause;
  connection->pause *= 2;
  if (connection->pause > LAST_PAUSE) connection->pause = LAST_PAUSE;
  if (due > connection->deadline) due = connection->deadline;
  return due > loop_now() && loop_timer(connection->loop, &connection->timer, due) == 0;
}

static void try_path(struct timer *timer) {
  struct connection *connection = CONNECTION_OF(timer, timer);
  struct failure failure = {0};
  int found = place_socket(connection->path, &failure);
  if (found < 0) {
    give_up(connection, failure.code, failure.message);
    return;
  }
  int fd = connect_socket(found, &connection->may_bring), code = errno;
  close(found);
  if (fd >= 0)
    conclude(connection, fd);
  else if (code != EAGAIN || !try_later(connection))
    give_up_errno(connection, code);
}

/* --- once it is there -------------------------------------------------------------------- */

/* How much can be read without a descriptor that comes along; see net/passed.h. -1 with errno. */
static ssize_t look(int fd, void *data, size_t size) {
  struct iovec part = {data, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  ssize_t seen;
  do seen = recvmsg(fd, &message, MSG_DONTWAIT | MSG_PEEK);
  while (seen < 0 && errno == EINTR);
  if (seen < 0 || !(message.msg_flags & MSG_CTRUNC)) return seen;
  errno = EPROTO;
  return -1;
}

ssize_t connection_receive(struct handle *handle, void *data, size_t size) {
  const struct connection *connection = CONNECTION_OF(handle, handle);
  ssize_t got;
  if (connection->watcher.fd < 0) {
    errno = ENOTCONN;
    return -1;
  }
  if (connection->may_bring) {
    got = look(connection->watcher.fd, data, size);
    if (got <= 0) return got;
    size = (size_t)got;
  }
  do got = recv(connection->watcher.fd, data, size, MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  return got;
}

ssize_t connection_send(struct handle *handle, const void *data, size_t size) {
  const struct connection *connection = CONNECTION_OF(handle, handle);
  ssize_t sent;
  if (connection->watcher.fd < 0) {
    errno = ENOTCONN;
    return -1;
  }
  do sent = send(connection->watcher.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent;
}

static void socket_ready(struct watcher *watcher, uint32_t events) {
  struct connection *connection = CONNECTION_OF(watcher, watcher);
  if (events & (EPOLLERR | EPOLLHUP)) events |= EPOLLIN | EPOLLOUT;
  uint32_t told = connection->wanted & events;
  connection->ready.readable |= (told & EPOLLIN) != 0;
  connection->ready.writable |= (told & EPOLLOUT) != 0;
  connection->wanted &= ~told;
  (void)loop_watch(connection->loop, watcher, connection->wanted); /* fewer: cannot fail */
  loop_publish(connection->loop, &connection->ready.event);
}

static void ready_taken(struct event *event) {
  struct connection *connection = CONNECTION_OF(ready.event, event);
  connection->ready.readable = connection->ready.writable = false;
}

int connection_want(struct handle *handle, bool readable, bool writable) {
  struct connection *connection = CONNECTION_OF(handle, handle);
  if (connection->watcher.fd < 0) {
    errno = ENOTCONN;
    return -1;
  }
  uint32_t wanted = connection->wanted;
  if (readable) wanted |= EPOLLIN;
  if (writable) wanted |= EPOLLOUT;
  if (loop_watch(connection->loop, &connection->watcher, wanted) != 0) return -1;
  connection->wanted = wanted;
  return 0;
}

static void tell_dropped(struct timer *timer) {
  struct connection *connection = CONNECTION_OF(timer, timer);
  connection->ready.dropped = true;
  loop_publish(connection->loop, &connection->ready.event);
}

void connection_drop(struct handle *handle) {
  struct connection *connection = CONNECTION_OF(handle, handle);
  connection->timer.fire = tell_dropped;
  /* Without memory for a timer it stays open until its task ends. */
  (void)loop_timer(connection->loop, &connection->timer, loop_now());
}

/* --- its beginning ----------------------------------------------------------------------- */

static int prepare(struct connection *connection, const struct connection_target *target) {
  if (target->tcp == NULL) return 0;
  connection->reach.reached = &connection->reached;
  connection->reach.done = reach_done;
  return reach_prepare(&connection->reach, connection->loop, target->tcp, connection->timeout);
}

uint64_t connection_open(struct loop *loop, struct handle_table *handles,
                         const struct connection_target *target, double timeout) {
  const char *path = target->path ? target->path : "";
  struct connection *connection = calloc(1, sizeof *connection + strlen(path) + 1);
  if (connection == NULL) return 0;
  strcpy(connection->path, path);
  connection->handle = (struct handle){.kind = HANDLE_CONNECTION, .cancel = cancel};
  connection->handles = handles;
  connection->loop = loop;
  connection->watcher = (struct watcher){.fd = -1, .ready = socket_ready};
  connection->timer.fire = try_path;
  connection->timeout = timeout;
  connection->deadline = loop_now() + (int64_t)(timeout * (double)NANOSECONDS);
  connection->pause = FIRST_PAUSE;
  if (prepare(connection, target) != 0 || handle_add(handles, &connection->handle) != 0) {
    cancel(&connection->handle);
    return 0;
  }
  uint64_t id = connection->handle.id;
  connection->reached.event =
      (struct event){.type = EVENT_CONNECTED, .id = id, .taken = reached_taken};
  connection->ready.event = (struct event){.type = EVENT_READY, .id = id, .taken = ready_taken};
  if (target->tcp)
    reach_begin(&connection->reach);
  else
    try_path(&connection->timer);
  return id;
}
