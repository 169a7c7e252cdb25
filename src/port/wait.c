/* The port: time, descriptors of others, signals, and the one call that waits. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/names.h"
#include "base/random.h"
#include "port/shared.h"
#include "port/themes.h"

#define CENTURY                                                                                    \
  (100.0 * 366 * 24 * 3600) /* of seconds: longer timers would overflow, and no one waits */

/* --- clocks ------------------------------------------------------------------------------ */

static int l_now(lua_State *L) {
  lua_pushnumber(L, (double)loop_now() / (double)NANOSECONDS);
  return 1;
}

static int l_clock(lua_State *L) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / (double)NANOSECONDS);
  return 1;
}

static int l_random(lua_State *L) {
  lua_pushnumber(L, random_share());
  return 1;
}

/* --- timers ------------------------------------------------------------------------------ */

struct alarm {
  struct handle handle;
  struct timer timer;
  struct event event;
};

static void cancel_alarm(struct handle *handle) {
  struct alarm *alarm = (struct alarm *)((char *)handle - offsetof(struct alarm, handle));
  loop_untimer(port.loop, &alarm->timer);
  loop_unpublish(port.loop, &alarm->event);
  handle_remove(&port.handles, handle);
  free(alarm);
}

static void alarm_taken(struct event *event) {
  struct alarm *alarm = (struct alarm *)((char *)event - offsetof(struct alarm, event));
  cancel_alarm(&alarm->handle);
}

static void alarm_fires(struct timer *timer) {
  struct alarm *alarm = (struct alarm *)((char *)timer - offsetof(struct alarm, timer));
  loop_publish(port.loop, &alarm->event);
}

static int l_timer(lua_State *L) {
  bool passed = lua_type(L, 1) == LUA_TNUMBER && lua_tonumber(L, 1) < 0; /* that moment is now */
  double seconds = passed ? 0 : port_seconds(L, 1, "timer: seconds", CENTURY);
  struct alarm *alarm = calloc(1, sizeof *alarm);
  if (alarm == NULL) return luaL_error(L, "timer: out of memory");
  alarm->handle = (struct handle){.kind = HANDLE_TIMER, .cancel = cancel_alarm};
  alarm->timer.fire = alarm_fires;
  int64_t due = loop_now() + (int64_t)(seconds * (double)NANOSECONDS);
  if (handle_add(&port.handles, &alarm->handle) != 0 ||
      loop_timer(port.loop, &alarm->timer, due) != 0) {
    cancel_alarm(&alarm->handle);
    return luaL_error(L, "timer: out of memory");
  }
  uint64_t id = alarm->handle.id;
  alarm->event = (struct event){.type = EVENT_TIMER, .id = id, .taken = alarm_taken};
  lua_pushnumber(L, (double)id);
  return 1;
}

/* --- descriptors of others --------------------------------------------------------------- */

/* We watch a duplicate: the caller may close his own at any time, and its number be given to something
 * of ours, while epoll goes on reporting what somebody else has open, too. */
struct poll {
  struct handle handle;
  int fd;                 /* the caller's */
  struct watcher watcher; /* our duplicate of it; owned, -1 = none */
  struct event event;
  uint32_t wanted, seen; /* epoll's bits */
};

static void cancel_poll(struct handle *handle) {
  struct poll *poll = (struct poll *)((char *)handle - offsetof(struct poll, handle));
  loop_unwatch(port.loop, &poll->watcher);
  loop_unpublish(port.loop, &poll->event);
  handle_remove(&port.handles, handle);
  if (poll->watcher.fd >= 0) close(poll->watcher.fd);
  free(poll);
}

/* Asks again only now, so that a descriptor that nobody serves costs nothing. When the caller has
 * closed it without cancelling, nobody will ever serve it: no event comes any more. */
static void poll_taken(struct event *event) {
  struct poll *poll = (struct poll *)((char *)event - offsetof(struct poll, event));
  if (fcntl(poll->fd, F_GETFD) < 0) return;
  (void)loop_watch(port.loop, &poll->watcher, poll->wanted);
}

static void poll_ready(struct watcher *watcher, uint32_t events) {
  struct poll *poll = (struct poll *)((char *)watcher - offsetof(struct poll, watcher));
  poll->seen = events;
  loop_unwatch(port.loop, watcher);
  loop_publish(port.loop, &poll->event);
}

/* A hang-up or an error makes every read and write return at once: both are "ready". */
static void push_poll(lua_State *L, const struct event *event) {
  const struct poll *poll =
      (const struct poll *)((const char *)event - offsetof(struct poll, event));
  bool broken = (poll->seen & (EPOLLHUP | EPOLLERR)) != 0;
  port_set_boolean(L, "readable", (poll->wanted & EPOLLIN) && (broken || (poll->seen & EPOLLIN)));
  port_set_boolean(L, "writable", (poll->wanted & EPOLLOUT) && (broken || (poll->seen & EPOLLOUT)));
}

