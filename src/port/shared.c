#include "port/shared.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"

struct port port;

/* --- arguments --------------------------------------------------------------------------- */

int port_wrong(lua_State *L, const char *where, const char *expected, int index) {
  return luaL_error(L, "%s: expected %s, got %s", where, expected, luaL_typename(L, index));
}

const char *port_bytes(lua_State *L, int index, const char *where, size_t *size) {
  if (lua_type(L, index) != LUA_TSTRING) port_wrong(L, where, "a string", index);
  return lua_tolstring(L, index, size);
}

const char *port_word(lua_State *L, int index, const char *where) {
  size_t size;
  const char *text = port_bytes(L, index, where, &size);
  if (strlen(text) != size) luaL_error(L, "%s: a NUL byte inside the string", where);
  return text;
}

double port_number(lua_State *L, int index, const char *where, double least, double most) {
  if (lua_type(L, index) != LUA_TNUMBER) port_wrong(L, where, "a number", index);
  double number = lua_tonumber(L, index);
  if (!(number >= least && number <= most)) /* false for NaN, too */
    luaL_error(L, "%s: expected a number from %f to %f, got %f", where, least, most, number);
  return number;
}

double port_seconds(lua_State *L, int index, const char *where, double most) {
  if (lua_type(L, index) != LUA_TNUMBER) port_wrong(L, where, "a number", index);
  double number = lua_tonumber(L, index);
  if (!(number >= 0 && number < HUGE_VAL))
    luaL_error(L, "%s: expected a number of seconds from 0 on, got %f", where, number);
  return number < most ? number : most;
}

int64_t port_integer(lua_State *L, int index, const char *where, double least, double most) {
  double number = port_number(L, index, where, least, most);
  if (number != floor(number)) luaL_error(L, "%s: expected a whole number, got %f", where, number);
  return (int64_t)number;
}

bool port_boolean(lua_State *L, int index, const char *where) {
  if (lua_type(L, index) != LUA_TBOOLEAN) port_wrong(L, where, "a boolean", index);
  return lua_toboolean(L, index);
}

void port_table(lua_State *L, int index, const char *where) {
  if (lua_type(L, index) != LUA_TTABLE) port_wrong(L, where, "a table", index);
}

int port_signal(lua_State *L, int index, const char *where) {
  const char *name = port_word(L, index, where);
  int number = signal_number(name);
  if (number == 0) luaL_error(L, "%s: there is no signal \"%s\"", where, name);
  return number;
}

static bool is_among(const char *name, const char *const *names) {
  for (; *names; names++)
    if (**names == *name && strcmp(*names, name) == 0) return true;
  return false;
}

void port_options(lua_State *L, int index, const char *where, const char *const *names) {
  port_table(L, index, where);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_error(L, "%s: fields have names, here one is a %s", where, luaL_typename(L, -2));
    if (!is_among(lua_tostring(L, -2), names))
      luaL_error(L, "%s: unknown field \"%s\"", where, lua_tostring(L, -2));
    lua_pop(L, 1);
  }
}

static char *append(char *at, const char *end, const char *text) {
  size_t size = strnlen(text, (size_t)(end - at));
  memcpy(at, text, size);
  return at + size;
}

/* For the fields that are there, and not by snprintf: a start has a dozen, and an error is rare. */
bool port_field(lua_State *L, int table, const char *where, const char *name,
                char path[PORT_PATH]) {
  lua_getfield(L, table, name);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  const char *end = path + PORT_PATH - 1;
  *append(append(append(path, end, where), end, ": "), end, name) = '\0';
  return true;
}

const char *port_optional_word(lua_State *L, int table, const char *where, const char *name) {
  char path[PORT_PATH];
  if (!port_field(L, table, where, name, path)) return NULL;
  const char *word = port_word(L, -1, path);
  lua_pop(L, 1);
  return word;
}

const char *port_optional_name(lua_State *L, int table, const char *where, const char *name) {
  const char *word = port_optional_word(L, table, where, name);
  if (word && word[0] == '\0') luaL_error(L, "%s: %s: it is empty", where, name);
  return word;
}

bool port_optional_boolean(lua_State *L, int table, const char *where, const char *name,
                           bool otherwise) {
  char path[PORT_PATH];
  if (!port_field(L, table, where, name, path)) return otherwise;
  bool value = port_boolean(L, -1, path);
  lua_pop(L, 1);
  return value;
}

double port_optional_number(lua_State *L, int table, const char *where, const char *name,
                            double least, double most, double otherwise) {
  char path[PORT_PATH];
  if (!port_field(L, table, where, name, path)) return otherwise;
  double number = port_number(L, -1, path, least, most);
  lua_pop(L, 1);
  return number;
}

double port_optional_seconds(lua_State *L, int table, const char *where, const char *name,
                             double otherwise) {
  char path[PORT_PATH];
  if (!port_field(L, table, where, name, path)) return otherwise;
  double seconds = port_seconds(L, -1, path, PORT_SECONDS);
  lua_pop(L, 1);
  return seconds;
}

/* --- results ----------------------------------------------------------------------------- */

int port_failure(lua_State *L, int code, const char *format, ...) {
  char message[1024], text[TEXT_SIZE], name[NAME_SIZE];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", message, error_text(code, text));
  lua_pushstring(L, error_name(code, name));
  return 3;
}

int port_failed(lua_State *L, const struct failure *failure) {
  char name[NAME_SIZE];
  lua_pushnil(L);
  lua_pushstring(L, failure->message);
  lua_pushstring(L, error_name(failure->code, name));
  return 3;
}

int port_begun(lua_State *L, uint64_t id, const struct failure *failure) {
  if (id != 0) {
    lua_pushnumber(L, (double)id);
    return 1;
  }
  return port_failed(L, failure);
}

int port_done(lua_State *L) {
  lua_pushboolean(L, true);
  return 1;
}

void port_set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void port_set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

void port_set_boolean(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

struct handle *port_handle(lua_State *L, int index, const char *where, int kind) {
  int64_t id = port_integer(L, index, where, 0, 9007199254740992.0);
  struct handle *handle = handle_find(&port.handles, (uint64_t)id);
  if (handle && (kind == ANY_HANDLE || (int)handle->kind == kind)) return handle;
  lua_pushnil(L);
  lua_pushfstring(L, "%s: there is no such handle (any more): %d", where, (int)id);
  lua_pushliteral(L, "EBADF");
  return NULL;
}
