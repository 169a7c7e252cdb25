#include "process/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/passed.h"

#define VARIABLE "NOTIFY_SOCKET="
#define READS_AT_ONCE 16      /* strangers must not hold the loop up … */
#define READS_AT_THE_END 1024 /* … nor the end of a job: more than the kernel's queue holds */
#define PATIENCE NANOSECONDS  /* … nor what they pass along */

struct notify {
  struct loop *loop;
  struct output *output;
  struct watcher watcher; /* the socket; fd closed by notify_free() */
  struct notify_event event;
  pid_t session;
  uid_t uid;
  bool complained;                /* about strangers: once is enough */
  void (*drained)(void *context); /* of notify_hear() and notify_finish() */
  void *context;
  int left;      /* reads until then */
  bool dropping; /* the first datagram was read, and goes with the descriptors that it carries … */
  bool asked;    /* … by a thread, which was asked */
  bool hurried;  /* nobody waits for that any more */
  struct watcher gone; /* an eventfd: it has gone. Owned; 0 = none yet */
  struct timer timer;  /* while it is dropped */
};

static struct notify *of_watcher(struct watcher *watcher) {
  return (struct notify *)((char *)watcher - offsetof(struct notify, watcher));
}

static struct notify *of_gone(struct watcher *watcher) {
  return (struct notify *)((char *)watcher - offsetof(struct notify, gone));
}

static struct notify *of_timer(struct timer *timer) {
  return (struct notify *)((char *)timer - offsetof(struct notify, timer));
}

static struct notify *of_event(struct event *event) {
  return (struct notify *)((char *)event - offsetof(struct notify, event.event));
}

/* --- one datagram ------------------------------------------------------------------------ */

static bool may_send(const struct notify *notify, const struct ucred *sender) {
  pid_t session = sender->pid > 0 ? getsid(sender->pid) : -1;
  if (session >= 0) return session == notify->session;
  return sender->uid == notify->uid; /* gone already: all that is left of it is its user */
}

static struct ucred read_ancillary(struct msghdr *message) {
  struct ucred sender = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_CREDENTIALS) memcpy(&sender, CMSG_DATA(header), sizeof sender);
  }
  return sender;
}

static void complain(struct notify *notify, const struct ucred *sender, bool too_long) {
  if (notify->complained) return;
  notify->complained = true;
  if (too_long)
    output_say(notify->output, LOG_LEVEL_WARN, "notify_ignored",
               "notify: a message of process %d is longer than %d bytes: ignored, like any further",
               (int)sender->pid, NOTIFY_SIZE);
  else
    output_say(notify->output, LOG_LEVEL_WARN, "notify_ignored",
               "notify: process %d (uid %u) is not of the job of process %d: ignored, like any "
               "further stranger",
               (int)sender->pid, (unsigned)sender->uid, (int)notify->session);
}

enum reading { READ_NOTHING, READ_ACCEPTED, READ_IGNORED };

/* Should that fail, then again when the timer fires. */
static void ask_to_take(struct notify *notify) {
  if (notify->timer.index == 0)
    (void)loop_timer(notify->loop, &notify->timer, loop_now() + PATIENCE);
  if (notify->gone.fd < 0) notify->gone.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (notify->gone.fd < 0 || loop_watch(notify->loop, &notify->gone, EPOLLIN) != 0) return;
  notify->asked = passed_take(notify->watcher.fd, notify->gone.fd) == 0;
}

/* Looks at the first datagram, and leaves it where it is. */
static ssize_t look(struct notify *notify, struct ucred *sender, int *flags) {
  union {
    struct cmsghdr header; /* for the alignment */
    char bytes[CMSG_SPACE(sizeof(struct ucred))];
  } ancillary;
  struct iovec part = {notify->event.data, sizeof notify->event.data};
  struct msghdr message = {
      .msg_iov = &part,
      .msg_iovlen = 1,
      .msg_control = &ancillary,
      .msg_controllen = sizeof ancillary,
  };
  ssize_t size;
  do size = recvmsg(notify->watcher.fd, &message, MSG_DONTWAIT | MSG_PEEK);
  while (size < 0 && errno == EINTR);
  if (size >= 0) *sender = read_ancillary(&message);
  *flags = message.msg_flags;
  return size;
}

/* The descriptors that it carries are none that the loop may let go (see net/passed.h). */
static void drop(struct notify *notify, bool carries) {
  char none;
  if (!carries) {
    while (recv(notify->watcher.fd, &none, 0, MSG_DONTWAIT) < 0 && errno == EINTR) continue;
    return;
  }
  loop_unwatch(notify->loop, &notify->watcher);
  notify->dropping = true;
  notify->asked = false;
  ask_to_take(notify);
}

static enum reading read_one(struct notify *notify) {
  struct ucred sender;
  int flags;
  ssize_t size = look(notify, &sender, &flags);
  if (size < 0) return READ_NOTHING;
  drop(notify, (flags & MSG_CTRUNC) != 0);
  bool too_long = (flags & MSG_TRUNC) != 0;
  if (!too_long && may_send(notify, &sender)) {
    notify->event.size = (size_t)size;
    return READ_ACCEPTED;
  }
  complain(notify, &sender, too_long);
  return READ_IGNORED;
}

