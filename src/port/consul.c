/* The port: the Consul agent, calls to it, and watches of what it knows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "consul/consul.h"
#include "consul/watch.h"
#include "port/http.h"
#include "port/shared.h"
#include "port/themes.h"

#define CONNECTIONS                                                                                \
  150 /* an agent allows 200 to one client, and we are not the only one on its host */
#define WATCH_BODY 67108864.0
#define WAIT 60 /* seconds: who has nothing but watches notices in this time that the agent hangs */

/* --- the event --------------------------------------------------------------------------- */

void port_push_watch(lua_State *L, const struct event *event) {
  const struct consul_watched *watched = (const struct consul_watched *)event;
  if (watched->status != 0) port_set_number(L, "status", watched->status);
  if (watched->code[0] != '\0') {
    port_set_string(L, "error", watched->error);
    port_set_string(L, "code", watched->code);
    return;
  }
  char index[24];
  (void)snprintf(index, sizeof index, "%" PRIu64, watched->index);
  port_set_string(L, "index", index);
  const char *body = buffer_front(&watched->body);
  lua_pushlstring(L, body ? body : "", buffer_size(&watched->body));
  lua_setfield(L, -2, "body");
}

/* --- arguments --------------------------------------------------------------------------- */

static const char *check_path(lua_State *L, const char *where) {
  const char *path = port_address(L, 1, where, "path");
  if (path[0] != '/') luaL_error(L, "%s: path: expected /v1/…, got \"%s\"", where, path);
  return path;
}

/* "user:password"; a password may be empty, a user's name has no colon. */
static const char *check_auth(lua_State *L) {
  const char *auth = port_value(L, 1, "agent", "auth");
  if (auth && !strchr(auth, ':')) luaL_error(L, "agent: auth: expected \"user:password\"");
  return auth;
}

/* --- the calls --------------------------------------------------------------------------- */

static int l_agent(lua_State *L) {
  static const char *const names[] = {"url", "socket",          "token", "auth",
                                      "tls", "max_connections", NULL};
  struct consul_agent agent = {0};
  lua_settop(L, 1);
  luaL_checkstack(L, 16, "agent");
  port_options(L, 1, "agent", names);
  agent.url = port_url(L, 1, "agent");
  agent.socket = port_socket(L, 1, "agent");
  agent.token = port_value(L, 1, "agent", "token");
  agent.auth = check_auth(L);
  agent.max_connections =
      (unsigned)port_optional_number(L, 1, "agent", "max_connections", 1, 1e6, CONNECTIONS);
  port_tls(L, 1, "agent", &agent.tls);
  if (consul_agent(port.consul, &agent) != 0) return luaL_error(L, "agent: out of memory");
  return 0;
}

static int l_consul(lua_State *L) {
  static const char *const names[] = {"method",  "path",     "body", "token",
                                      "timeout", "max_body", NULL};
  struct consul_options options = {0};
  struct failure failure = {0};
  char path[PORT_PATH];
  lua_settop(L, 1);
  luaL_checkstack(L, 16, "consul");
  port_options(L, 1, "consul", names);
  options.method = port_method(L, 1, "consul");
  options.path = check_path(L, "consul");
  options.token = port_value(L, 1, "consul", "token");
  if (port_field(L, 1, "consul", "body", path))
    options.body = port_bytes(L, -1, path, &options.body_size);
  options.timeout = port_optional_seconds(L, 1, "consul", "timeout", 0);
  options.max_body = (size_t)port_optional_number(L, 1, "consul", "max_body", 0, 1e15, 1e15);
  return port_begun(L, consul_call(port.consul, &options, &failure), &failure);
}

static int l_watch(lua_State *L) {
  static const char *const names[] = {"path", "token", "wait", "max_body", "cached", NULL};
  struct consul_watch_options options = {0};
  struct failure failure = {0};
  lua_settop(L, 1);
  luaL_checkstack(L, 16, "watch");
  port_options(L, 1, "watch", names);
  options.path = check_path(L, "watch");
  options.token = port_value(L, 1, "watch", "token");
  options.wait = port_optional_number(L, 1, "watch", "wait", 0.001, CONSUL_WAIT_MOST, WAIT);
  options.max_body = (size_t)port_optional_number(L, 1, "watch", "max_body", 0, 1e15, WATCH_BODY);
  options.cached = port_optional_boolean(L, 1, "watch", "cached", false);
  return port_begun(L, consul_watch(port.consul, &options, &failure), &failure);
}

static int l_unchanged(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "unchanged: id", HANDLE_CONSUL);
  if (handle == NULL) return 3;
  int code = consul_watch_unchanged(handle);
  if (code == 0) return port_done(L);
  return port_failure(L, code, "unchanged: it is no watch");
}

const luaL_Reg port_consul_functions[] = {{"agent", l_agent},
                                          {"consul", l_consul},
                                          {"watch", l_watch},
                                          {"unchanged", l_unchanged},
                                          {NULL, NULL}};
