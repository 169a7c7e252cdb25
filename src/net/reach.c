#include "net/reach.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/names.h"
#include "loop/thread.h"

/* --- addresses in text ------------------------------------------------------------------- */

static bool is_port(const char *text) {
  char *end;
  long number = strtol(text, &end, 10);
  return text[0] >= '0' && text[0] <= '9' && *end == '\0' && number > 0 && number < 65536;
}

bool reach_parse(const char *address, struct reach_target *target) {
  const char *host = address, *end, *port = strrchr(address, ':');
  if (address[0] == '[') {
    host = address + 1;
    end = strchr(host, ']');
    if (end == NULL || end[1] != ':') return false;
    port = end + 1;
  } else {
    end = port;
    if (port == NULL || strchr(address, ':') != port) return false; /* a bare IPv6 is ambiguous */
  }
  size_t length = (size_t)(end - host);
  if (length == 0 || length >= sizeof target->host) return false;
  if (!is_port(port + 1) || strlen(port + 1) >= sizeof target->port) return false;
  memcpy(target->host, host, length);
  target->host[length] = '\0';
  strcpy(target->port, port + 1);
  return true;
}

/* --- looking a name up ------------------------------------------------------------------- */

/* Shared by the one who asks and the thread; the last one to let go frees it. */
struct lookup {
  _Atomic int references;
  struct reach_target target;
  int done;                /* eventfd: written by the thread when the rest is filled in */
  struct addrinfo *result; /* owned */
  int error;               /* of getaddrinfo */
};

static _Atomic int lookups; /* threads that run now */

static void lookup_release(struct lookup *lookup) {
  if (atomic_fetch_sub(&lookup->references, 1) > 1) return;
  if (lookup->result) freeaddrinfo(lookup->result);
  close(lookup->done);
  free(lookup);
}

static int resolve(const struct reach_target *target, int flags, struct addrinfo **result) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
  *result = NULL;
  return getaddrinfo(target->host, target->port, &hints, result);
}

static void *lookup_main(void *argument) {
  struct lookup *lookup = argument;
  lookup->error = resolve(&lookup->target, 0, &lookup->result);
  uint64_t one = 1;
  ssize_t ignored = write(lookup->done, &one, sizeof one);
  (void)ignored;
  atomic_fetch_sub(&lookups, 1);
  lookup_release(lookup);
  return NULL;
}

/* NULL with errno set. */
static struct lookup *lookup_new(const struct reach_target *target) {
  struct lookup *lookup = calloc(1, sizeof *lookup);
  int code = ENOMEM;
  if (lookup == NULL) goto fail;
  lookup->target = *target;
  lookup->references = 2; /* ours and the thread's */
  lookup->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  code = errno;
  if (lookup->done < 0) goto fail;
  bool allowed = atomic_fetch_add(&lookups, 1) < REACH_LOOKUPS;
  code = allowed ? thread_start(lookup_main, lookup) : EUSERS;
  if (code == 0) return lookup;
  atomic_fetch_sub(&lookups, 1);
  close(lookup->done);
fail:
  free(lookup);
  errno = code;
  return NULL;
}

/* --- connecting -------------------------------------------------------------------------- */

#define REACH_OF(member, pointer)                                                                  \
  ((struct reach *)((char *)(pointer)-offsetof(struct reach, member)))

static void stop_socket(struct reach *reach) {
  if (reach->watcher.fd < 0) return;
  loop_unwatch(reach->loop, &reach->watcher);
  close(reach->watcher.fd);
  reach->watcher.fd = -1;
}

static void stop_lookup(struct reach *reach) {
  if (reach->lookup == NULL) return;
  loop_unwatch(reach->loop, &reach->watcher);
  reach->watcher.fd = -1;
  lookup_release(reach->lookup);
  reach->lookup = NULL;
}

void reach_stop(struct reach *reach) {
  stop_lookup(reach);
  stop_socket(reach);
  loop_untimer(reach->loop, &reach->timer);
  if (reach->addresses) freeaddrinfo(reach->addresses);
  reach->addresses = reach->current = NULL;
}

/* Ours no longer: `fd`, or none. */
static void conclude(struct reach *reach, int fd) {
  reach_stop(reach);
  reach->done(reach, fd);
}

static void give_up(struct reach *reach, const char *code, const char *doing, const char *why) {
  struct reached *reached = reach->reached;
  bool six = strchr(reach->target.host, ':') != NULL, connects = strcmp(doing, "resolve") != 0;
  (void)snprintf(reached->code, sizeof reached->code, "%s", code);
  (void)snprintf(reached->error, sizeof reached->error, "cannot %s %s%s%s%s%s: %s", doing,
                 six ? "[" : "", reach->target.host, six ? "]" : "", connects ? ":" : "",
                 connects ? reach->target.port : "", why);
  conclude(reach, -1);
}

/* What was being done: "connect to", or "resolve". EUSERS: too many do that. */
static void give_up_errno(struct reach *reach, const char *doing, int code) {
  char name[NAME_SIZE], text[TEXT_SIZE], time[NAME_SIZE];
  if (code == ETIMEDOUT)
    (void)snprintf(text, sizeof text, "no answer within %s", duration_text(reach->timeout, time));
  else if (code == EUSERS)
    (void)snprintf(text, sizeof text, "%d lookups are under way", REACH_LOOKUPS);
  else
    error_text(code, text);
  give_up(reach, error_name(code == EUSERS ? EAGAIN : code, name), doing, text);
}

