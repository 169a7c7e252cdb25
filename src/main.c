/* main: from the arguments to the Lua core, and from its result to the exit code.
 *
 *   run      (no argument, `run`, a file, or `--`) forks the guardian; the pilot goes on in Lua with all
 *            signals blocked, the loop takes them from a signalfd
 *   others   `check`, `status`, …: no guardian, signals as anywhere
 *
 * Either way `require("luapilot.cli").main(arguments)` decides everything else and returns the exit
 * code; an error that nobody caught is printed with its traceback, code 70.
 *
 * The Lua core is inside the program and found before anything on LUA_PATH, which is for the user's
 * rocks. LUA_INIT is not read: what runs in a container is what was put there. The JIT is off: loops that it compiled cannot be interrupted, and a supervisor
 * must be able to. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "embedded.h"
#include "guardian/guardian.h"
#include "port/port.h"

#define CODE_SOFTWARE 70

#ifndef LUAPILOT_VERSION
#  define LUAPILOT_VERSION "0"
#endif

struct arguments {
  int count;
  char **list;
};

/* --- the process ------------------------------------------------------------------------- */

/* What we open must never become somebody's stdin, stdout or stderr. Where there is no /dev/null, a
 * descriptor that takes nothing holds the place. */
static void fill_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    if (open("/dev/null", O_RDWR | O_NOCTTY) < 0) (void)open("/", O_PATH | O_DIRECTORY);
  }
}

static void block_signals(void) {
  sigset_t all;
  (void)sigfillset(&all);
  (void)sigprocmask(SIG_SETMASK, &all, NULL);
}

static void unblock_signals(void) {
  sigset_t none;
  (void)sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the pilot the loop takes the signals, but for those that say that there is no going on. SIGABRT is
 * how the guardian ends a pilot that is stuck. */
static void unblock_faults(void) {
  static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  sigset_t faults;
  (void)sigemptyset(&faults);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    (void)sigaddset(&faults, numbers[i]);
  (void)sigprocmask(SIG_UNBLOCK, &faults, NULL);
}

static bool is_run(int argc, char **argv) {
  if (argc < 2) return true;
  const char *word = argv[1];
  return strcmp(word, "run") == 0 || strcmp(word, "--") == 0 || strpbrk(word, "/.") != NULL;
}

/* --- memory ------------------------------------------------------------------------------ */

/* LuaJIT takes memory from the kernel in chunks and touches them page by page. Each start fills the first of them, so they
 * come with their pages: one call each in place of 32 faults. Linked by --wrap=mmap64, where LuaJIT is in the program. */
#ifdef LUAPILOT_STATIC_LUAJIT
#  define CHUNK ((size_t)128 * 1024) /* DEFAULT_GRANULARITY of lj_alloc.c */
#  define FILLED 4                   /* fewer than a pilot of one job has */

void *mmap_real(void *at, size_t size, int protection, int flags, int fd,
                off_t offset) __asm__("__real_mmap64");
void *mmap_filled(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset) __asm__("__wrap_mmap64");

void *mmap_filled(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  static int count;
  bool fill = size == CHUNK && fd < 0 && count < FILLED;
  if (fill) count++;
  return mmap_real(at, size, protection, fill ? flags | MAP_POPULATE : flags, fd, offset);
}
#endif

/* --- the Lua state ----------------------------------------------------------------------- */

static const struct embedded_module *find_module(const char *name) {
  size_t low = 0, high = embedded_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, embedded_modules[middle].name);
    if (order == 0) return &embedded_modules[middle];
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return NULL;
}

/* Runs a module's bytecode as `require` would: it gets its name, and its table goes into package.loaded (index 2). No
 * mark stands there meanwhile, so one that has failed for lack of memory can be tried again. */
static int load_embedded(lua_State *L, const struct embedded_module *module) {
  if (luaL_loadbuffer(L, (const char *)embedded_code + module->offset, module->size,
                      module->name) != 0)
    return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, 2);
  return 1;
}

/* `require` of the core: a module of the program's own comes from here, and nothing on LUA_PATH can take its place. Each
 * of them returns a table. All else is left to Lua's `require`. Upvalues: that, and package.loaded. A pilot.lua has
 * another one (lua/luapilot/script/loader.lua). */
static int core_require(lua_State *L) {
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, 1);
  lua_rawget(L, 2);
  if (lua_istable(L, 3)) return 1;
  const struct embedded_module *module =
      !lua_toboolean(L, 3) && lua_isstring(L, 1) ? find_module(lua_tostring(L, 1)) : NULL;
  if (module != NULL) return load_embedded(L, module);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* `release()` of the module luapilot.embedded: the pages that the bytecode was read from are given back. They are
 * clean, so nothing is lost; a failure only keeps them. */
