/* reach: the way to an address in text, until there is a TCP connection.
 *
 * All addresses of a name are tried in order within the one timeout, each with its share of what is
 * left, so that a first address that swallows packets does not take the turn of the second.
 *
 * Numeric addresses cost no lookup. Names go through getaddrinfo, which blocks and cannot be
 * interrupted, so it runs in a thread of its own with every signal blocked. Nobody ever waits for
 * that thread: who loses interest leaves it the last reference, and it cleans up after itself. There
 * are at most REACH_LOOKUPS of them, or a broken resolver and a thousand checks would be a thousand
 * threads.
 *
 * Embedded in whoever wants the connection, who hears of it once and has it from then on. Until then
 * it owns its sockets and lookups; it never touches glibc's resolver from the main thread. */
#ifndef LUAPILOT_NET_REACH_H
#define LUAPILOT_NET_REACH_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

#define REACH_LOOKUPS 64

/* What Lua hears: event.type is EVENT_CONNECTED. */
struct reached {
  struct event event;
  char code[32]; /* "ECONNREFUSED", "ETIMEDOUT", "EAI_NONAME"; "" = connected */
  char error[512];
};

/* Where to: the two halves of "host:port", copied. */
struct reach_target {
  char host[256];
  char port[8];
};

/* Takes "host:port", "127.0.0.1:80" or "[::1]:80" apart; false: it is none of these. */
bool reach_parse(const char *address, struct reach_target *target);

struct lookup;
struct addrinfo;

/* Zero-initialise; set `reached` and `done`. */
struct reach {
  struct reached *reached; /* the owner's: filled in on failure */
  /* It is over: a connected socket, non-blocking, which is the owner's now; or -1. The last thing done. */
  void (*done)(struct reach *reach, int fd);
  struct loop *loop;
  struct reach_target target;
  struct lookup *lookup;      /* NULL = none runs; one reference is ours */
  struct addrinfo *addresses; /* owned */
  struct addrinfo *current;   /* the one being tried */
  struct watcher watcher;     /* the lookup's eventfd (not ours), then a socket (ours) */
  struct timer timer;         /* the end of this address's share */
  int64_t deadline;
  double timeout;
  int last; /* errno of the address tried last */
};

/* Returns 0, or -1 with ENOMEM: then there is nothing to stop. */
int reach_prepare(struct reach *reach, struct loop *loop, const struct reach_target *target,
                  double timeout);
/* After reach_prepare(). It may be over, and `done` called, when this returns. */
void reach_begin(struct reach *reach);
/* Nobody wants it any more; harmless when it is over. */
void reach_stop(struct reach *reach);

#endif