static uint32_t check_mode(lua_State *L, int index) {
  const char *mode = port_word(L, index, "poll: mode");
  if (strcmp(mode, "r") == 0) return EPOLLIN;
  if (strcmp(mode, "w") == 0) return EPOLLOUT;
  if (strcmp(mode, "rw") == 0) return EPOLLIN | EPOLLOUT;
  return (uint32_t)luaL_error(L, "poll: mode: expected \"r\", \"w\" or \"rw\", got \"%s\"", mode);
}

static int l_poll(lua_State *L) {
  int fd = (int)port_integer(L, 1, "poll: fd", 0, INT32_MAX);
  uint32_t wanted = check_mode(L, 2);
  struct poll *poll = calloc(1, sizeof *poll);
  if (poll == NULL) return luaL_error(L, "poll: out of memory");
  poll->handle = (struct handle){.kind = HANDLE_POLL, .cancel = cancel_poll};
  poll->fd = fd;
  poll->watcher = (struct watcher){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .ready = poll_ready};
  poll->wanted = wanted;
  if (poll->watcher.fd < 0 || handle_add(&port.handles, &poll->handle) != 0 ||
      loop_watch(port.loop, &poll->watcher, wanted) != 0) {
    int code = errno;
    cancel_poll(&poll->handle);
    return port_failure(L, code, "cannot wait for descriptor %d", fd);
  }
  poll->event = (struct event){.type = EVENT_POLL, .id = poll->handle.id, .taken = poll_taken};
  lua_pushnumber(L, (double)poll->handle.id);
  return 1;
}

/* --- signals ----------------------------------------------------------------------------- */

/* One descriptor for all. The kernel's queue holds what is not taken yet. */
static struct {
  sigset_t set;
  struct watcher watcher; /* the signalfd; owned */
  struct event event;
  struct signalfd_siginfo info; /* the one on its way to Lua */
  bool open;
} signals;

static void read_signal(void) {
  ssize_t size;
  do size = read(signals.watcher.fd, &signals.info, sizeof signals.info);
  while (size < 0 && errno == EINTR);
  if (size == (ssize_t)sizeof signals.info) loop_publish(port.loop, &signals.event);
}

static void signal_taken(struct event *event) {
  (void)event;
  read_signal();
}

static void signal_ready(struct watcher *watcher, uint32_t events) {
  (void)watcher;
  (void)events;
  if (signals.event.next == NULL) read_signal(); /* else when that is taken */
}

/* Who sent it: the guardian passes signals on with the first sender's pid. */
static pid_t sender(const struct signalfd_siginfo *info) {
  bool passed_on = info->ssi_code == SI_QUEUE && (pid_t)info->ssi_pid == getppid();
  return passed_on ? info->ssi_int : (pid_t)info->ssi_pid;
}

/* Ctrl-C reaches the whole foreground group; the kernel sends it itself. */
static void push_signal(lua_State *L) {
  char name[NAME_SIZE];
  port_set_string(L, "name", signal_name((int)signals.info.ssi_signo, name));
  port_set_number(L, "pid", sender(&signals.info));
  port_set_boolean(L, "terminal", signals.info.ssi_code == SI_KERNEL);
}

static int open_signals(const sigset_t *set) {
  int fd = signalfd(signals.open ? signals.watcher.fd : -1, set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return -1;
  signals.set = *set;
  if (signals.open) return 0;
  signals.watcher = (struct watcher){.fd = fd, .ready = signal_ready};
  signals.event = (struct event){.type = EVENT_SIGNAL, .taken = signal_taken};
  if (loop_watch(port.loop, &signals.watcher, EPOLLIN) != 0) {
    close(fd);
    return -1;
  }
  signals.open = true;
  return 0;
}

/* A signal that can be caught, or 0. Each start asks for sixty of them: where a message would point is not put together
 * for those that are right. */
static int catchable(lua_State *L) {
  size_t size;
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
  int number = name && strlen(name) == size ? signal_number(name) : 0;
  return number == SIGKILL || number == SIGSTOP ? 0 : number;
}

static void refuse_name(lua_State *L, const char *call, size_t i) {
  char where[48];
  (void)snprintf(where, sizeof where, "%s: [%zu]", call, i);
  (void)port_signal(L, -1, where);
  luaL_error(L, "%s: %s cannot be caught", where, lua_tostring(L, -1));
}

static void check_names(lua_State *L, const char *call, sigset_t *set) {
  size_t count = lua_objlen(L, 1);
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, 1, (int)i);
    int number = catchable(L);
    if (number == 0) refuse_name(L, call, i);
    sigaddset(set, number);
    lua_pop(L, 1);
  }
}

