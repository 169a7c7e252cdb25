/* The port: what the pilot says, and where everything that is said goes. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/shared.h"
#include "port/themes.h"

#define FIELDS 64 /* in one message */
#define NUMBER 32 /* bytes that hold any */

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
  char numbers[FIELDS][NUMBER]; /* what numbers look like */
  size_t count;
};

/* As Lua writes it; but what would not be the same number any more, whole: an id of 18 digits is looked for. Most are
 * pids and counts, for which printf's way by floating point is long. */
static size_t write_number(char text[NUMBER], double number) {
  if (number >= 0 && number < 1e9 && number == (int)number)
    return (size_t)snprintf(text, NUMBER, "%d", (int)number);
  if (isnan(number)) return (size_t)snprintf(text, NUMBER, "nan"); /* its sign says nothing */
  int size = snprintf(text, NUMBER, "%.14g", number);
  bool is_whole = floor(number) == number && isfinite(number);
  if (is_whole && strtod(text, NULL) != number) size = snprintf(text, NUMBER, "%.17g", number);
  return (size_t)size;
}

/* The value on the top of the stack, below it the name. Strings stay where Lua has them. */
static void add_field(lua_State *L, struct fields *fields, bool said) {
  if (lua_type(L, -2) != LUA_TSTRING) port_wrong(L, "log: fields: a name", "a string", -2);
  if (fields->count == FIELDS) luaL_error(L, "log: fields: more than %d", FIELDS);
  struct log_field *field = &fields->list[fields->count];
  char *text = fields->numbers[fields->count];
  *field = (struct log_field){.name = lua_tostring(L, -2), .literal = true, .said = said};
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

static void add_fields(lua_State *L, int index, struct fields *fields, bool said) {
  if (lua_isnoneornil(L, index)) return;
  port_table(L, index, "log: fields");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) add_field(L, fields, said);
}

static void add_event(lua_State *L, int index, struct fields *fields) {
  if (lua_isnoneornil(L, index)) return;
  lua_pushliteral(L, "event");
  lua_pushstring(L, port_word(L, index, "log: event"));
  add_field(L, fields, true);
  lua_pop(L, 2);
}

/* A table has no order; people like the same one in every line. Of two of one name the one that is shown comes
 * first. */
static int by_name(const void *a, const void *b) {
  const struct log_field *one = a, *other = b;
  int order = strcmp(one->name, other->name);
  return order != 0 ? order : one->said - other->said;
}

/* No key comes twice. The job has a place of its own. */
static void settle_fields(struct log_message *message, struct fields *fields) {
  struct log_field *list = fields->list;
  size_t kept = 0;
  qsort(list, fields->count, sizeof *list, by_name);
  for (size_t i = 0; i < fields->count; i++) {
    bool again = kept > 0 && strcmp(list[kept - 1].name, list[i].name) == 0;
    if (!again && !(message->job && strcmp(list[i].name, "job") == 0)) list[kept++] = list[i];
  }
  message->fields = list;
  message->count = kept;
}

static int l_log(lua_State *L) {
  struct fields fields;
  struct log_message message = {0};
  fields.count = 0;
  lua_settop(L, 6);
  message.level = (enum log_level)check_choice(L, 1, "log: level", level_names);
  message.text = port_bytes(L, 2, "log: message", &message.size);
  if (!lua_isnil(L, 5)) message.job = port_word(L, 5, "log: job");
  add_fields(L, 3, &fields, false);
  add_event(L, 4, &fields);
  add_fields(L, 6, &fields, true);
  settle_fields(&message, &fields);
  output_log(port.output, &message);
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
  double seconds = port_seconds(L, 1, "flush: seconds", PORT_SECONDS);
  lua_pushnumber(L, (double)output_flush(port.output, seconds));
  return 1;
}

const luaL_Reg port_log_functions[] = {
    {"log", l_log}, {"logging", l_logging}, {"reopen", l_reopen}, {"flush", l_flush}, {NULL, NULL}};
