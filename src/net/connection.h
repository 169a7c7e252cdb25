/* connection: a stream of bytes to a server, by TCP or by a unix socket.
 *
 * Nothing of it is kept here: what was not asked for stays in the kernel, which holds the other end up,
 * and what is written goes as far as the kernel takes it. Nobody is told of a descriptor that is ready
 * before somebody has asked, once for each telling: who floods us costs nothing.
 *
 * The path of a unix socket is walked as that of a file (file/place.h): in a stranger's directory no link
 * leads us elsewhere. It is found by that walk, and connected to by its descriptor, so that it may be as
 * long as any path. A server whose queue is full refuses at once, where TCP waits: that one is asked
 * again until the time is over.
 *
 * Who passes descriptors to us gets an error from a kernel that can refuse them (net/passed.h), and elsewhere a
 * connection that breaks (EPROTO).
 *
 * It owns its socket. Nothing waits; SIGPIPE never comes. */
#ifndef LUAPILOT_NET_CONNECTION_H
#define LUAPILOT_NET_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop/handle.h"
#include "net/reach.h"

/* One of the two. */
struct connection_target {
  const struct reach_target *tcp; /* copied */
  const char *path;               /* copied */
};

/* Begins. How it went is told by a struct reached; when that is taken a connection that failed is gone.
 * Returns the handle's id, or 0: out of memory. */
uint64_t connection_open(struct loop *loop, struct handle_table *handles,
                         const struct connection_target *target, double timeout);

/* At most `size` bytes; 0: the other end sends no more. -1 with errno: EAGAIN: none now, ENOTCONN: not yet. */
ssize_t connection_receive(struct handle *handle, void *data, size_t size);
/* How many of them the kernel has taken, one at least. -1 with errno, as above. */
ssize_t connection_send(struct handle *handle, const void *data, size_t size);

/* event.type is EVENT_READY. A broken connection is ready for all that was asked. */
struct connection_ready {
  struct event event;
  bool readable, writable;
  bool dropped; /* nobody can reach it any more */
};

/* One event when there is something to receive, or room to send. Returns 0, or -1 with errno. */
int connection_want(struct handle *handle, bool readable, bool writable);

/* Nobody can reach it any more: an event says so, at the loop's next turn, and not now, for whoever asks may be
 * in the middle of anything. */
void connection_drop(struct handle *handle);

#endif
