#include "net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- can somebody be reached ------------------------------------------------------------- */

struct probe {
  struct handle handle;
  struct handle_table *handles;
  struct reached reached;
  struct reach reach;
};

#define PROBE_OF(member, pointer)                                                                  \
  ((struct probe *)((char *)(pointer)-offsetof(struct probe, member)))

static void cancel(struct handle *handle) {
  struct probe *probe = PROBE_OF(handle, handle);
  loop_unpublish(probe->reach.loop, &probe->reached.event);
  handle_remove(probe->handles, handle);
  reach_stop(&probe->reach);
  free(probe);
}

static void taken(struct event *event) {
  cancel(&PROBE_OF(reached.event, event)->handle);
}

static void done(struct reach *reach, int fd) {
  struct probe *probe = PROBE_OF(reach, reach);
  if (fd >= 0) close(fd);
  loop_publish(reach->loop, &probe->reached.event);
}

uint64_t net_connect(struct loop *loop, struct handle_table *handles,
                     const struct reach_target *target, double timeout) {
  struct probe *probe = calloc(1, sizeof *probe);
  if (probe == NULL) return 0;
  probe->handle = (struct handle){.kind = HANDLE_CONNECT, .cancel = cancel};
  probe->handles = handles;
  probe->reach.reached = &probe->reached;
  probe->reach.done = done;
  if (reach_prepare(&probe->reach, loop, target, timeout) != 0 ||
      handle_add(handles, &probe->handle) != 0) {
    loop_untimer(loop, &probe->reach.timer);
    free(probe);
    return 0;
  }
  uint64_t id = probe->handle.id;
  probe->reached.event = (struct event){.type = EVENT_CONNECTED, .id = id, .taken = taken};
  reach_begin(&probe->reach);
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
