/* core: any bytes for a part of the Lua core, under libFuzzer.
 *
 * Which part, and what it must do with them, is in a script, SCRIPT: a chunk that returns a function of the input,
 * which returns what is wrong or nil. One Lua state serves a thousand inputs. This file brings the input there,
 * bounds memory, and tells libFuzzer which lines of the core ran: LuaJIT's code is not instrumented, so
 * a hook counts lines. The runtime sets a hook, too (port/contain.c); Lua has one, so ours stands
 * before it (--wrap=lua_sethook) and hands on what was not for us.
 *
 * The mutator knows what a token and what a line is, or nearly all inputs would end at the first
 * syntax error. */
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/port.h"

#define LOADS 1000                         /* with one state */
#define MEMORY ((size_t)192 * 1024 * 1024) /* of Lua, where a container has its limit */
#define COUNTERS (1 << 15)

/* --- which lines of the core ran --------------------------------------------------------- */

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static struct {
  lua_Hook hook;
  int mask;
} theirs;

int __real_lua_sethook(lua_State *L, lua_Hook hook, int mask, int count);
int __wrap_lua_sethook(lua_State *L, lua_Hook hook, int mask, int count);

/* Of the name of one of the core's files; 0: it is another's. The name is often that of the line before. */
static unsigned hash_of(const char *source) {
  static char known[64];
  static unsigned hash;
  if (strncmp(source, known, sizeof known) == 0) return hash;
  (void)strncpy(known, source, sizeof known - 1);
  hash = 0;
  if (strncmp(source, "@lua/", 5) == 0)
    while (*source) hash = hash * 31 + (unsigned char)*source++;
  return hash;
}

static void count_line(lua_State *L, lua_Debug *activation) {
  static unsigned before;
  (void)lua_getinfo(L, "S", activation);
  unsigned hash = hash_of(activation->source);
  if (hash == 0) return;
  unsigned here = hash + (unsigned)activation->currentline * 2654435761U;
  uint8_t *counter = &counters[(here ^ before >> 1) % COUNTERS];
  if (*counter < UINT8_MAX) ++*counter;
  before = here;
}

static void on_hook(lua_State *L, lua_Debug *activation) {
  if (activation->event == LUA_HOOKLINE) {
    count_line(L, activation);
  } else if (theirs.hook) {
    theirs.hook(L, activation);
  }
}

/* Called in a signal handler, too. */
int __wrap_lua_sethook(lua_State *L, lua_Hook hook, int mask, int count) {
  theirs.hook = hook;
  theirs.mask = mask;
  return __real_lua_sethook(L, on_hook, mask | LUA_MASKLINE, count);
}

/* --- the state --------------------------------------------------------------------------- */

static lua_State *state;
static int loads;
static size_t in_use;

/* As in a container: what is too much is refused, and Lua raises. */
static void *allocate(void *context, void *old, size_t old_size, size_t size) {
  (void)context;
  if (size == 0) {
    in_use -= old_size;
    free(old);
    return NULL;
  }
  if (size > old_size && in_use - old_size + size > MEMORY) return NULL;
  void *memory = realloc(old, size);
  if (memory) in_use += size - old_size;
  return memory;
}

static _Noreturn void die(const char *what) {
  (void)fprintf(stderr, "%s\n", what);
  abort();
}