static void give_up_lookup(struct reach *reach, int error) {
  static const struct {
    int error;
    const char *name;
  } names[] = {{EAI_NONAME, "EAI_NONAME"},
               {EAI_AGAIN, "EAI_AGAIN"},
               {EAI_FAIL, "EAI_FAIL"},
               {EAI_MEMORY, "ENOMEM"},
               {EAI_NODATA, "EAI_NODATA"}};
  const char *name = "EAI_FAIL";
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].error == error) name = names[i].name;
  char text[TEXT_SIZE];
  if (error == EAI_SYSTEM)
    (void)snprintf(text, sizeof text, "the lookup failed");
  else
    (void)snprintf(text, sizeof text, "%s", gai_strerror(error));
  give_up(reach, name, "resolve", text);
}

/* A connection that is being made, is made, or failed at once. */
static bool open_socket(struct reach *reach) {
  const struct addrinfo *address = reach->current;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  reach->watcher.fd = fd;
  if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
    reach->last = errno;
    stop_socket(reach);
    return false;
  }
  if (fd >= 0 && loop_watch(reach->loop, &reach->watcher, EPOLLOUT) == 0) return true;
  reach->last = errno;
  stop_socket(reach);
  return false;
}

static int64_t share_of(const struct reach *reach) {
  int64_t now = loop_now(), count = 1;
  for (const struct addrinfo *rest = reach->current->ai_next; rest; rest = rest->ai_next) count++;
  return now + (reach->deadline - now) / count;
}

/* Tries from `current` on. */
static void try_addresses(struct reach *reach) {
  for (; reach->current; reach->current = reach->current->ai_next) {
    if (loop_now() >= reach->deadline) {
      reach->last = ETIMEDOUT;
      break;
    }
    if (!open_socket(reach)) continue;
    (void)loop_timer(reach->loop, &reach->timer, share_of(reach)); /* has its place: cannot fail */
    return;
  }
  give_up_errno(reach, "connect to", reach->last);
}

static void next_address(struct reach *reach, int code) {
  stop_socket(reach);
  reach->last = code;
  reach->current = reach->current->ai_next;
  try_addresses(reach);
}

/* A connection to a port from which connections are made may be given that very port, and come to itself where
 * nobody listens. */
static bool is_to_itself(int fd) {
  struct sockaddr_storage here = {0}, there = {0};
  socklen_t size = sizeof here, other = sizeof there;
  return getsockname(fd, (struct sockaddr *)&here, &size) == 0 &&
         getpeername(fd, (struct sockaddr *)&there, &other) == 0 && size == other &&
         memcmp(&here, &there, size) == 0;
}

static void socket_ready(struct reach *reach) {
  int code = 0;
  socklen_t size = sizeof code;
  if (getsockopt(reach->watcher.fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
  if (code == 0 && is_to_itself(reach->watcher.fd)) code = ECONNREFUSED;
  if (code != 0) {
    next_address(reach, code);
    return;
  }
  int fd = reach->watcher.fd;
  loop_unwatch(reach->loop, &reach->watcher);
  reach->watcher.fd = -1;
  conclude(reach, fd);
}

static void lookup_ready(struct reach *reach) {
  struct lookup *lookup = reach->lookup;
  int error = lookup->error;
  reach->addresses = reach->current = lookup->result;
  lookup->result = NULL;
  stop_lookup(reach);
  if (error != 0)
    give_up_lookup(reach, error);
  else
    try_addresses(reach);
}

static void ready(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct reach *reach = REACH_OF(watcher, watcher);
  if (reach->lookup)
    lookup_ready(reach);
  else
    socket_ready(reach);
}

static void timed_out(struct timer *timer) {
  struct reach *reach = REACH_OF(timer, timer);
  if (reach->current)
    next_address(reach, ETIMEDOUT);
  else
    give_up_errno(reach, "resolve", ETIMEDOUT);
}

static void look_up(struct reach *reach) {
  reach->lookup = lookup_new(&reach->target);
  if (reach->lookup == NULL) {
    give_up_errno(reach, "resolve", errno);
    return;
  }
  reach->watcher.fd = reach->lookup->done;
  if (loop_watch(reach->loop, &reach->watcher, EPOLLIN) != 0)
    give_up_errno(reach, "resolve", errno);
}

int reach_prepare(struct reach *reach, struct loop *loop, const struct reach_target *target,
                  double timeout) {
  reach->loop = loop;
  reach->target = *target;
  reach->watcher = (struct watcher){.fd = -1, .ready = ready};
  reach->timer.fire = timed_out;
  reach->timeout = timeout;
  reach->last = EADDRNOTAVAIL; /* if there is nothing to try */
  reach->deadline = loop_now() + (int64_t)(timeout * (double)NANOSECONDS);
  return loop_timer(loop, &reach->timer, reach->deadline);
}

void reach_begin(struct reach *reach) {
  int error = resolve(&reach->target, AI_NUMERICHOST, &reach->addresses);
  reach->current = reach->addresses;
  if (error == 0)
    try_addresses(reach);
  else if (error == EAI_NONAME)
    look_up(reach);
  else
    give_up_lookup(reach, error);
}
