/* The port: processes. What Lua gives is checked field by field and laid out for process/proc.c; all strings
 * are borrowed from the table that Lua holds on to while we work, and the arrays live in userdata,
 * so an error on the way leaks nothing. A plan is the same for many starts: it is userdata that holds on to all of
 * that itself. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "port/shared.h"
#include "port/themes.h"
#include "process/launch.h"
#include "process/notify.h"

/* --- events ------------------------------------------------------------------------------ */

static void push_stray(lua_State *L, const struct stray *stray) {
  lua_createtable(L, 0, 3);
  port_set_number(L, "pid", stray->child.pid);
  port_set_string(L, "name", stray->child.name);
  if (stray->by_name) port_set_boolean(L, "by_name", true);
}

/* Of so many only the first few are there. */
static void push_strays(lua_State *L, const struct stray *strays, unsigned count) {
  lua_createtable(L, PROC_STRAYS, 0);
  for (unsigned i = 0; i < count && i < PROC_STRAYS; i++) {
    push_stray(L, &strays[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

/* Of a start that is, or was, under way. */
void port_push_news(lua_State *L, const struct event *event) {
  const struct proc_news *news = (const struct proc_news *)event;
  char name[NAME_SIZE];
  if (event->type == EVENT_SPAWNED) {
    port_set_number(L, "pid", news->pid);
    return;
  }
  port_set_string(L, "stage", news->failure.stage);
  port_set_string(L, "message", news->failure.message);
  if (event->type == EVENT_SPAWN_FAILED)
    port_set_string(L, "code", error_name(news->failure.code, name));
  else
    port_set_number(L, "seconds", (double)(loop_now() - news->since) / (double)NANOSECONDS);
}

static void push_unfollowed(lua_State *L, const struct proc_exit *exit) {
  lua_createtable(L, 0, 3);
  port_set_string(L, "why", exit->unfollowed);
  if (exit->heir != 0) port_set_number(L, "pid", exit->heir);
  if (exit->by_notify) port_set_boolean(L, "notify", true);
  lua_setfield(L, -2, "unfollowed");
}

void port_push_exit(lua_State *L, const struct event *event) {
  const struct proc_exit *exit = (const struct proc_exit *)event;
  char name[NAME_SIZE];
  if (exit->signal != 0)
    port_set_string(L, "signal", signal_name(exit->signal, name));
  else
    port_set_number(L, "code", exit->code);
  static const char *const lacks[] = {NULL, "own", "around"};
  if (exit->lack != LACK_NONE) port_set_string(L, "oom", lacks[exit->lack]);
  if (exit->unfollowed) push_unfollowed(L, exit);
}

void port_push_main(lua_State *L, const struct event *event) {
  port_set_number(L, "pid", ((const struct proc_main *)event)->pid);
}

void port_push_group_gone(lua_State *L, const struct event *event) {
  const struct proc_gone *gone = (const struct proc_gone *)event;
  if (gone->ended > 0) port_set_number(L, "ended", gone->ended);
  if (gone->left == NULL) return;
  if (gone->left->first.child.pid != 0) {
    push_stray(L, &gone->left->first);
    lua_setfield(L, -2, "left");
    if (gone->leader->pid != 0) port_set_string(L, "name", gone->leader->name);
  }
  if (gone->count == 0) return;
  push_strays(L, gone->left->strays, gone->count);
  lua_setfield(L, -2, "strays");
  port_set_number(L, "count", gone->count);
}

void port_push_output(lua_State *L, const struct event *event) {
  const struct output_event *output = (const struct output_event *)event;
  port_set_string(L, "stream", output->stream);
  lua_pushlstring(L, output->data, output->size);
  lua_setfield(L, -2, "data");
  port_set_boolean(L, "last", output->last);
}

void port_push_notify(lua_State *L, const struct event *event) {
  const struct notify_event *notify = (const struct notify_event *)event;
  struct notify_field field;
  size_t at = 0;
  lua_createtable(L, 0, 4);
  while (notify_next(notify, &at, &field)) {
    lua_pushlstring(L, field.name, field.name_size);
    lua_pushlstring(L, field.value, field.value_size);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "fields");
}

/* --- argv and environment ---------------------------------------------------------------- */

/* The pointers point into strings that the table at `index` holds. */
static char **check_argv(lua_State *L, int index) {
  port_table(L, index, "spawn: argv");
  size_t count = lua_objlen(L, index);
  char **argv = lua_newuserdata(L, (count + 1) * sizeof *argv);
  char where[48];
  for (size_t i = 0; i < count; i++) {
    (void)snprintf(where, sizeof where, "spawn: argv[%zu]", i + 1);
    lua_rawgeti(L, index, (int)i + 1);
    argv[i] = (char *)port_word(L, -1, where);
    lua_pop(L, 1);
  }
  if (count == 0) luaL_error(L, "spawn: argv: it is empty");
  if (argv[0][0] == '\0') luaL_error(L, "spawn: argv[1]: it is empty");
  argv[count] = NULL;
  return argv;
}

/* How many bytes "NAME=value" takes. The name is below the value on the stack. */
static size_t check_variable(lua_State *L, const char *option) {
  char where[PORT_PATH];
  (void)snprintf(where, sizeof where, "spawn: %s: a name", option);
  if (lua_type(L, -2) != LUA_TSTRING) port_wrong(L, where, "a string", -2);
  const char *name = port_word(L, -2, where);
  if (name[0] == '\0' || strchr(name, '='))
    luaL_error(L, "spawn: %s: bad name \"%s\"", option, name);
  (void)snprintf(where, sizeof where, "spawn: %s.%s", option, name);
  return strlen(name) + strlen(port_word(L, -1, where)) + 2;
}

static char *put_variable(lua_State *L, char *at) {
  at = stpcpy(at, lua_tostring(L, -2));
  *at++ = '=';
  return stpcpy(at, lua_tostring(L, -1)) + 1;
}

/* The strings and the pointers to them in one piece of userdata, which stays on the stack. NULL: it is
 * not given. */
static char **check_env(lua_State *L, const char *option) {
  size_t count = 0, size = 0;
  char field[PORT_PATH];
  if (!port_field(L, 1, "spawn", option, field)) return NULL;
  int index = lua_gettop(L);
  port_table(L, index, field);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    size += check_variable(L, option);
    count++;
  }
  char **envp = lua_newuserdata(L, (count + 1) * sizeof *envp + size);
  char *at = (char *)(envp + count + 1);
  char **next = envp;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    *next++ = at;
    at = put_variable(L, at);
  }
  *next = NULL;
  return envp;
}

/* --- the smaller options ----------------------------------------------------------------- */

static struct identity check_identity(lua_State *L, int table, const char *name) {
  struct identity identity = {NULL, -1};
  char path[PORT_PATH];
  if (!port_field(L, table, "spawn", name, path)) return identity;
  if (lua_type(L, -1) == LUA_TNUMBER) {
    identity.number = port_integer(L, -1, path, 0, UINT32_MAX - 1.0);
  } else {
    if (lua_type(L, -1) != LUA_TSTRING) port_wrong(L, path, "a name or a number", -1);
    identity.name = port_word(L, -1, path);
    if (identity.name[0] == '\0') luaL_error(L, "%s: it is empty", path);
  }
  lua_pop(L, 1);
  return identity;
}

static int optional_signal(lua_State *L, int table, const char *name) {
  char path[PORT_PATH];
  if (!port_field(L, table, "spawn", name, path)) return SIGTERM;
  int number = port_signal(L, -1, path);
  lua_pop(L, 1);
  return number;
}

static rlim_t check_bound(lua_State *L, int index, int which, const char *where) {
  lua_rawgeti(L, index, which);
  double number = (double)port_integer(L, -1, where, -1, 9007199254740992.0);
  lua_pop(L, 1);
  return number < 0 ? RLIM_INFINITY : (rlim_t)number;
}

/* One { soft, hard } on the top of the stack, below it its name. */
static void check_limit(lua_State *L, struct spawn_options *options) {
  char where[PORT_PATH];
  if (lua_type(L, -2) != LUA_TSTRING) port_wrong(L, "spawn: limits: a name", "a string", -2);
  const char *name = lua_tostring(L, -2);
  (void)snprintf(where, sizeof where, "spawn: limits.%s", name);
  int resource = limit_number(name);
  if (resource < 0) luaL_error(L, "%s: there is no such limit", where);
  port_table(L, -1, where);
  struct launch_limit limit = {.resource = resource};
  limit.value.rlim_cur = check_bound(L, lua_gettop(L), 1, where);
  limit.value.rlim_max = check_bound(L, lua_gettop(L), 2, where);
  if (limit.value.rlim_cur > limit.value.rlim_max)
    luaL_error(L, "%s: the soft limit is above the hard one", where);
  options->limits[options->limit_count++] = limit; /* names are unique, so there is room for all */
}

static void check_limits(lua_State *L, int table, struct spawn_options *options) {
  char path[PORT_PATH];
  if (!port_field(L, table, "spawn", "limits", path)) return;
  port_table(L, -1, path);
  int limits = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, limits); lua_pop(L, 1)) check_limit(L, options);
  lua_pop(L, 1);
}