static void open_state(void) {
  state = lua_newstate(allocate, NULL);
  if (state == NULL) die("no Lua state");
  luaL_openlibs(state);
  (void)luaJIT_setmode(state, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  lua_getglobal(state, "package");
  lua_getfield(state, -1, "preload");
  lua_pushcfunction(state, luaopen_luapilot_rt);
  lua_setfield(state, -2, "luapilot.rt");
  lua_settop(state, 0);
  if (luaL_dofile(state, SCRIPT) != 0) die(lua_tostring(state, -1));
  (void)lua_sethook(state, NULL, 0, 0);
  loads = 0;
}

static void close_state(void) {
  if (state == NULL) return;
  port_close();
  lua_close(state);
  state = NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  (void)atexit(close_state);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (loads++ == LOADS) close_state();
  if (state == NULL) open_state();
  lua_pushvalue(state, 1);
  lua_pushlstring(state, (const char *)data, size);
  if (lua_pcall(state, 1, 1, 0) != 0 || !lua_isnil(state, -1)) {
    const char *problem = lua_tostring(state, -1);
    (void)fprintf(stderr, "--- the file:\n%.*s\n--- the problem:\n", (int)size, (const char *)data);
    die(problem ? problem : "an error that is no string");
  }
  lua_settop(state, 1);
  return 0;
}

/* --- the mutator ------------------------------------------------------------------------- */

#define PIECES 4096

struct pieces {
  size_t starts[PIECES + 1]; /* the last: the end of the text */
  size_t count;
};

static bool is_word(uint8_t byte) {
  uint8_t letter = (byte | 32) - 'a', digit = byte - '0';
  return byte == '_' || letter < 26 || digit < 10 || byte >= 0x80;
}

static bool is_blank(uint8_t byte) {
  return byte == ' ' || byte == '\n' || byte == '\t';
}

static size_t token_end(const uint8_t *data, size_t size, size_t at) {
  uint8_t first = data[at++];
  if (first == '"' || first == '\'') {
    while (at < size && data[at] != first && data[at] != '\n') at += 1 + (data[at] == '\\');
    return at < size ? at + 1 : size;
  }
  while (at < size &&
         ((is_word(first) && is_word(data[at])) || (is_blank(first) && is_blank(data[at]))))
    at++;
  return at;
}

static size_t line_end(const uint8_t *data, size_t size, size_t at) {
  const uint8_t *newline = memchr(data + at, '\n', size - at);
  return newline ? (size_t)(newline - data) + 1 : size;
}

static void cut(struct pieces *pieces, const uint8_t *data, size_t size, bool lines) {
  size_t at = 0;
  for (pieces->count = 0; at < size && pieces->count < PIECES; pieces->count++) {
    pieces->starts[pieces->count] = at;
    at = lines ? line_end(data, size, at) : token_end(data, size, at);
  }
  pieces->starts[pieces->count] = size;
}

static uint32_t random_state;

static size_t below(size_t bound) {
  random_state = random_state * 1664525U + 1013904223U;
  return bound ? (random_state >> 8) % bound : 0;
}

struct text {
  uint8_t *data;
  size_t size, most;
};

/* Puts `with` in the place of [from, to). Does nothing when it does not fit. */
static void replace(struct text *text, size_t from, size_t to, const uint8_t *with, size_t size) {
  if (text->size - (to - from) + size > text->most) return;
  memmove(text->data + from + size, text->data + to, text->size - to);
  if (size > 0) memcpy(text->data + from, with, size);
  text->size += size - (to - from);
}

static void change(struct text *text) {
  static struct pieces pieces;
  static uint8_t held[2][1 << 16];
  cut(&pieces, text->data, text->size, below(3) == 0);
  if (pieces.count == 0) return;
  size_t i = below(pieces.count), j = below(pieces.count), *starts = pieces.starts;
  size_t length = 1 + below(below(4) == 0 ? 12 : 2);
  size_t last = i + length < pieces.count ? i + length : pieces.count;
  size_t size = starts[last] - starts[i], other = starts[j + 1] - starts[j];
  if (size > sizeof held[0] || other > sizeof held[1]) return;
  memcpy(held[0], text->data + starts[i], size);
  memcpy(held[1], text->data + starts[j], other);
  switch (below(6)) {
  case 0: replace(text, starts[i], starts[last], NULL, 0); break;
  case 1: replace(text, starts[j], starts[j], held[0], size); break;
  case 2: replace(text, starts[i], starts[last], held[1], other); break;
  case 3: /* the two change places */
    if (i >= j || last > j) break;
    replace(text, starts[j], starts[j + 1], held[0], size);
    replace(text, starts[i], starts[last], held[1], other);
    break;
  default: /* one token becomes another, or a word of the dictionary */
    size = starts[i + 1] - starts[i];
    size = LLVMFuzzerMutate(held[0], size, size + 64 < sizeof held[0] ? size + 64 : sizeof held[0]);
    replace(text, starts[i], starts[i + 1], held[0], size);
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  struct text text = {data, size, most};
  random_state = seed;
  if (size == 0 || below(8) == 0) return LLVMFuzzerMutate(data, size, most);
  for (size_t times = 1 + below(3); times > 0; times--) change(&text);
  return text.size;
}
