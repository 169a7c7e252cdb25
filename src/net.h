/* net: can somebody be reached, and what are our own addresses.
 *
 * A connection is opened and closed again at once: the check of a health, or the wait for a database.
 * All addresses of a name are tried in order within the one timeout, each with its share of what is
 * left, so that a first address that swallows packets does not take the turn of the second.
 *
 * Numeric addresses cost no lookup. Names go through getaddrinfo, which blocks and cannot be
 * interrupted, so it runs in a thread of its own with every signal blocked. Nobody ever waits for
 * that thread: who loses interest leaves it the last reference, and it cleans up after itself. There
 * are at most NET_LOOKUPS of them, or a broken resolver and a thousand checks would be a thousand
 * threads.
 *
 * It owns its sockets and lookups; it never touches glibc's resolver from the main thread. */
#ifndef LUAPILOT_NET_H
#define LUAPILOT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handle.h"
#include "loop.h"

#define NET_LOOKUPS 64
#define NET_TEXT 64

/* event.type is EVENT_CONNECTED. */
struct net_connected {
  struct event event;
  char code[32]; /* "ECONNREFUSED", "ETIMEDOUT", "EAI_NONAME"; "" = connected */
  char error[512];
};

/* Where to: the two halves of "host:port", copied. */
struct net_target {
  char host[256];
  char port[8];
};

/* Takes "host:port", "127.0.0.1:80" or "[::1]:80" apart; false: it is none of these. */
bool net_parse(const char *address, struct net_target *target);

/* Begins. Whatever fails is told by the event; the handle goes when that is taken. Returns the
 * handle's id, or 0: out of memory. */
uint64_t net_connect(struct loop *loop, struct handle_table *handles,
                     const struct net_target *target, double timeout);

struct net_address {
  char name[NET_TEXT]; /* of the interface */
  char address[NET_TEXT];
  bool six; /* IPv6 */
  unsigned prefix;
  bool loopback, up;
};

/* Writes up to `max` of our addresses to `list`, in the kernel's order; returns how many there are,
 * which may be more, or -1 with errno. */
int net_addresses(struct net_address *list, size_t max);

#endif