static const struct cgroup_options *check_cgroup(lua_State *L, int table,
                                                 struct cgroup_options *cgroup) {
  static const char *const names[] = {"name", "memory_max", "cpu_max", "pids_max", NULL};
  const char *where = "spawn: cgroup";
  char path[PORT_PATH];
  if (!port_field(L, table, "spawn", "cgroup", path)) return NULL;
  int fields = lua_gettop(L);
  port_options(L, fields, where, names);
  *cgroup = (struct cgroup_options){.name = port_optional_word(L, fields, where, "name")};
  if (cgroup->name == NULL) luaL_error(L, "spawn: cgroup: name: expected a string, got nil");
  cgroup->memory_max =
      (int64_t)port_optional_number(L, fields, where, "memory_max", 1, 9007199254740992.0, 0);
  cgroup->cpu_max = port_optional_number(L, fields, where, "cpu_max", 1e-6, 1e6, 0);
  cgroup->pids_max = (int64_t)port_optional_number(L, fields, where, "pids_max", 1, 1e9, 0);
  lua_pop(L, 1);
  return cgroup;
}

static bool check_parse(lua_State *L, int table, const char *where) {
  const char *word = port_optional_word(L, table, where, "parse");
  if (word && strcmp(word, "json") != 0)
    luaL_error(L, "%s.parse: expected \"json\", got \"%s\"", where, word);
  return word != NULL;
}

