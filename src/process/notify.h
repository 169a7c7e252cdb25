/* notify: the readiness protocol of sd_notify(3), seen from the supervisor.
 *
 * Each process that asks for it has a datagram socket of its own, so nobody has to guess whom a
 * message is about. The name is abstract and random: no file to clean up, nothing to mount. The
 * kernel tells who sent a datagram; only the job may: the sender's session is the job's (whichever
 * descendant it is), or it has ended already and ran as the job's user. What strangers send is
 * ignored, with one message in the log. Descriptors that come along are let go by a thread (net/passed.h); until
 * that has come back nothing more is read, and a job's end waits for a second at most.
 *
 * One datagram at a time is on its way to Lua; the kernel's bounded queue holds the rest, and a
 * sender that overflows it waits (or gets EAGAIN), never we.
 *
 * It owns the socket and the datagram. */
#ifndef LUAPILOT_PROCESS_NOTIFY_H
#define LUAPILOT_PROCESS_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "loop/loop.h"
#include "output/output.h"

#define NOTIFY_SIZE 4096 /* what sd_notify's senders can rely on elsewhere, too */
#define NOTIFY_NAME 64

/* A datagram on its way to Lua: "KEY=value" lines, see notify_next(). event.type is EVENT_NOTIFY,
 * event.id the process's. */
struct notify_event {
  struct event event;
  size_t size;
  char data[NOTIFY_SIZE];
};

/* One line of it; both parts point into the event, and are any bytes but '\n'. */
struct notify_field {
  const char *name, *value;
  size_t name_size, value_size;
};

/* The next field behind `*at`, which is 0 at first. A line without a name and "=" is none. False:
 * there are no more. */
bool notify_next(const struct notify_event *event, size_t *at, struct notify_field *field);

struct notify;

/* Opens a socket and writes "NOTIFY_SOCKET=@…" into `variable`. `id` is the process's handle. NULL
 * with errno set. */
struct notify *notify_new(struct loop *loop, struct output *output, uint64_t id,
                          char variable[NOTIFY_NAME]);
/* Who may send, from now on: the session's leader and its user. Begins to read. Returns 0, or -1
 * with errno. */
int notify_start(struct notify *notify, pid_t session, uid_t uid);
/* What was sent so far counts before what comes now: the sender's exit. False: there is nothing. Else `heard` is called
 * when the socket is empty (or so much was read that somebody sends without end) and the last event is taken, before
 * Lua has dealt with that. */
bool notify_hear(struct notify *notify, void (*heard)(void *context), void *context);
/* Nobody who may send is left, but what they sent still counts: calls `drained` then, or at once. */
void notify_finish(struct notify *notify, void (*drained)(void *context), void *context);
/* Closes and frees at once, without any callback. Accepts NULL. */
void notify_free(struct notify *notify);

#endif
