/* The port: requests by HTTP. What Lua gives is checked field by field and borrowed from its table
 * while we work; what does not fit there, lines of headers, lives in Lua strings on the stack. */
#include "port/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/names.h"
#include "http/http.h"
#include "port/shared.h"
#include "port/themes.h"

/* --- the event --------------------------------------------------------------------------- */

/* Of a name that comes again, the values in order, with commas. */
static void add_header(lua_State *L, const struct http_header *header) {
  lua_pushlstring(L, header->name, header->name_size);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushlstring(L, header->value, header->value_size);
  } else {
    lua_pushliteral(L, ", ");
    lua_pushlstring(L, header->value, header->value_size);
    lua_concat(L, 3);
  }
  lua_rawset(L, -3);
}

static void push_headers(lua_State *L, const struct buffer *head) {
  struct http_header header;
  lua_newtable(L);
  for (size_t place = 0; http_header(head, &place, &header);) add_header(L, &header);
}

void port_push_response(lua_State *L, const struct event *event) {
  const struct http_response *response = (const struct http_response *)event;
  if (response->code[0] != '\0') {
    port_set_string(L, "error", response->error);
    port_set_string(L, "code", response->code);
    return;
  }
  if (response->status != 0) {
    port_set_number(L, "status", response->status);
    push_headers(L, &response->head);
    lua_setfield(L, -2, "headers");
  }
  const char *body = buffer_front(&response->body);
  lua_pushlstring(L, body ? body : "", buffer_size(&response->body));
  lua_setfield(L, -2, response->stream ? "chunk" : "body");
  if (response->stream) port_set_boolean(L, "last", response->last);
}

/* --- arguments --------------------------------------------------------------------------- */

/* RFC 9110's token. */
static bool is_token(const char *text) {
  for (const char *c = text; *c; c++)
    if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c)) return false;
  return text[0] != '\0';
}

const char *port_method(lua_State *L, int table, const char *where) {
  const char *method = port_optional_name(L, table, where, "method");
  if (method == NULL) return "GET";
  if (!is_token(method)) luaL_error(L, "%s: method: no method: \"%s\"", where, method);
  return method;
}

