/* The port: what a script may not do. Nobody runs for long without waiting, and nobody eats all memory.
 *
 * A timer of the processor time of this thread ticks (20 times while a stretch may last), so never while we wait.
 * Its signal only arms a hook. At the next instruction of Lua, whosever that is, the hook looks: which
 * stretch of user code is it (a number that the core counts up before it resumes a task), for how long has
 * it run, and how much memory is in use. Nearly always all is well, and the hook is gone again.
 *
 * At the end of a shutdown there is no second for each of many stretches: each has a twentieth of one.
 *
 * A stretch that went too far is condemned. The hook stays, and raises an error at each instruction that is
 * in a coroutine of the user and in a function of the user, until the core has control again: so no pcall,
 * and no error handler, holds on to it. A function is the core's when its environment is the core's table
 * of globals, which no function of a user has. The coroutine of the core itself is never hit.
 *
 * What cannot be reached so (a long call of C, a finaliser, inside of which Lua calls no hooks) is for the
 * guardian and its heartbeat. Memory is what Lua counts; a full collection decides. When three stretches in
 * a row were left above the bound by it, an event `memory` tells the core that there is no going on. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "port/shared.h"
#include "port/themes.h"
#include "process/launch.h"

#define LONGEST 50000000 /* nanoseconds of processor time between two ticks */
#define TICKS 20         /* in the time that a stretch may last */
#define STRIKES 3        /* stretches that a full collection left above the bound */
#define HURRY 0.05       /* seconds that a stretch may last when there is no time left */
#define NUMBER SIGSTKFLT /* Linux never sends it, and nobody listens for it */

enum verdict { FINE, TOO_LONG, TOO_MUCH };

static struct {
  lua_State *core;     /* its coroutine; NULL = nothing is contained */
  const void *globals; /* of the core; only compared */
  int meter;           /* reference to the table with the number of the stretch at 1 */
  double seconds;      /* a stretch may last */
  int64_t tick;        /* nanoseconds */
  int kilobytes;       /* may be in use; 0 = any */

  timer_t timer;
  volatile sig_atomic_t ticks;
  volatile sig_atomic_t busy; /* the hook is being set: not a second time, by the signal */
  volatile sig_atomic_t armed;

  double stretch; /* at the latest look */
  double since;   /* processor time at its first look */
  int looked_at;  /* ticks at the latest look */
  enum verdict verdict;
  double allowed; /* what the verdict TOO_LONG was about */
  int64_t hurry;  /* from this loop_now() time on there is no time left; 0 = there is */
  double struck;  /* the stretch of the latest strike */
  int strikes;
  struct event exhausted;
} watch;

/* --- the hook ---------------------------------------------------------------------------- */

static void look(lua_State *L, lua_Debug *activation);

static void set_hook(bool on) {
  watch.busy = 1;
  watch.armed = on;
  (void)lua_sethook(watch.core, on ? look : NULL, on ? LUA_MASKCOUNT : 0, on ? 1 : 0);
  watch.busy = 0;
}

static void tick(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  if (info->si_code != SI_TIMER || watch.core == NULL) return;
  watch.ticks = watch.ticks + 1;
  if (!watch.busy && !watch.armed) set_hook(true);
}

/* Counts the looks at 2, so that the core sees that it is time to hear what the world has to say. */
static double read_meter(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, watch.meter);
  lua_rawgeti(L, -1, 2);
  lua_pushnumber(L, lua_tonumber(L, -1) + 1);
  lua_rawseti(L, -3, 2);
  lua_rawgeti(L, -2, 1);
  double stretch = lua_tonumber(L, -1);
  lua_pop(L, 3);
  return stretch;
}

static double processor_time(void) {
  struct timespec used;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return (double)used.tv_sec + (double)used.tv_nsec / (double)NANOSECONDS;
}

/* --- memory ------------------------------------------------------------------------------ */

static int collect(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT, 0);
  return 0;
}

static bool is_above(lua_State *L) {
  return lua_gc(L, LUA_GCCOUNT, 0) > watch.kilobytes;
}

static void exhausted_taken(struct event *event) {
  (void)event;
}

static void strike(void) {
  watch.struck = watch.stretch;
  if (++watch.strikes < STRIKES) return;
  watch.kilobytes = 0; /* the end must not be disturbed */
  watch.exhausted = (struct event){.type = EVENT_MEMORY, .taken = exhausted_taken};
  loop_publish(port.loop, &watch.exhausted);
}

/* A finaliser that fails must not end up here: errors of a collection are dropped. */
static bool is_too_much(lua_State *L) {
  if (watch.kilobytes == 0 || watch.struck == watch.stretch) return false;
  if (is_above(L) && lua_cpcall(L, collect, NULL) != 0) lua_pop(L, 1);
  if (!is_above(L)) {
    watch.strikes = 0;
    return false;
  }
  strike();
  return true;
}

/* --- the verdict ------------------------------------------------------------------------- */