/* A blocked signal whose disposition is "ignore" would be thrown away instead of kept for the
 * signalfd: nohup starts programs so. */
static void unignore(const sigset_t *set) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  for (int number = 1; number < NSIG; number++)
    if (sigismember(set, number) == 1) (void)sigaction(number, &action, NULL);
}

static int l_signals(lua_State *L) {
  port_table(L, 1, "signals: names");
  sigset_t set = signals.set;
  if (!signals.open) sigemptyset(&set);
  check_names(L, "signals", &set);
  (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
  unignore(&set);
  char text[TEXT_SIZE];
  if (open_signals(&set) != 0)
    return luaL_error(L, "signals: cannot be waited for: %s", error_text(errno, text));
  return 0;
}

/* For the guardian: a bit for each signal that asks for the end. */
static int l_shutdown_signals(lua_State *L) {
  port_table(L, 1, "shutdown_signals: names");
  sigset_t set;
  sigemptyset(&set);
  check_names(L, "shutdown_signals", &set);
  uint64_t requests = 0;
  for (int number = 1; number < NSIG; number++)
    if (sigismember(&set, number) == 1) requests |= GUARDIAN_SIGNAL(number);
  if (port.page) atomic_store(&port.page->requests, requests);
  return 0;
}

void port_wait_close(void) {
  if (!signals.open) return;
  loop_unpublish(port.loop, &signals.event);
  loop_unwatch(port.loop, &signals.watcher);
  close(signals.watcher.fd);
  signals.open = false;
}

/* --- waiting ----------------------------------------------------------------------------- */

static const struct {
  const char *name;
  int fields; /* how many the table has, type and id included */
} types[] = {
    [EVENT_SIGNAL] = {"signal", 4},
    [EVENT_SPAWNED] = {"spawned", 3},
    [EVENT_SPAWN_FAILED] = {"spawn_failed", 5},
    [EVENT_SPAWNING] = {"spawning", 5},
    [EVENT_EXIT] = {"exit", 3},
    [EVENT_MAIN] = {"main", 3},
    [EVENT_GROUP_GONE] = {"group_gone", 2},
    [EVENT_TIMER] = {"timer", 2},
    [EVENT_OUTPUT] = {"output", 5},
    [EVENT_NOTIFY] = {"notify", 3},
    [EVENT_CONNECTED] = {"connected", 4},
    [EVENT_READY] = {"ready", 4},
    [EVENT_POLL] = {"poll", 4},
    [EVENT_RESPONSE] = {"response", 6},
    [EVENT_WATCH] = {"watch", 5},
    [EVENT_MEMORY] = {"memory", 1},
};

static void push_fields(lua_State *L, const struct event *event) {
  switch (event->type) {
  case EVENT_SIGNAL: push_signal(L); break;
  case EVENT_SPAWNED:
  case EVENT_SPAWN_FAILED:
  case EVENT_SPAWNING: port_push_news(L, event); break;
  case EVENT_EXIT: port_push_exit(L, event); break;
  case EVENT_MAIN: port_push_main(L, event); break;
  case EVENT_OUTPUT: port_push_output(L, event); break;
  case EVENT_NOTIFY: port_push_notify(L, event); break;
  case EVENT_CONNECTED: port_push_connected(L, event); break;
  case EVENT_READY: port_push_ready(L, event); break;
  case EVENT_POLL: push_poll(L, event); break;
  case EVENT_RESPONSE: port_push_response(L, event); break;
  case EVENT_WATCH: port_push_watch(L, event); break;
  case EVENT_GROUP_GONE: port_push_group_gone(L, event); break;
  case EVENT_MEMORY:
  case EVENT_TIMER: break;
  }
}

static int l_wait(lua_State *L) {
  bool block = lua_isnoneornil(L, 1) || port_boolean(L, 1, "wait: block");
  struct event *event = loop_wait(port.loop, block);
  if (event == NULL) return 0;
  lua_createtable(L, 0, types[event->type].fields);
  port_set_string(L, "type", types[event->type].name);
  if (event->id != 0) port_set_number(L, "id", (double)event->id);
  push_fields(L, event);
  event->taken(event);
  return 1;
}

static int l_cancel(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "cancel: id", ANY_HANDLE);
  if (handle == NULL) return 3;
  handle->cancel(handle);
  return port_done(L);
}

const luaL_Reg port_wait_functions[] = {
    {"wait", l_wait},       {"now", l_now},       {"clock", l_clock},
    {"random", l_random},   {"timer", l_timer},   {"poll", l_poll},
    {"signals", l_signals}, {"cancel", l_cancel}, {"shutdown_signals", l_shutdown_signals},
    {NULL, NULL},
};
