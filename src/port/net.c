/* The port: the network, and who we are. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/names.h"
#include "net/net.h"
#include "port/shared.h"
#include "port/themes.h"

void port_push_connected(lua_State *L, const struct event *event) {
  const struct reached *reached = (const struct reached *)event;
  if (reached->code[0] == '\0') return;
  port_set_string(L, "error", reached->error);
  port_set_string(L, "code", reached->code);
}

static int l_connect(lua_State *L) {
  const char *address = port_word(L, 1, "connect: address");
  double timeout = port_seconds(L, 2, "connect: timeout", PORT_SECONDS);
  struct reach_target target;
  if (!reach_parse(address, &target))
    return luaL_error(L, "connect: address: expected host:port or [address]:port, got \"%s\"",
                      address);
  uint64_t id = net_connect(port.loop, &port.handles, &target, timeout);
  if (id == 0) return luaL_error(L, "connect: out of memory");
  lua_pushnumber(L, (double)id);
  return 1;
}

static void push_address(lua_State *L, const struct net_address *address) {
  lua_createtable(L, 0, 6);
  port_set_string(L, "name", address->name);
  port_set_string(L, "family", address->six ? "inet6" : "inet");
  port_set_string(L, "address", address->address);
  port_set_number(L, "prefix", address->prefix);
  port_set_boolean(L, "loopback", address->loopback);
  port_set_boolean(L, "up", address->up);
}

static int l_addresses(lua_State *L) {
  int room = 0, count = 32;
  struct net_address *list = NULL;
  while (count > room) { /* again, when there are more than we had room for */
    room = count;
    list = lua_newuserdata(L, (size_t)room * sizeof *list);
    count = net_addresses(list, (size_t)room);
  }
  if (count < 0) return port_failure(L, errno, "cannot ask for our addresses");
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    push_address(L, &list[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int l_hostname(lua_State *L) {
  char name[HOST_NAME_MAX + 1] = "";
  (void)gethostname(name, sizeof name - 1);
  lua_pushstring(L, name);
  return 1;
}

static int l_cwd(lua_State *L) {
  char *path = getcwd(NULL, 0);
  if (path == NULL) return port_failure(L, errno, "cannot tell the working directory");
  lua_pushstring(L, path);
  free(path);
  return 1;
}

/* Of two variables with the same name the first one counts, as in getenv(). */
static int l_environ(lua_State *L) {
  int count = 0;
  while (environ[count]) count++;
  lua_createtable(L, 0, count);
  for (char **variable = environ; *variable; variable++) {
    const char *equals = strchr(*variable, '=');
    if (equals == NULL || equals == *variable) continue;
    lua_pushlstring(L, *variable, (size_t)(equals - *variable));
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    bool known = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (known) {
      lua_pop(L, 1);
      continue;
    }
    lua_pushstring(L, equals + 1);
    lua_rawset(L, -3);
  }
  return 1;
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

const luaL_Reg port_net_functions[] = {
    {"connect", l_connect},
    {"addresses", l_addresses},
    {"hostname", l_hostname},
    {"environ", l_environ},
    {"pid", l_pid},
    {"cwd", l_cwd},
    {NULL, NULL},
};
