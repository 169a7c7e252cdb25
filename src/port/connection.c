/* The port: streams of bytes to servers. */
#include <errno.h>
#include <string.h>

#include "base/names.h"
#include "net/connection.h"
#include "port/shared.h"
#include "port/themes.h"

#define MOST (64 * 1024) /* bytes received at once */

void port_push_ready(lua_State *L, const struct event *event) {
  const struct connection_ready *ready = (const struct connection_ready *)event;
  port_set_boolean(L, "readable", ready->readable);
  port_set_boolean(L, "writable", ready->writable);
  if (ready->dropped) port_set_boolean(L, "dropped", true);
}

static const char *const dial_names[] = {"address", "path", "timeout", NULL};

static int l_dial(lua_State *L) {
  struct reach_target tcp;
  struct connection_target target = {0};
  lua_settop(L, 1);
  port_options(L, 1, "dial", dial_names);
  const char *address = port_optional_name(L, 1, "dial", "address");
  target.path = port_optional_name(L, 1, "dial", "path");
  double timeout = port_optional_seconds(L, 1, "dial", "timeout", PORT_SECONDS);
  if ((address == NULL) == (target.path == NULL))
    return luaL_error(L, "dial: expected one of address and path");
  if (address && !reach_parse(address, &tcp))
    return luaL_error(L, "dial: address: expected host:port or [address]:port, got \"%s\"",
                      address);
  if (address) target.tcp = &tcp;
  uint64_t id = connection_open(port.loop, &port.handles, &target, timeout);
  if (id == 0) return luaL_error(L, "dial: out of memory");
  lua_pushnumber(L, (double)id);
  return 1;
}

/* nil, the code in words, the code. */
static int broken(lua_State *L, int code) {
  char text[TEXT_SIZE], name[NAME_SIZE];
  lua_pushnil(L);
  lua_pushstring(L, error_text(code, text));
  lua_pushstring(L, error_name(code, name));
  return 3;
}

static int l_receive(lua_State *L) {
  size_t most = (size_t)port_integer(L, 2, "receive: most", 1, MOST);
  struct handle *handle = port_handle(L, 1, "receive: id", HANDLE_CONNECTION);
  if (handle == NULL) return 3;
  if (!buffer_reserve(&port.scratch, most)) return broken(L, ENOMEM);
  ssize_t size = connection_receive(handle, port.scratch.data + port.scratch.end, most);
  if (size < 0) return broken(L, errno);
  lua_pushlstring(L, port.scratch.data + port.scratch.end, (size_t)size);
  return 1;
}

static int l_send(lua_State *L) {
  size_t size;
  const char *data = port_bytes(L, 2, "send: data", &size);
  size_t from = (size_t)port_integer(L, 3, "send: from", 1, (double)size);
  struct handle *handle = port_handle(L, 1, "send: id", HANDLE_CONNECTION);
  if (handle == NULL) return 3;
  ssize_t sent = connection_send(handle, data + from - 1, size - (from - 1));
  if (sent < 0) return broken(L, errno);
  lua_pushnumber(L, (double)sent);
  return 1;
}

static int l_want(lua_State *L) {
  const char *mode = port_word(L, 2, "want: mode");
  bool readable = strcmp(mode, "r") == 0, writable = strcmp(mode, "w") == 0;
  if (!readable && !writable)
    return luaL_error(L, "want: mode: expected \"r\" or \"w\", got \"%s\"", mode);
  struct handle *handle = port_handle(L, 1, "want: id", HANDLE_CONNECTION);
  if (handle == NULL) return 3;
  if (connection_want(handle, readable, writable) != 0) return broken(L, errno);
  return port_done(L);
}

/* --- what nobody holds any more ---------------------------------------------------------- */

/* A finaliser runs in the middle of anything: of l_wait(), too, which holds an event of somebody. */
static int collect(lua_State *L) {
  const uint64_t *id = lua_touserdata(L, 1);
  struct handle *handle = handle_find(&port.handles, *id);
  if (handle && handle->kind == HANDLE_CONNECTION) connection_drop(handle);
  return 0;
}

static int l_guard(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "guard: id", HANDLE_CONNECTION);
  if (handle == NULL) return 3;
  uint64_t *id = lua_newuserdata(L, sizeof *id);
  *id = handle->id;
  if (luaL_newmetatable(L, "luapilot.guard")) {
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return 1;
}

const luaL_Reg port_connection_functions[] = {
    {"dial", l_dial}, {"receive", l_receive}, {"send", l_send},
    {"want", l_want}, {"guard", l_guard},     {NULL, NULL},
};