static const struct proc_output *check_output(lua_State *L, int table, struct proc_output *output) {
  static const char *const names[] = {"name", "raw",   "merge",      "level", "prefix",
                                      "file", "parse", "level_from", NULL};
  const char *where = "spawn: output";
  char path[PORT_PATH];
  if (!port_field(L, table, "spawn", "output", path)) return NULL;
  int fields = lua_gettop(L);
  port_options(L, fields, where, names);
  *output = (struct proc_output){
      .style.name = port_optional_word(L, fields, where, "name"),
      .style.level = port_optional_word(L, fields, where, "level"),
      .style.parse = check_parse(L, fields, where),
      .style.level_from = port_optional_word(L, fields, where, "level_from"),
      .style.prefix = port_optional_boolean(L, fields, where, "prefix", true),
      .raw = port_optional_boolean(L, fields, where, "raw", false),
      .merge = port_optional_boolean(L, fields, where, "merge", false),
      .file = port_optional_word(L, fields, where, "file"),
  };
  if (output->style.name == NULL) luaL_error(L, "spawn: output: name: expected a string, got nil");
  if (output->style.level == NULL) output->style.level = "info";
  if (output->raw && (output->merge || output->style.parse))
    luaL_error(L, "spawn: output: %s: raw output does not pass through the pilot",
               output->merge ? "merge" : "parse");
  lua_pop(L, 1);
  return output;
}

/* --- spawn ------------------------------------------------------------------------------- */

static const char *const spawn_names[] = {
    "argv",   "env",     "env_added",    "cwd",        "user",         "group",
    "umask",  "limits",  "cgroup",       "stdin",      "no_new_privs", "oom_score_adj",
    "output", "notify",  "capture",      "end_signal", "stop_signal",  "stop_timeout",
    "mark",   "pidfile", "leader_alone", "input",      NULL,
};

static void check_program(lua_State *L, struct spawn_options *options) {
  char path[PORT_PATH];
  if (!port_field(L, 1, "spawn", "argv", path))
    luaL_error(L, "spawn: argv: expected a table, got nil");
  options->argv = check_argv(L, lua_gettop(L)); /* it stays on the stack until the call returns */
  options->envp = check_env(L, "env");
  options->env_added = check_env(L, "env_added");
  options->cwd = port_optional_word(L, 1, "spawn", "cwd");
}

static void check_rights(lua_State *L, struct spawn_options *options) {
  char path[PORT_PATH];
  options->user = check_identity(L, 1, "user");
  options->group = check_identity(L, 1, "group");
  options->umask = -1;
  if (port_field(L, 1, "spawn", "umask", path))
    options->umask = (int)port_integer(L, -1, path, 0, 0777);
  options->no_new_privs = port_optional_boolean(L, 1, "spawn", "no_new_privs", false);
  options->has_oom_score_adj = port_field(L, 1, "spawn", "oom_score_adj", path);
  if (options->has_oom_score_adj)
    options->oom_score_adj = (int)port_integer(L, -1, path, -1000, 1000);
  check_limits(L, 1, options);
}

