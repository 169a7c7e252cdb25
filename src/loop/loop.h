/* loop: the one place that waits.
 *
 * It owns the epoll descriptor, the timers (a binary heap behind one timerfd) and the queue of
 * events on their way to Lua. Everything in the runtime that has to do with time or with a
 * descriptor hangs a `watcher` or a `timer` into it; whatever Lua must hear about becomes an
 * `event`, which is embedded in the thing that it speaks of, so that queueing allocates nothing
 * and cannot fail.
 *
 * Order and fairness. Events of one source come in the order in which they happened. Starts, exits
 * and signals overtake everything else; the rest take turns, because a source has at most one event
 * in the queue and goes to the end when it has another. After LOOP_BATCH events the kernel is
 * asked again, so that a flood in the queue cannot hide an exit.
 *
 * Time is CLOCK_BOOTTIME in nanoseconds: a laptop that slept, or a wall clock set back, must not
 * stretch a timeout or a session.
 *
 * It never calls Lua, never frees what it was given, and never gives up: a failing system call in
 * a turn is an error of this program and aborts, an interrupted one is repeated. */
#ifndef LUAPILOT_LOOP_LOOP_H
#define LUAPILOT_LOOP_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_BATCH 64
#define NANOSECONDS 1000000000LL

struct loop;

/* What the guardian looks at: `turns` grows with every turn, `waiting` is 1 while the loop sleeps. */
struct heartbeat {
  _Atomic uint64_t turns;
  _Atomic int waiting;
};

/* A descriptor to be told about. Owned, and closed, by whoever embeds it. */
struct watcher {
  int fd;
  uint32_t armed; /* epoll events asked for now; 0 = not in epoll */
  void (*ready)(struct watcher *watcher, uint32_t events);
};

/* A moment to be told about, once. Owned by whoever embeds it; `index` and `order` are the loop's. */
struct timer {
  int64_t due;    /* nanoseconds of loop_now() */
  uint64_t order; /* ties fire in the order in which they were set */
  size_t index;   /* place in the heap, from 1; 0 = not set */
  void (*fire)(struct timer *timer);
};

enum event_type {
  EVENT_SIGNAL,
  EVENT_SPAWNED,
  EVENT_SPAWN_FAILED,
  EVENT_EXIT,
  EVENT_MAIN,
  EVENT_GROUP_GONE,
  EVENT_TIMER,
  EVENT_SPAWNING,
  EVENT_OUTPUT,
  EVENT_NOTIFY,
  EVENT_CONNECTED,
  EVENT_READY,
  EVENT_POLL,
  EVENT_RESPONSE,
  EVENT_WATCH,
  EVENT_MEMORY,
};

/* Something that Lua must hear. Zero-initialise; set type, id, taken; queue with loop_publish().
 * The port turns it into a table, then calls `taken`, where the owner may free it, go on reading,
 * or publish it again. */
struct event {
  struct event *next, *previous; /* the queue's; both NULL = not queued */
  enum event_type type;
  uint64_t id; /* the handle it speaks of */
  void (*taken)(struct event *event);
};

/* Returns NULL with errno set when the kernel refuses descriptors. */
struct loop *loop_new(void);
/* The caller has cancelled every watcher, timer and event before. Accepts NULL. */
void loop_free(struct loop *loop);

/* Counts turns in `heartbeat` (shared with the guardian) from now on; NULL stops that. */
void loop_heartbeat(struct loop *loop, struct heartbeat *heartbeat);

/* Nanoseconds of CLOCK_BOOTTIME. */
int64_t loop_now(void);

/* Time without pauses of the machine, for those who have no timer and look often: of what lies between two looks
 * a quarter of a second counts at most. It begins with {.seen = loop_now()}. */
struct awake {
  int64_t time; /* nanoseconds, at the latest look */
  int64_t seen; /* loop_now() of that */
};
/* How much it is by now. */
int64_t loop_awake(struct awake *awake);

/* Asks for `events` (EPOLLIN, EPOLLOUT) on watcher->fd from now on, level-triggered; 0 takes it out
 * of epoll (so that a hung-up pipe that nobody reads does not spin). The watcher must be
 * zero-initialised the first time and be unwatched before its descriptor is closed.
 * Returns 0, or -1 with errno (EPERM: a regular file, always ready; ENOSPC, ENOMEM). */
int loop_watch(struct loop *loop, struct watcher *watcher, uint32_t events);
/* = loop_watch(…, 0). No callback comes after this, not even one that epoll had already reported. */
void loop_unwatch(struct loop *loop, struct watcher *watcher);

/* Sets or moves a timer to `due`. Returns 0, or -1 with ENOMEM. */
int loop_timer(struct loop *loop, struct timer *timer, int64_t due);
void loop_untimer(struct loop *loop, struct timer *timer);

/* Queues an event, once: publishing a queued event again changes nothing. */
void loop_publish(struct loop *loop, struct event *event);
/* Takes an event back, if it is queued. */
void loop_unpublish(struct loop *loop, struct event *event);

/* Waits until there is an event and returns it, taken from the queue; `block` = false returns NULL
 * when there is none now. The caller must call event->taken(event) when it has read it. */
struct event *loop_wait(struct loop *loop, bool block);

#endif
