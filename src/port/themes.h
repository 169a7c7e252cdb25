/* themes: what each theme of the port gives: its functions, and how its events become tables. Lua gets them through
 * port/port.c and port/wait.c, the only ones that know all themes. */
#ifndef LUAPILOT_PORT_THEMES_H
#define LUAPILOT_PORT_THEMES_H

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#include "loop/loop.h"

/* --- events: each adds its fields to the table on the top of the stack, which has type and id --- */

void port_push_news(lua_State *L, const struct event *event);
void port_push_exit(lua_State *L, const struct event *event);
void port_push_main(lua_State *L, const struct event *event);
void port_push_group_gone(lua_State *L, const struct event *event);
void port_push_output(lua_State *L, const struct event *event);
void port_push_notify(lua_State *L, const struct event *event);
void port_push_connected(lua_State *L, const struct event *event);
void port_push_ready(lua_State *L, const struct event *event);
void port_push_response(lua_State *L, const struct event *event);
void port_push_watch(lua_State *L, const struct event *event);

/* --- the functions, by theme --- */

extern const luaL_Reg port_wait_functions[];
extern const luaL_Reg port_proc_functions[];
extern const luaL_Reg port_file_functions[];
extern const luaL_Reg port_net_functions[];
extern const luaL_Reg port_connection_functions[];
extern const luaL_Reg port_http_functions[];
extern const luaL_Reg port_consul_functions[];
extern const luaL_Reg port_log_functions[];
extern const luaL_Reg port_contain_functions[];
extern const luaL_Reg port_stack_functions[];

/* Ends the signals of port/wait.c. */
void port_wait_close(void);
/* The functions of Lua that could exhaust the stack of C look at it from now on. */
void port_stack_open(lua_State *L);
/* From this loop_now() time on stretches of user code must be short. */
void port_contain_hurry(int64_t from);
/* Ends the ticks and the hook of port/contain.c. */
void port_contain_close(void);

#endif
