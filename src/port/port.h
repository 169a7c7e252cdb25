/* port: the boundary between the runtime and Lua.
 *
 * `require "luapilot.rt"` gives a table of functions: all that Lua knows of the world. They are
 * specified in lua/luapilot/port.lua; what is true there is made true here. The port files and
 * main.c are the only ones that know Lua; nothing on this side of them ever calls a Lua function.
 *
 * There is one runtime in a process, shared by every Lua state that opens the port: a reload loads the
 * new program in a new state, and the processes of the old one live on.
 *
 * The functions keep to these rules: check every argument first, allocate last, and never raise an
 * error while holding memory that only C knows. An expected failure returns nil, message, CODE; a
 * wrong argument raises and names the field. */
#ifndef LUAPILOT_PORT_PORT_H
#define LUAPILOT_PORT_PORT_H

struct guardian_page;
struct lua_State;

/* The guardian's page, before the port is opened for the first time. Without it (in specs) there is
 * no guardian. */
void port_guardian(struct guardian_page *page);

/* The module's opener, as Lua expects it. The first one starts the runtime. */
int luaopen_luapilot_rt(struct lua_State *L);

/* Ends the runtime: kills and reaps what is left, frees everything. The port may be opened anew
 * afterwards. */
void port_close(void);

/* For the end of this process, however that has come. Under a guardian it kills nobody and frees
 * nothing: what the jobs have said is written, as far as nobody holds that up, and whoever is left is
 * the guardian's, who knows how each is to be stopped. Without one it is port_close(). */
void port_leave(void);

#endif
