#include "loop/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define AWAKE_MOST (NANOSECONDS / 4) /* between two looks */
#define NEVER INT64_MAX

struct queue {
  struct event head; /* a ring: head.next is the first, head.previous the last */
};

struct loop {
  int epoll;
  struct watcher clock; /* the timerfd that wakes epoll for the first timer */
  int64_t armed;        /* what the timerfd is set to, NEVER = not set */

  struct timer **heap; /* heap[1] … heap[count]; owned array, the timers are not */
  size_t count, size;
  uint64_t order;

  struct queue urgent, normal;
  unsigned since_asked; /* events handed out since epoll was last asked */

  struct epoll_event batch[LOOP_BATCH]; /* what epoll reported and is not yet served */
  int batch_next, batch_count;

  struct heartbeat *heartbeat; /* not owned; NULL = nobody looks */
};

static _Noreturn void give_up(const char *what) {
  perror(what);
  abort();
}

int64_t loop_now(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) give_up("luapilot: clock_gettime");
  return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

int64_t loop_awake(struct awake *awake) {
  int64_t now = loop_now(), passed = now - awake->seen;
  awake->seen = now;
  return awake->time += passed < AWAKE_MOST ? passed : AWAKE_MOST;
}

/* --- queue ------------------------------------------------------------------------------- */

static void queue_init(struct queue *queue) {
  queue->head.next = queue->head.previous = &queue->head;
}

static bool queue_empty(const struct queue *queue) {
  return queue->head.next == &queue->head;
}

static void queue_append(struct queue *queue, struct event *event) {
  event->next = &queue->head;
  event->previous = queue->head.previous;
  queue->head.previous->next = event;
  queue->head.previous = event;
}

static void queue_remove(struct event *event) {
  event->previous->next = event->next;
  event->next->previous = event->previous;
  event->next = event->previous = NULL;
}

static bool is_urgent(const struct event *event) {
  return event->type <= EVENT_GROUP_GONE;
}

void loop_publish(struct loop *loop, struct event *event) {
  if (event->next != NULL) return;
  queue_append(is_urgent(event) ? &loop->urgent : &loop->normal, event);
}

void loop_unpublish(struct loop *loop, struct event *event) {
  (void)loop;
  if (event->next != NULL) queue_remove(event);
}

static struct event *next_event(struct loop *loop) {
  struct queue *queue = queue_empty(&loop->urgent) ? &loop->normal : &loop->urgent;
  if (queue_empty(queue)) return NULL;
  struct event *event = queue->head.next;
  queue_remove(event);
  return event;
}

/* --- timers ------------------------------------------------------------------------------ */

static bool earlier(const struct timer *a, const struct timer *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void place(struct loop *loop, struct timer *timer, size_t index) {
  loop->heap[index] = timer;
  timer->index = index;
}

/* Moves the timer at `index` up or down to where it belongs. */
static void settle(struct loop *loop, size_t index) {
  struct timer *timer = loop->heap[index];
  while (index > 1 && earlier(timer, loop->heap[index / 2])) {
    place(loop, loop->heap[index / 2], index);
    index /= 2;
  }
  for (size_t child = 2 * index; child <= loop->count; child = 2 * index) {
    if (child < loop->count && earlier(loop->heap[child + 1], loop->heap[child])) child++;
    if (!earlier(loop->heap[child], timer)) break;
    place(loop, loop->heap[child], index);
    index = child;
  }
  place(loop, timer, index);
}

static int reserve(struct loop *loop) {
  if (loop->count + 1 < loop->size) return 0;
  size_t size = loop->size ? loop->size * 2 : 64;
  struct timer **heap = realloc(loop->heap, size * sizeof *heap);
  if (heap == NULL) return -1;
  loop->heap = heap;
  loop->size = size;
  return 0;
}

int loop_timer(struct loop *loop, struct timer *timer, int64_t due) {
  if (timer->index == 0) {
    if (reserve(loop) != 0) return -1;
    place(loop, timer, ++loop->count);
  }
  timer->due = due;
  timer->order = ++loop->order;
  settle(loop, timer->index);
  return 0;
}

void loop_untimer(struct loop *loop, struct timer *timer) {
  if (timer->index == 0) return;
  struct timer *last = loop->heap[loop->count--];
  if (last != timer) {
    place(loop, last, timer->index);
    settle(loop, last->index);
  }
  timer->index = 0;
}

static void fire_due(struct loop *loop) {
  if (loop->count == 0) return;
  int64_t now = loop_now();
  /* A timer set anew by a callback is due later than `now`, or waits for the next turn: no starving. */
  uint64_t last_order = loop->order;
  while (loop->count > 0) {
    struct timer *first = loop->heap[1];
    if (first->due > now || first->order > last_order) break;
    loop_untimer(loop, first);
    first->fire(first);
  }
}

/* The timerfd follows the first timer only when we are about to sleep: a settime costs a system
 * call, and most timers are moved or taken back before they come due. */
static void arm_clock(struct loop *loop) {
  int64_t due = loop->count > 0 ? loop->heap[1]->due : NEVER;
  if (due == loop->armed) return;
  struct itimerspec when = {0};
  if (due != NEVER) {
    if (due < 1) due = 1; /* 0 would disarm it */
    when.it_value.tv_sec = due / NANOSECONDS;
    when.it_value.tv_nsec = due % NANOSECONDS;
  }
  if (timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &when, NULL) != 0)
    give_up("luapilot: timerfd_settime");
  loop->armed = due;
}

