/* net: can somebody be reached, and what are our own addresses.
 *
 * A connection is opened (net/reach.h) and closed again at once: the check of a health, or the wait for a
 * database. */
#ifndef LUAPILOT_NET_NET_H
#define LUAPILOT_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/handle.h"
#include "net/reach.h"

#define NET_TEXT 64

/* Begins. Whatever fails is told by the event, a struct reached; the handle goes when that is taken.
 * Returns the handle's id, or 0: out of memory. */
uint64_t net_connect(struct loop *loop, struct handle_table *handles,
                     const struct reach_target *target, double timeout);

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
