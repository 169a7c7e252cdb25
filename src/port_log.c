/* The port: what the pilot says, and where everything that is said goes. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port_lua.h"

#define FIELDS 64 /* in one message */

/* --- messages ---------------------------------------------------------------------------- */

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};

static int check_choice(lua_State *L, int index, const char *where, const char *const *names) {
  const char *word = port_word(L, index, where);
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], word) == 0) return i;
  return luaL_error(L, "%s: unknown word \"%s\"", where, word);
}

struct fields {
  struct log_field list[FIELDS];
  char numbers[FIELDS][32]; /* what numbers look like */
  size_t count;
};

/* As Lua writes it; but what would not be the same number any more, whole: an id of 18 digits is looked for. */
static size_t write_number(char text[32], double number) {
  int size = snprintf(text, 32, "%.14g", number);
  bool is_whole = floor(number) == number && isfinite(number);
  if (is_whole && strtod(text, NULL) != number) size = snprintf(text, 32, "%.17g", number);
  return (size_t)size;
}

/* The value on the top of the stack, below it the name. Strings stay where Lua has them. */
static void add_field(lua_State *L, struct fields *fields) {
  if (lua_type(L, -2) != LUA_TSTRING) port_wrong(L, "log: fields: a name", "a string", -2);
  if (fields->count == FIELDS) luaL_error(L, "log: fields: more than %d", FIELDS);
  struct log_field *field = &fields->list[fields->count];
  char *text = fields->numbers[fields->count];
  *field = (struct log_field){.name = lua_tostring(L, -2), .literal = true};
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    field->value = lua_tolstring(L, -1, &field->size);
    field->literal = false;
    break;
  case LUA_TNUMBER:
    field->size = write_number(text, lua_tonumber(L, -1));
    field->value = text;
    field->literal = isfinite(lua_tonumber(L, -1)); /* JSON has no word for the others */
    break;
  case LUA_TBOOLEAN:
    field->value = lua_toboolean(L, -1) ? "true" : "false";
    field->size = strlen(field->value);
    break;
  default: port_wrong(L, "log: fields: a value", "a string, a number or a boolean", -1);
  }
  fields->count++;
}

/* A table has no order; people like the same one in every line. */
static int by_name(const void *a, const void *b) {
  return strcmp(((const struct log_field *)a)->name, ((const struct log_field *)b)->name);
}

static int l_log(lua_State *L) {
  enum log_level level = (enum log_level)check_choice(L, 1, "log: level", level_names);
  size_t size;
  const char *message = port_bytes(L, 2, "log: message", &size);
  if (lua_isnoneornil(L, 3)) {
    output_log(port.output, level, message, size, NULL, 0);
    return 0;
  }
  struct fields fields;
  fields.count = 0;
  port_table(L, 3, "log: fields");
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) add_field(L, &fields);
  qsort(fields.list, fields.count, sizeof *fields.list, by_name);
  output_log(port.output, level, message, size, fields.list, fields.count);
  return 0;
}

/* --- settings ---------------------------------------------------------------------------- */

static const char *check_place(lua_State *L, int table) {
  char path[PORT_PATH];
  if (!port_field(L, table, "logging", "output", path)) return NULL;
  const char *where = port_word(L, -1, path);
  if (where[0] != '/' && strcmp(where, "stdout") != 0 && strcmp(where, "stderr") != 0)
    luaL_error(L, "%s: expected \"stdout\", \"stderr\" or an absolute path, got \"%s\"", path,
               where);
  return where;
}

static int optional_choice(lua_State *L, const char *name, const char *const *names) {
  char path[PORT_PATH];
  return port_field(L, 1, "logging", name, path) ? check_choice(L, -1, path, names) : -1;
}

static int l_logging(lua_State *L) {
  static const char *const names[] = {"format", "output", "level", NULL};
  static const char *const formats[] = {"default", "text", "json", NULL};
  port_options(L, 1, "logging", names);
  const char *place = check_place(L, 1);
  int format = optional_choice(L, "format", formats);
  int level = optional_choice(L, "level", level_names);
  struct failure failure;
  if (place && output_redirect(port.output, place, &failure) != 0) return port_failed(L, &failure);
  if (format >= 0) output_format(port.output, (enum output_format)format);
  if (level >= 0) output_level(port.output, (enum log_level)level);
  return port_done(L);
}

static int l_reopen(lua_State *L) {
  (void)L;
  output_reopen(port.output);
  return 0;
}

static int l_flush(lua_State *L) {
  double seconds = port_number(L, 1, "flush: seconds", 0, 1e6);
  lua_pushnumber(L, (double)output_flush(port.output, seconds));
  return 1;
}

const luaL_Reg port_log_functions[] = {
    {"log", l_log}, {"logging", l_logging}, {"reopen", l_reopen}, {"flush", l_flush}, {NULL, NULL}};