static int release_embedded(lua_State *L) {
  (void)L;
  size_t pages = (embedded_size + EMBEDDED_PAGE - 1) / EMBEDDED_PAGE;
  (void)madvise((void *)embedded_code, pages * EMBEDDED_PAGE, MADV_DONTNEED);
  return 0;
}

static int open_embedded(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, release_embedded);
  lua_setfield(L, -2, "release");
  return 1;
}

/* The core's `require` stands where Lua's was. */
static void replace_require(lua_State *L) {
  lua_getglobal(L, "require");
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "loaded");
  lua_remove(L, -2);
  lua_pushcclosure(L, core_require, 2);
  lua_setglobal(L, "require");
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

static int open_version(lua_State *L) {
  lua_pushliteral(L, LUAPILOT_VERSION);
  return 1;
}

#ifdef LUAPILOT_STATIC_CJSON
int luaopen_cjson(lua_State *L);
int luaopen_cjson_safe(lua_State *L);

static void preload_cjson(lua_State *L) {
  preload(L, "cjson", luaopen_cjson);
  preload(L, "cjson.safe", luaopen_cjson_safe);
}
#else
static void preload_cjson(lua_State *L) {
  (void)L; /* a rock, found on LUA_CPATH */
}
#endif

/* Loading leaves next to no garbage; not to look for it saves a tenth of the start. The command that acts starts the
 * collector (lua/luapilot/cli/command.lua). */
static void call_main(lua_State *L, const struct arguments *arguments) {
  (void)lua_gc(L, LUA_GCSTOP, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luapilot.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, arguments->count, 0);
  for (int i = 1; i < arguments->count; i++) {
    lua_pushstring(L, arguments->list[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 1, 1);
}

/* Runs protected. Returns main's result. */
static int run(lua_State *L) {
  const struct arguments *arguments = lua_touserdata(L, 1);
  luaL_openlibs(L);
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* opening `jit` switches it on */
  replace_require(L);
  preload(L, "luapilot.rt", luaopen_luapilot_rt);
  preload(L, "luapilot.version", open_version);
  preload(L, "luapilot.embedded", open_embedded);
  preload_cjson(L);
  call_main(L, arguments);
  return 1;
}

static int add_traceback(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (message == NULL) message = lua_pushfstring(L, "(an error that is a %s)", luaL_typename(L, 1));
  luaL_traceback(L, L, message, 1);
  return 1;
}

static int complain(const char *message) {
  (void)fprintf(stderr, "luapilot: error: %s\n", message ? message : "out of memory");
  return CODE_SOFTWARE;
}

/* An error outside of any protected call, as when there is no memory for the protection itself. */
static int panic(lua_State *L) {
  (void)complain(lua_tostring(L, -1));
  port_leave();
  _exit(CODE_SOFTWARE);
}

static int run_lua(lua_State *L, struct arguments *arguments) {
  lua_pushcfunction(L, add_traceback);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, arguments);
  if (lua_pcall(L, 1, 1, 1) != 0) return complain(lua_tostring(L, -1));
  if (!lua_isnumber(L, -1)) return complain("luapilot.cli returned no exit code");
  return (int)lua_tointeger(L, -1);
}

/* --- the end ----------------------------------------------------------------------------- */

static _Noreturn int leave(lua_State *L) {
  port_leave();
  exit(*(const int *)lua_touserdata(L, 1));
}

/* The first userdata of a state is the last to be finalised. Returns where its exit code is. */
static int *mark_end(lua_State *L) {
  int *code = lua_newuserdata(L, sizeof *code);
  *code = CODE_SOFTWARE;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, leave);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return code; /* it stays on the stack */
}

int main(int argc, char **argv) {
  struct arguments arguments = {argc, argv};
  block_signals();
  fill_descriptors();
  if (is_run(argc, argv)) {
    port_guardian(guardian_start()); /* from here on we are the pilot */
    unblock_faults();
  } else {
    unblock_signals();
  }
  lua_State *L = luaL_newstate();
  if (L == NULL) return complain(NULL);
  (void)lua_atpanic(L, panic);
  int *code = mark_end(L);
  *code = run_lua(L, &arguments);
  /* Runs the finalisers, which may still write a line, and with the last of them exits. To free the
   * objects one by one takes a millisecond for each megabyte, in which nobody is left to be supervised:
   * they go with the process. */
  lua_close(L);
  return CODE_SOFTWARE;
}