bool notify_next(const struct notify_event *event, size_t *at, struct notify_field *field) {
  while (*at < event->size) {
    const char *line = event->data + *at, *end = event->data + event->size;
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    if (stop == NULL) stop = end;
    *at = (size_t)(stop - event->data) + 1;
    const char *equals = memchr(line, '=', (size_t)(stop - line));
    if (equals == NULL || equals == line) continue;
    *field = (struct notify_field){line, equals + 1, (size_t)(equals - line),
                                   (size_t)(stop - equals) - 1};
    return true;
  }
  return false;
}

/* --- life -------------------------------------------------------------------------------- */

static bool is_published(const struct notify *notify) {
  return notify->event.event.next != NULL;
}

/* Reads until there is something for Lua, or something to drop. True: it goes on when that is done. */
static bool read_on(struct notify *notify, int *reads) {
  while ((*reads)-- > 0) {
    enum reading reading = read_one(notify);
    if (reading == READ_NOTHING) return false;
    if (reading == READ_IGNORED && !notify->dropping) continue;
    loop_unwatch(notify->loop, &notify->watcher);
    if (reading == READ_ACCEPTED) loop_publish(notify->loop, &notify->event.event);
    return true;
  }
  return false;
}

static void readable(struct watcher *watcher, uint32_t events) {
  int reads = READS_AT_ONCE;
  (void)events;
  (void)read_on(of_watcher(watcher), &reads);
}

/* What was read is taken, or has gone. */
static void go_on(struct notify *notify) {
  void (*drained)(void *context) = notify->drained;
  if (is_published(notify) || (notify->dropping && !notify->hurried)) return;
  if (drained && !notify->dropping && read_on(notify, &notify->left)) return;
  notify->drained = NULL;
  notify->hurried = false;
  if (!notify->dropping) (void)loop_watch(notify->loop, &notify->watcher, EPOLLIN);
  if (drained) drained(notify->context); /* may free us */
}

static void taken(struct event *event) {
  go_on(of_event(event));
}

static void has_gone(struct watcher *watcher, uint32_t events) {
  struct notify *notify = of_gone(watcher);
  (void)events;
  uint64_t count;
  if (read(watcher->fd, &count, sizeof count) < 0) return;
  loop_unwatch(notify->loop, watcher);
  notify->dropping = false;
  go_on(notify);
}

/* Its end waits no longer; what else is there does. */
static void is_late(struct timer *timer) {
  struct notify *notify = of_timer(timer);
  if (notify->dropping && notify->asked) passed_advance();
  if (notify->dropping && !notify->asked) ask_to_take(notify);
  if (notify->dropping || notify->drained)
    (void)loop_timer(notify->loop, timer, loop_now() + PATIENCE);
  notify->hurried = notify->drained != NULL;
  if (notify->hurried) go_on(notify);
}

static int open_socket(char variable[NOTIFY_NAME]) {
  uint64_t random[2];
  if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) return -1;
  int length = snprintf(variable, NOTIFY_NAME, "%s@luapilot-%016" PRIx64 "%016" PRIx64, VARIABLE,
                        random[0], random[1]);
  size_t name = (size_t)length - sizeof VARIABLE;       /* without "NOTIFY_SOCKET=" and "@" */
  struct sockaddr_un address = {.sun_family = AF_UNIX}; /* sun_path[0] == 0: abstract */
  memcpy(address.sun_path + 1, variable + sizeof VARIABLE, name);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int on = 1;
  if (fd < 0) return -1;
  if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
      bind(fd, (const struct sockaddr *)&address, size) == 0)
    return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

struct notify *notify_new(struct loop *loop, struct output *output, uint64_t id,
                          char variable[NOTIFY_NAME]) {
  struct notify *notify = calloc(1, sizeof *notify);
  if (notify == NULL) return NULL;
  notify->loop = loop;
  notify->output = output;
  notify->event.event = (struct event){.type = EVENT_NOTIFY, .id = id, .taken = taken};
  notify->gone = (struct watcher){.fd = -1, .ready = has_gone};
  notify->timer.fire = is_late;
  notify->watcher = (struct watcher){.fd = open_socket(variable), .ready = readable};
  if (notify->watcher.fd >= 0) return notify;
  free(notify);
  return NULL;
}

int notify_start(struct notify *notify, pid_t session, uid_t uid) {
  notify->session = session;
  notify->uid = uid;
  return loop_watch(notify->loop, &notify->watcher, EPOLLIN);
}

bool notify_hear(struct notify *notify, void (*heard)(void *context), void *context) {
  notify->left = READS_AT_THE_END;
  bool waits = is_published(notify) || notify->dropping || read_on(notify, &notify->left);
  if (waits && notify->timer.index != 0)
    (void)loop_timer(notify->loop, &notify->timer, loop_now() + PATIENCE); /* has its place */
  notify->drained = waits ? heard : NULL;
  notify->context = context;
  return waits;
}

void notify_finish(struct notify *notify, void (*drained)(void *context), void *context) {
  if (!notify_hear(notify, drained, context)) drained(context); /* may free us */
}

void notify_free(struct notify *notify) {
  if (notify == NULL) return;
  loop_unpublish(notify->loop, &notify->event.event);
  loop_untimer(notify->loop, &notify->timer);
  loop_unwatch(notify->loop, &notify->gone);
  if (notify->gone.fd >= 0) close(notify->gone.fd);
  loop_unwatch(notify->loop, &notify->watcher);
  passed_close(notify->watcher.fd);
  free(notify);
}
