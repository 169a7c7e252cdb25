#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "names.h"
#include "thread.h"

/* --- addresses in text ------------------------------------------------------------------- */

static bool is_port(const char *text) {
  char *end;
  long number = strtol(text, &end, 10);
  return text[0] >= '0' && text[0] <= '9' && *end == '\0' && number > 0 && number < 65536;
}

bool net_parse(const char *address, struct net_target *target) {
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
  struct net_target target;
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

static int resolve(const struct net_target *target, int flags, struct addrinfo **result) {
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
static struct lookup *lookup_new(const struct net_target *target) {
  struct lookup *lookup = calloc(1, sizeof *lookup);
  int code = ENOMEM;
  if (lookup == NULL) goto fail;
  lookup->target = *target;
  lookup->references = 2; /* ours and the thread's */
  lookup->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  code = errno;
  if (lookup->done < 0) goto fail;
  bool allowed = atomic_fetch_add(&lookups, 1) < NET_LOOKUPS;
  code = allowed ? thread_start(lookup_main, lookup) : EAGAIN;
  if (code == 0) return lookup;
  atomic_fetch_sub(&lookups, 1);
  close(lookup->done);
fail:
  free(lookup);
  errno = code;
  return NULL;
}

/* --- connecting -------------------------------------------------------------------------- */

struct attempt {
  struct handle handle;
  struct net_connected connected;
  struct loop *loop;
  struct handle_table *handles;
  struct net_target target;
  struct lookup *lookup;      /* NULL = none runs; one reference is ours */
  struct addrinfo *addresses; /* owned */
  struct addrinfo *current;   /* the one being tried */
  struct watcher watcher;     /* the lookup's eventfd (not ours), then a socket (ours) */
  struct timer timer;         /* the end of this address's share */
  int64_t deadline;
  double timeout;
  int last; /* errno of the address tried last */
};

#define ATTEMPT_OF(member, pointer)                                                                \
  ((struct attempt *)((char *)(pointer)-offsetof(struct attempt, member)))

static void stop_socket(struct attempt *attempt) {
  if (attempt->watcher.fd < 0) return;
  loop_unwatch(attempt->loop, &attempt->watcher);
  close(attempt->watcher.fd);
  attempt->watcher.fd = -1;
}

static void stop_lookup(struct attempt *attempt) {
  if (attempt->lookup == NULL) return;
  loop_unwatch(attempt->loop, &attempt->watcher);
  attempt->watcher.fd = -1;
  lookup_release(attempt->lookup);
  attempt->lookup = NULL;
}

/* Everything but the struct, its handle and its event. */
static void stop(struct attempt *attempt) {
  stop_lookup(attempt);
  stop_socket(attempt);
  loop_untimer(attempt->loop, &attempt->timer);
  if (attempt->addresses) freeaddrinfo(attempt->addresses);
  attempt->addresses = attempt->current = NULL;
}

static void cancel(struct handle *handle) {
  struct attempt *attempt = ATTEMPT_OF(handle, handle);
  loop_unpublish(attempt->loop, &attempt->connected.event);
  handle_remove(attempt->handles, handle);
  stop(attempt);
  free(attempt);
}

static void taken(struct event *event) {
  cancel(&ATTEMPT_OF(connected.event, event)->handle);
}

static void conclude(struct attempt *attempt) {
  stop(attempt);
  loop_publish(attempt->loop, &attempt->connected.event);
}

static void give_up(struct attempt *attempt, const char *code, const char *doing, const char *why) {
  struct net_connected *connected = &attempt->connected;
  bool six = strchr(attempt->target.host, ':') != NULL;
  (void)snprintf(connected->code, sizeof connected->code, "%s", code);
  (void)snprintf(connected->error, sizeof connected->error, "cannot %s %s%s%s:%s: %s", doing,
                 six ? "[" : "", attempt->target.host, six ? "]" : "", attempt->target.port, why);
  conclude(attempt);
}

static void give_up_errno(struct attempt *attempt, int code) {
  char name[NAME_SIZE], text[TEXT_SIZE], time[NAME_SIZE];
  if (code == ETIMEDOUT)
    (void)snprintf(text, sizeof text, "no answer within %s", duration_text(attempt->timeout, time));
  else
    error_text(code, text);
  give_up(attempt, error_name(code, name), "connect to", text);
}

static void give_up_lookup(struct attempt *attempt, int error) {
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
  give_up(attempt, name, "resolve", text);
}

/* A connection that is being made, is made, or failed at once. */
static bool open_socket(struct attempt *attempt) {
  const struct addrinfo *address = attempt->current;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  attempt->watcher.fd = fd;
  if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
    attempt->last = errno;
    stop_socket(attempt);
    return false;
  }
  if (fd >= 0 && loop_watch(attempt->loop, &attempt->watcher, EPOLLOUT) == 0) return true;
  attempt->last = errno;
  stop_socket(attempt);
  return false;
}

static int64_t share_of(const struct attempt *attempt) {
  int64_t now = loop_now(), count = 1;
  for (const struct addrinfo *rest = attempt->current->ai_next; rest; rest = rest->ai_next) count++;
  return now + (attempt->deadline - now) / count;
}

/* Tries from `current` on. */
static void try_addresses(struct attempt *attempt) {
  for (; attempt->current; attempt->current = attempt->current->ai_next) {
    if (loop_now() >= attempt->deadline) {
      attempt->last = ETIMEDOUT;
      break;
    }
    if (!open_socket(attempt)) continue;
    (void)loop_timer(attempt->loop, &attempt->timer,
                     share_of(attempt)); /* has its place: cannot fail */
    return;
  }
  give_up_errno(attempt, attempt->last);
}

static void next_address(struct attempt *attempt, int code) {
  stop_socket(attempt);
  attempt->last = code;
  attempt->current = attempt->current->ai_next;
  try_addresses(attempt);
}

static void socket_ready(struct attempt *attempt) {
  int code = 0;
  socklen_t size = sizeof code;
  if (getsockopt(attempt->watcher.fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
  if (code == 0)
    conclude(attempt);
  else
    next_address(attempt, code);
}

static void lookup_ready(struct attempt *attempt) {
  struct lookup *lookup = attempt->lookup;
  int error = lookup->error;
  attempt->addresses = attempt->current = lookup->result;
  lookup->result = NULL;
  stop_lookup(attempt);
  if (error != 0)
    give_up_lookup(attempt, error);
  else
    try_addresses(attempt);
}

static void ready(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct attempt *attempt = ATTEMPT_OF(watcher, watcher);
  if (attempt->lookup)
    lookup_ready(attempt);
  else
    socket_ready(attempt);
}

static void timed_out(struct timer *timer) {
  struct attempt *attempt = ATTEMPT_OF(timer, timer);
  if (attempt->current)
    next_address(attempt, ETIMEDOUT);
  else
    give_up_errno(attempt, ETIMEDOUT); /* still looking the name up */
}

static void begin(struct attempt *attempt) {
  int error = resolve(&attempt->target, AI_NUMERICHOST, &attempt->addresses);
  attempt->current = attempt->addresses;
  if (error == 0) {
    try_addresses(attempt);
    return;
  }
  if (error != EAI_NONAME) {
    give_up_lookup(attempt, error);
    return;
  }
  attempt->lookup = lookup_new(&attempt->target);
  if (attempt->lookup == NULL) {
    give_up_errno(attempt, errno);
    return;
  }
  attempt->watcher.fd = attempt->lookup->done;
  if (loop_watch(attempt->loop, &attempt->watcher, EPOLLIN) != 0) give_up_errno(attempt, errno);
}

uint64_t net_connect(struct loop *loop, struct handle_table *handles,
                     const struct net_target *target, double timeout) {
  struct attempt *attempt = calloc(1, sizeof *attempt);
  if (attempt == NULL) return 0;
  attempt->handle = (struct handle){.kind = HANDLE_CONNECT, .cancel = cancel};
  attempt->loop = loop;
  attempt->handles = handles;
  attempt->target = *target;
  attempt->watcher = (struct watcher){.fd = -1, .ready = ready};
  attempt->timer.fire = timed_out;
  attempt->timeout = timeout;
  attempt->last = EADDRNOTAVAIL; /* if there is nothing to try */
  attempt->deadline = loop_now() + (int64_t)(timeout * (double)NANOSECONDS);
  if (loop_timer(loop, &attempt->timer, attempt->deadline) != 0 ||
      handle_add(handles, &attempt->handle) != 0) {
    loop_untimer(loop, &attempt->timer);
    free(attempt);
    return 0;
  }
  uint64_t id = attempt->handle.id;
  attempt->connected.event = (struct event){.type = EVENT_CONNECTED, .id = id, .taken = taken};
  begin(attempt);
  return id;
}

/* --- our own addresses ------------------------------------------------------------------- */

static unsigned prefix_of(const unsigned char *mask, size_t size) {
  unsigned bits = 0;
  for (size_t i = 0; i < size; i++) bits += (unsigned)__builtin_popcount(mask[i]);
  return bits;
}

static bool read_address(const struct ifaddrs *entry, struct net_address *address) {
  if (entry->ifa_addr == NULL) return false;
  int family = entry->ifa_addr->sa_family;
  if (family != AF_INET && family != AF_INET6) return false;
  *address = (struct net_address){.six = family == AF_INET6};
  address->loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0;
  address->up = (entry->ifa_flags & IFF_UP) != 0;
  (void)snprintf(address->name, sizeof address->name, "%s", entry->ifa_name);
  if (family == AF_INET) {
    const struct sockaddr_in *four = (const void *)entry->ifa_addr;
    const struct sockaddr_in *mask = (const void *)entry->ifa_netmask;
    if (mask) address->prefix = prefix_of((const void *)&mask->sin_addr, sizeof mask->sin_addr);
    return inet_ntop(AF_INET, &four->sin_addr, address->address, NET_TEXT) != NULL;
  }
  const struct sockaddr_in6 *six = (const void *)entry->ifa_addr;
  const struct sockaddr_in6 *mask = (const void *)entry->ifa_netmask;
  if (mask) address->prefix = prefix_of((const void *)&mask->sin6_addr, sizeof mask->sin6_addr);
  return inet_ntop(AF_INET6, &six->sin6_addr, address->address, NET_TEXT) != NULL;
}

int net_addresses(struct net_address *list, size_t max) {
  struct ifaddrs *entries;
  size_t count = 0;
  if (getifaddrs(&entries) != 0) return -1;
  for (const struct ifaddrs *entry = entries; entry; entry = entry->ifa_next) {
    struct net_address address;
    if (!read_address(entry, &address)) continue;
    if (count < max) list[count] = address;
    count++;
  }
  freeifaddrs(entries);
  return (int)count;
}