static void check_input(lua_State *L, struct proc_options *options) {
  char path[PORT_PATH];
  if (port_field(L, 1, "spawn", "stdin", path)) {
    options->text = port_bytes(L, -1, path, &options->text_size);
    options->input = PROC_TEXT;
  }
  const char *word = port_optional_word(L, 1, "spawn", "input");
  if (word == NULL) return;
  if (options->text) luaL_error(L, "spawn: input: there is a text for stdin");
  options->input = strcmp(word, "open") == 0 ? PROC_OPEN : PROC_INHERIT;
  if (options->input == PROC_INHERIT && strcmp(word, "inherit") != 0)
    luaL_error(L, "spawn: input: expected \"open\" or \"inherit\", got \"%s\"", word);
}

static void check_talk(lua_State *L, struct proc_options *options, struct proc_output *output) {
  check_input(L, options);
  options->output = check_output(L, 1, output);
  options->capture = port_optional_boolean(L, 1, "spawn", "capture", false);
  options->notify = port_optional_boolean(L, 1, "spawn", "notify", false);
  options->mark = port_optional_word(L, 1, "spawn", "mark");
  options->pidfile = port_optional_word(L, 1, "spawn", "pidfile");
  if (options->mark && strchr(options->mark, '=') == NULL)
    luaL_error(L, "spawn: mark: expected \"NAME=value\", got \"%s\"", options->mark);
  if (options->capture && options->output && options->output->raw)
    luaL_error(L, "spawn: capture: raw output does not pass through the pilot");
}

static void check_signals(lua_State *L, struct proc_options *options) {
  char path[PORT_PATH];
  options->end_signal = optional_signal(L, 1, "end_signal");
  options->stop_signal = optional_signal(L, 1, "stop_signal");
  options->grace = 10000;
  if (port_field(L, 1, "spawn", "stop_timeout", path))
    options->grace = (int)(port_seconds(L, -1, path, PORT_SECONDS) * 1000);
  options->leader_alone = port_optional_boolean(L, 1, "spawn", "leader_alone", false);
}

/* All that a start needs, checked. What it points to belongs to Lua. */
struct start {
  struct proc_options options;
  struct cgroup_options cgroup;
  struct proc_output output;
};

/* The options at 1; what holds the arrays stays on the stack. */
static void check_start(lua_State *L, struct start *start) {
  *start = (struct start){0};
  luaL_checkstack(L, 20, "spawn");
  port_options(L, 1, "spawn", spawn_names);
  check_program(L, &start->options.spawn);
  check_rights(L, &start->options.spawn);
  start->options.spawn.cgroup = check_cgroup(L, 1, &start->cgroup);
  check_talk(L, &start->options, &start->output);
  check_signals(L, &start->options);
}

/* --- plans ------------------------------------------------------------------------------- */

static const char plan_type[] = "luapilot.plan";

static bool is_plan(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return false;
  luaL_getmetatable(L, plan_type);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* In the place of the table on the top of the stack: it holds the same strings, whatever becomes of that one. */
static void copy_table(lua_State *L) {
  int from = lua_gettop(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, from); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_remove(L, from);
}

/* The options at 1, and those of their tables that strings are borrowed from. What is no table is complained of later. */
static void copy_options(lua_State *L) {
  static const char *const tables[] = {"argv", "output", "cgroup"};
  port_table(L, 1, "spawn");
  copy_table(L);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    lua_getfield(L, 1, tables[i]);
    if (lua_istable(L, -1)) copy_table(L);
    lua_setfield(L, 1, tables[i]);
  }
}

/* The plan's environment is a table of all that stands below it on the stack, the nils apart. */
static void hold_stack(lua_State *L) {
  int plan = lua_gettop(L);
  lua_createtable(L, plan, 0);
  for (int i = 1; i < plan; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, i);
  }
  (void)lua_setfenv(L, plan);
}

static int l_plan(lua_State *L) {
  struct start start;
  lua_settop(L, 1);
  copy_options(L);
  check_start(L, &start);
  struct start *plan = lua_newuserdata(L, sizeof *plan);
  *plan = start;
  if (start.options.spawn.cgroup) plan->options.spawn.cgroup = &plan->cgroup;
  if (start.options.output) plan->options.output = &plan->output;
  hold_stack(L);
  (void)luaL_newmetatable(L, plan_type);
  lua_setmetatable(L, -2);
  return 1;
}

/* --- the start --------------------------------------------------------------------------- */

static int spawn_failed(lua_State *L, const struct failure *failure) {
  (void)port_failed(L, failure);
  lua_pushstring(L, failure->stage);
  return 4;
}