static void judge(lua_State *L) {
  double stretch = read_meter(L), now = processor_time();
  watch.looked_at = watch.ticks;
  if (stretch != watch.stretch) {
    watch.stretch = stretch;
    watch.since = now;
  }
  bool hurry = watch.hurry != 0 && loop_now() >= watch.hurry;
  watch.allowed = hurry && watch.seconds > HURRY ? HURRY : watch.seconds;
  if (now - watch.since >= watch.allowed) {
    watch.verdict = TOO_LONG;
  } else if (is_too_much(L)) {
    watch.verdict = TOO_MUCH;
  }
}

static bool is_of_user(lua_State *L, lua_Debug *activation) {
  (void)lua_getinfo(L, "f", activation);
  lua_getfenv(L, -1);
  bool is_core = lua_topointer(L, -1) == watch.globals;
  lua_pop(L, 2);
  return !is_core;
}

static int die(lua_State *L) {
  return lua_error(L);
}

/* Lua calls no hook inside a hook, and an error handler of the user runs inside of this one: it could loop
 * for ever. An error that ends a coroutine makes Lua believe that the hook is over, so one does. */
static void leave_hook(lua_State *L) {
  lua_State *sacrifice = lua_newthread(L);
  lua_pushcfunction(sacrifice, die);
  lua_pushnil(sacrifice);
  (void)lua_resume(sacrifice, 1);
  lua_pop(L, 1);
}

#define MEMORY_ADVICE "more is in use than LUAPILOT_MEMORY allows"
#define TIME_ADVICE                                                                                \
  "put pilot.sleep(0) into a long loop, or leave the work to a program (pilot.exec)"

static void interrupt(lua_State *L, lua_Debug *activation) {
  (void)lua_getinfo(L, "Sl", activation);
  leave_hook(L);
  const char *file = *activation->source == '@' ? activation->source + 1 : activation->short_src;
  int line = activation->currentline;
  if (watch.verdict == TOO_MUCH) {
    lua_pushfstring(L, "%s:%d: not enough memory: %s", file, line, MEMORY_ADVICE);
  } else {
    lua_pushfstring(L, "%s:%d: ran for more than %f s without waiting: %s", file, line,
                    watch.allowed, TIME_ADVICE);
  }
  (void)lua_error(L);
}

static void look(lua_State *L, lua_Debug *activation) {
  if (watch.verdict == FINE && watch.looked_at != watch.ticks) judge(L);
  if (watch.verdict == FINE || L == watch.core) {
    watch.verdict = FINE; /* the core has control again: that stretch is over */
    set_hook(false);
  } else if (is_of_user(L, activation)) {
    interrupt(L, activation);
  }
}

/* --- life -------------------------------------------------------------------------------- */

static int start_ticking(void) {
  struct sigaction action = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = NUMBER};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  (void)sigfillset(&action.sa_mask);
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watch.timer) != 0) return -1;
  (void)sigaction(NUMBER, &action, NULL);
  launch_look_again();
  sigset_t mine;
  (void)sigemptyset(&mine);
  (void)sigaddset(&mine, NUMBER);
  (void)pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
  struct timespec tick_time = {0, watch.tick};
  struct itimerspec interval = {tick_time, tick_time};
  return timer_settime(watch.timer, 0, &interval, NULL);
}

void port_contain_hurry(int64_t from) {
  watch.hurry = from;
}

void port_contain_close(void) {
  if (watch.core == NULL) return;
  (void)timer_delete(watch.timer);
  (void)signal(NUMBER, SIG_IGN); /* one may be on its way */
  launch_look_again();
  set_hook(false);
  luaL_unref(watch.core, LUA_REGISTRYINDEX, watch.meter);
  if (port.loop) loop_unpublish(port.loop, &watch.exhausted);
  watch.core = NULL;
}

static int l_contain(lua_State *L) {
  static const char *const names[] = {"meter", "seconds", "bytes", NULL};
  char path[PORT_PATH];
  port_options(L, 1, "contain", names);
  if (!port_field(L, 1, "contain", "seconds", path)) lua_pushnil(L);
  double seconds = port_number(L, -1, "contain: seconds", 0.01, 1e6);
  double bytes = 0;
  if (port_field(L, 1, "contain", "bytes", path)) bytes = port_number(L, -1, path, 1024, 1e15);
  lua_getfield(L, 1, "meter");
  port_table(L, lua_gettop(L), "contain: meter");
  int meter = luaL_ref(L, LUA_REGISTRYINDEX);
  port_contain_close();
  watch.core = L;
  watch.globals = lua_topointer(L, LUA_GLOBALSINDEX);
  watch.meter = meter;
  watch.seconds = seconds;
  watch.tick = seconds < LONGEST * TICKS / 1e9 ? (int64_t)(seconds * 1e9 / TICKS) : LONGEST;
  watch.kilobytes = bytes / 1024 < INT32_MAX ? (int)(bytes / 1024) : 0;
  watch.stretch = watch.struck = -1;
  watch.strikes = 0;
  watch.verdict = FINE;
  if (start_ticking() == 0) return port_done(L);
  int code = errno;
  luaL_unref(L, LUA_REGISTRYINDEX, meter);
  watch.core = NULL;
  return port_failure(L, code, "cannot measure the time of a script");
}

const luaL_Reg port_contain_functions[] = {{"contain", l_contain}, {NULL, NULL}};
