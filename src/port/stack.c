/* The port: how deep a script may nest.
 *
 * Lua's own stack has a bound, and who exceeds it gets an error. The stack of C has none that Lua knows: where C
 * calls Lua again it grows without a look, and its end is a SIGSEGV. Most of such calls need so little of it
 * that Lua's bound comes first (measured on LuaJIT 2.1: 5 MiB for a `load` whose reader calls `load`, less for
 * table.sort, __tostring, finalisers …). Two do not: string.gsub, with a buffer of 8 KiB in each call, and
 * coroutines in coroutines, each of which has a Lua stack of its own. These two look how much is used before
 * they go deeper, and raise above a quarter; three are left for what a coroutine can use without them.
 *
 * Not a stack of our own, and larger: it would have to hold 70 MiB of buffers that Lua's bound allows, and to
 * write to them is what kills a container of 64 MiB. */
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "port/shared.h"
#include "port/themes.h"

#define WANTED (8U * 1024 * 1024) /* Linux gives as much to a main thread, if nobody changed it */

static struct {
  const char *base;
  size_t most;        /* bytes below the base that may be in use before something goes deeper */
  lua_CFunction gsub; /* Lua's */
} stack;

/* --- its size ---------------------------------------------------------------------------- */

/* Where the limit is lower: the stack grows as far as it is touched, and stays so. The limit itself stays as it is,
 * because jobs inherit it. */
__attribute__((no_sanitize("address", "undefined"))) static void touch(const char *base,
                                                                       size_t size) {
  volatile char *lowest = (volatile char *)(base - size);
  *lowest = 0;
}

static bool grow(const char *base, struct rlimit *limit) {
  const struct rlimit old = *limit;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  struct rlimit wanted = {WANTED + 64 * page, limit->rlim_max};
  if (limit->rlim_max < wanted.rlim_cur || setrlimit(RLIMIT_STACK, &wanted) != 0) return false;
  touch(base, WANTED);
  (void)setrlimit(RLIMIT_STACK, &old);
  return true;
}

static size_t size_of_stack(const char *base) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= WANTED) return WANTED;
  return grow(base, &limit) ? WANTED : (size_t)limit.rlim_cur;
}

/* --- who goes deeper --------------------------------------------------------------------- */

static bool is_deep(void) {
  const char *here = __builtin_frame_address(0);
  return here < stack.base && (size_t)(stack.base - here) > stack.most;
}

static int l_deep(lua_State *L) {
  lua_pushboolean(L, is_deep());
  return 1;
}

static int l_gsub(lua_State *L) {
  if (is_deep())
    return luaL_error(
        L, "stack overflow: string.gsub is called inside of its own callbacks, too deep");
  return stack.gsub(L);
}

/* In the table of all strings: ("text"):gsub() finds it there. */
static void guard_gsub(lua_State *L) {
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "gsub");
  lua_CFunction now = lua_tocfunction(L, -1);
  if (now && now != l_gsub) {
    stack.gsub = now;
    lua_pushcfunction(L, l_gsub);
    lua_setfield(L, -3, "gsub");
  }
  lua_pop(L, 2);
}

void port_stack_open(lua_State *L) {
  if (stack.base == NULL) {
    stack.base = __builtin_frame_address(0);
    stack.most = size_of_stack(stack.base) / 4;
  }
  guard_gsub(L);
}

const luaL_Reg port_stack_functions[] = {{"deep", l_deep}, {NULL, NULL}};
