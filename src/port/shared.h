/* shared: what the port's files share: the one runtime, arguments, results.
 *
 * An error message about an argument names the function, the field and what was found there:
 * `spawn: argv[2]: expected a string, got nil`. Where a field's name is computed it is written into
 * a buffer by the caller; the functions here never keep it. */
#ifndef LUAPILOT_PORT_SHARED_H
#define LUAPILOT_PORT_SHARED_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "consul/consul.h"
#include "guardian/page.h"
#include "http/http.h"
#include "loop/handle.h"
#include "loop/loop.h"
#include "output/output.h"
#include "process/proc.h"

struct port {
  struct loop *loop; /* NULL = not open */
  struct handle_table handles;
  struct output *output;
  struct procs *procs;
  struct http *http;
  struct consul *consul;
  struct guardian_page *page; /* not owned; NULL = no guardian */
  struct buffer scratch; /* what a function reads before it becomes a Lua string: it stays ours,
                                 so that nothing leaks when Lua has no memory for the string */
};

extern struct port port;

/* --- arguments: they raise --- */

/* `where`: the function and the field, as in "spawn: argv[2]". */
int port_wrong(lua_State *L, const char *where, const char *expected, int index);
/* A string without NUL bytes at `index`: what C can take for a word or a path. */
const char *port_word(lua_State *L, int index, const char *where);
/* Any bytes. */
const char *port_bytes(lua_State *L, int index, const char *where, size_t *size);
/* A finite number between `least` and `most`. */
double port_number(lua_State *L, int index, const char *where, double least, double most);
/* A length of time: what is longer than `most` counts as that, since nobody waits for the difference. */
#define PORT_SECONDS 1e6
double port_seconds(lua_State *L, int index, const char *where, double most);
/* A whole one. */
int64_t port_integer(lua_State *L, int index, const char *where, double least, double most);
bool port_boolean(lua_State *L, int index, const char *where);
void port_table(lua_State *L, int index, const char *where);
/* "SIGTERM" → 15. */
int port_signal(lua_State *L, int index, const char *where);

/* The options of one function: a table whose fields are all among `names` (NULL ends them). */
void port_options(lua_State *L, int index, const char *where, const char *const *names);
#define PORT_PATH 96
/* Pushes the field `name`, and `path` becomes "where: name". False, and neither: it is nil. */
bool port_field(lua_State *L, int table, const char *where, const char *name, char path[PORT_PATH]);

/* Fields that may be missing. A word; one that is not empty; NULL: nil. */
const char *port_optional_word(lua_State *L, int table, const char *where, const char *name);
const char *port_optional_name(lua_State *L, int table, const char *where, const char *name);
bool port_optional_boolean(lua_State *L, int table, const char *where, const char *name,
                           bool otherwise);
double port_optional_number(lua_State *L, int table, const char *where, const char *name,
                            double least, double most, double otherwise);
double port_optional_seconds(lua_State *L, int table, const char *where, const char *name,
                             double otherwise);

/* --- results --- */

/* nil, message, CODE. The message is `format`, followed by ": " and the text of the code. */
int port_failure(lua_State *L, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* nil, message, CODE of a failure that was told in C. */
int port_failed(lua_State *L, const struct failure *failure);
/* The handle of what has begun; 0: nil, message, CODE of `failure`. */
int port_begun(lua_State *L, uint64_t id, const struct failure *failure);
/* true */
int port_done(lua_State *L);
void port_set_string(lua_State *L, const char *name, const char *value);
void port_set_number(lua_State *L, const char *name, double value);
void port_set_boolean(lua_State *L, const char *name, bool value);

/* The handle that the number at `index` names. NULL: it is stale, or of another kind (when `kind` is
 * not ANY_HANDLE), and nil, message, "EBADF" has been pushed: return 3. */
#define ANY_HANDLE (-1)
struct handle *port_handle(lua_State *L, int index, const char *where, int kind);

#endif