/* No read: settime clears the expiry, and arm_clock() always sets it anew after this. */
static void clock_ready(struct watcher *clock, uint32_t events) {
  (void)events;
  struct loop *loop = (struct loop *)((char *)clock - offsetof(struct loop, clock));
  loop->armed = 0;
}

/* --- descriptors ------------------------------------------------------------------------- */

/* What epoll has reported for this watcher but nobody has served yet must not be served any more. */
static void forget_reports(struct loop *loop, const struct watcher *watcher) {
  for (int i = loop->batch_next; i < loop->batch_count; i++)
    if (loop->batch[i].data.ptr == watcher) loop->batch[i].data.ptr = NULL;
}

int loop_watch(struct loop *loop, struct watcher *watcher, uint32_t events) {
  if (events == watcher->armed) return 0;
  int action = EPOLL_CTL_MOD;
  if (watcher->armed == 0) action = EPOLL_CTL_ADD;
  if (events == 0) {
    action = EPOLL_CTL_DEL;
    forget_reports(loop, watcher);
  }
  struct epoll_event event = {.events = events, .data.ptr = watcher};
  if (epoll_ctl(loop->epoll, action, watcher->fd, &event) != 0) return -1;
  watcher->armed = events;
  return 0;
}

void loop_unwatch(struct loop *loop, struct watcher *watcher) {
  (void)loop_watch(loop, watcher, 0);
}

/* --- a turn ------------------------------------------------------------------------------ */

static void ask_kernel(struct loop *loop, bool block) {
  struct heartbeat *heartbeat = loop->heartbeat;
  if (block) arm_clock(loop);
  if (heartbeat) {
    atomic_fetch_add_explicit(&heartbeat->turns, 1, memory_order_relaxed);
    atomic_store_explicit(&heartbeat->waiting, block, memory_order_relaxed);
  }
  int count = epoll_wait(loop->epoll, loop->batch, LOOP_BATCH, block ? -1 : 0);
  if (heartbeat) atomic_store_explicit(&heartbeat->waiting, 0, memory_order_relaxed);
  if (count < 0 && errno != EINTR) give_up("luapilot: epoll_wait");
  loop->batch_next = 0;
  loop->batch_count = count > 0 ? count : 0;
}

static void turn(struct loop *loop, bool block) {
  ask_kernel(loop, block);
  while (loop->batch_next < loop->batch_count) {
    struct epoll_event *report = &loop->batch[loop->batch_next++];
    struct watcher *watcher = report->data.ptr;
    if (watcher) watcher->ready(watcher, report->events);
  }
  fire_due(loop);
  loop->since_asked = 0;
}

struct event *loop_wait(struct loop *loop, bool block) {
  if (loop->since_asked >= LOOP_BATCH) turn(loop, false);
  struct event *event = next_event(loop);
  if (event == NULL) {
    turn(loop, false); /* due timers and ready descriptors first, without arming the clock */
    event = next_event(loop);
  }
  while (event == NULL && block) {
    turn(loop, true);
    event = next_event(loop);
  }
  loop->since_asked++;
  return event;
}

/* --- life -------------------------------------------------------------------------------- */

struct loop *loop_new(void) {
  struct loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return NULL;
  queue_init(&loop->urgent);
  queue_init(&loop->normal);
  loop->armed = NEVER;
  loop->clock.ready = clock_ready;
  loop->clock.fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (loop->clock.fd < 0 || loop->epoll < 0) goto fail;
  if (loop_watch(loop, &loop->clock, EPOLLIN) != 0) goto fail;
  return loop;
fail:
  loop_free(loop);
  return NULL;
}

void loop_free(struct loop *loop) {
  if (loop == NULL) return;
  int error = errno;
  if (loop->clock.fd >= 0) close(loop->clock.fd);
  if (loop->epoll >= 0) close(loop->epoll);
  free(loop->heap);
  free(loop);
  errno = error;
}

void loop_heartbeat(struct loop *loop, struct heartbeat *heartbeat) {
  loop->heartbeat = heartbeat;
}