static bool is_http(const char *url) {
  return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

const char *port_address(lua_State *L, int table, const char *where, const char *name) {
  const char *text = port_optional_name(L, table, where, name);
  if (text == NULL) luaL_error(L, "%s: %s: expected a string, got nil", where, name);
  for (const char *c = text; c && *c; c++)
    if ((unsigned char)*c <= ' ' || *c == 0x7f)
      luaL_error(L, "%s: %s: a space or a control character inside", where, name);
  return text;
}

const char *port_url(lua_State *L, int table, const char *where) {
  const char *url = port_address(L, table, where, "url");
  if (!is_http(url)) luaL_error(L, "%s: url: expected http:// or https://, got \"%s\"", where, url);
  return url;
}

/* One name and value on the top of the stack becomes a line in their place. */
static const char *check_header(lua_State *L) {
  char where[PORT_PATH];
  if (lua_type(L, -2) != LUA_TSTRING) port_wrong(L, "request: headers: a name", "a string", -2);
  const char *name = port_word(L, -2, "request: headers: a name");
  if (!is_token(name)) luaL_error(L, "request: headers: bad name \"%s\"", name);
  (void)snprintf(where, sizeof where, "request: headers.%s", name);
  const char *value = port_word(L, -1, where);
  if (strpbrk(value, "\r\n")) luaL_error(L, "%s: a line break inside the value", where);
  if (value[0] == '\0') return lua_pushfstring(L, "%s;", name);
  return lua_pushfstring(L, "%s: %s", name, value);
}

/* The lines are kept by a table, that and the list of them by the stack. */
static const char *const *check_headers(lua_State *L) {
  char path[PORT_PATH];
  if (!port_field(L, 1, "request", "headers", path)) return NULL;
  port_table(L, -1, path);
  int headers = lua_gettop(L), count = 0;
  for (lua_pushnil(L); lua_next(L, headers); lua_pop(L, 1)) count++;
  const char **lines = lua_newuserdata(L, ((size_t)count + 1) * sizeof *lines);
  lua_createtable(L, count, 0);
  int keeper = lua_gettop(L);
  count = 0;
  for (lua_pushnil(L); lua_next(L, headers); lua_pop(L, 1)) {
    lines[count++] = check_header(L);
    lua_rawseti(L, keeper, count);
  }
  lines[count] = NULL;
  return lines;
}

void port_tls(lua_State *L, int table, const char *caller, struct http_tls *tls) {
  static const char *const names[] = {"cafile",     "capath", "clientcert", "clientkey",
                                      "servername", "verify", NULL};
  char where[PORT_PATH];
  if (!port_field(L, table, caller, "tls", where)) return;
  int fields = lua_gettop(L);
  port_options(L, fields, where, names);
  *tls = (struct http_tls){
      .cafile = port_optional_name(L, fields, where, "cafile"),
      .capath = port_optional_name(L, fields, where, "capath"),
      .clientcert = port_optional_name(L, fields, where, "clientcert"),
      .clientkey = port_optional_name(L, fields, where, "clientkey"),
      .servername = port_optional_name(L, fields, where, "servername"),
      .unverified = !port_optional_boolean(L, fields, where, "verify", true),
  };
}

const char *port_value(lua_State *L, int table, const char *where, const char *name) {
  const char *value = port_optional_name(L, table, where, name);
  if (value && strpbrk(value, "\r\n"))
    luaL_error(L, "%s: %s: a line break inside the value", where, name);
  return value;
}

const char *port_socket(lua_State *L, int table, const char *where) {
  const char *path = port_optional_name(L, table, where, "socket");
  if (path && strlen(path) > HTTP_SOCKET)
    luaL_error(L, "%s: socket: longer than %d bytes", where, HTTP_SOCKET);
  return path;
}

/* --- the calls --------------------------------------------------------------------------- */

static const char *const request_names[] = {
    "method", "url",    "headers", "body",     "timeout", "socket", "proxy",
    "tls",    "stream", "fresh",   "max_body", "cut",     NULL,
};

static int l_request(lua_State *L) {
  struct http_options options = {0};
  char path[PORT_PATH];
  lua_settop(L, 1);
  luaL_checkstack(L, 16, "request");
  port_options(L, 1, "request", request_names);
  options.method = port_method(L, 1, "request");
  options.url = port_url(L, 1, "request");
  options.headers = check_headers(L);
  if (port_field(L, 1, "request", "body", path))
    options.body = port_bytes(L, -1, path, &options.body_size);
  options.timeout = port_optional_seconds(L, 1, "request", "timeout", 0);
  options.max_body = (size_t)port_optional_number(L, 1, "request", "max_body", 0, 1e15, 1e15);
  options.socket = port_socket(L, 1, "request");
  options.proxy = port_optional_name(L, 1, "request", "proxy");
  port_tls(L, 1, "request", &options.tls);
  options.stream = port_optional_boolean(L, 1, "request", "stream", false);
  options.fresh = port_optional_boolean(L, 1, "request", "fresh", false);
  options.once = strcmp(options.method, "POST") == 0 || strcmp(options.method, "PATCH") == 0;
  options.cut = port_optional_boolean(L, 1, "request", "cut", false);
  struct failure failure = {0};
  return port_begun(L, http_request(port.http, &options, &failure), &failure);
}

static int l_more(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "more: id", HANDLE_HTTP);
  if (handle == NULL) return 3;
  int code = http_more(handle);
  if (code == 0) return port_done(L);
  return port_failure(L, code, "more: it is no stream");
}

const luaL_Reg port_http_functions[] = {{"request", l_request}, {"more", l_more}, {NULL, NULL}};