/* By FFI a script can call what it likes; finalisers can even while the core is at work. */
static bool has_ffi(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(L, -1, "ffi");
  bool loaded = !lua_isnil(L, -1);
  lua_pop(L, 2);
  return loaded;
}

static int l_spawn(lua_State *L) {
  struct start checked, *start = &checked;
  struct failure failure = {0};
  pid_t pid;
  lua_settop(L, 1);
  if (is_plan(L, 1))
    start = lua_touserdata(L, 1);
  else
    check_start(L, start);
  if (has_ffi(L)) launch_distrust();
  uint64_t id = proc_spawn(port.procs, &start->options, &pid, &failure);
  if (id == 0) return spawn_failed(L, &failure);
  lua_pushnumber(L, (double)id);
  if (pid > 0)
    lua_pushinteger(L, pid);
  else
    lua_pushnil(L);
  return 2;
}

/* --- kill, capture, hold ----------------------------------------------------------------- */

static enum proc_target check_target(lua_State *L, int index) {
  const char *target = port_word(L, index, "kill: target");
  if (strcmp(target, "group") == 0) return PROC_GROUP;
  if (strcmp(target, "leader") == 0) return PROC_LEADER;
  return (enum proc_target)luaL_error(
      L, "kill: target: expected \"group\" or \"leader\", got \"%s\"", target);
}

static int l_kill(lua_State *L) {
  int number = port_signal(L, 2, "kill: signal");
  enum proc_target target = check_target(L, 3);
  struct handle *handle = port_handle(L, 1, "kill: id", HANDLE_PROC);
  if (handle == NULL) return 3;
  int code = proc_kill(proc_of(handle), number, target);
  if (code == 0) return port_done(L);
  return port_failure(L, code, "cannot send %s", lua_tostring(L, 2));
}

static int l_capture(lua_State *L) {
  bool on = port_boolean(L, 2, "capture: on");
  struct handle *handle = port_handle(L, 1, "capture: id", HANDLE_PROC);
  if (handle == NULL) return 3;
  int code = proc_capture(proc_of(handle), on);
  if (code == 0) return port_done(L);
  return port_failure(L, code,
                      code == EINVAL ? "cannot capture: its output is not read as lines"
                                     : "cannot capture: out of memory");
}

static int l_hold(lua_State *L) {
  bool on = port_boolean(L, 2, "hold: on");
  struct handle *handle = port_handle(L, 1, "hold: id", HANDLE_PROC);
  if (handle == NULL) return 3;
  int code = proc_hold(proc_of(handle), on);
  if (code == 0) return port_done(L);
  return port_failure(L, code, "cannot hold: its output is not captured");
}

static int l_successor(lua_State *L) {
  pid_t pid = (pid_t)port_integer(L, 2, "successor: pid", 0, INT32_MAX);
  struct handle *handle = port_handle(L, 1, "successor: id", HANDLE_PROC);
  if (handle == NULL) return 3;
  proc_successor(proc_of(handle), pid);
  return port_done(L);
}

static int l_strays(lua_State *L) {
  struct handle *handle = port_handle(L, 1, "strays: id", HANDLE_PROC);
  if (handle == NULL) return 3;
  struct stray strays[PROC_STRAYS];
  int count = proc_strays(proc_of(handle), strays);
  if (count < 0) return port_failure(L, EAGAIN, "cannot tell who was there before");
  push_strays(L, strays, (unsigned)count);
  return 1;
}

/* --- names of users and groups ----------------------------------------------------------- */

static int l_lookup(lua_State *L) {
  const char *kind = port_word(L, 1, "lookup: kind");
  bool group = strcmp(kind, "group") == 0;
  if (!group && strcmp(kind, "user") != 0)
    luaL_error(L, "lookup: kind: expected \"user\" or \"group\", got \"%s\"", kind);
  struct identity identity = {port_word(L, 2, "lookup: name"), -1};
  struct failure failure = {0};
  int64_t number = group ? account_group(identity, &failure) : account_user(identity, &failure);
  if (number >= 0) {
    lua_pushnumber(L, (double)number);
    return 1;
  }
  char name[NAME_SIZE];
  lua_pushnil(L);
  lua_pushstring(L, failure.message);
  lua_pushstring(L, error_name(failure.code, name));
  return 3;
}

const luaL_Reg port_proc_functions[] = {
    {"spawn", l_spawn},     {"plan", l_plan},           {"kill", l_kill},
    {"capture", l_capture}, {"hold", l_hold},           {"lookup", l_lookup},
    {"strays", l_strays},   {"successor", l_successor}, {NULL, NULL}};
