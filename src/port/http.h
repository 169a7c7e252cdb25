/* http: arguments of requests, which calls of Consul have, too. */
#ifndef LUAPILOT_PORT_HTTP_H
#define LUAPILOT_PORT_HTTP_H

#include <lua.h>

#include "http/options.h"

/* An address is a URL or the path of one. */
const char *port_method(lua_State *L, int table, const char *where);
const char *port_address(lua_State *L, int table, const char *where, const char *name);
const char *port_url(lua_State *L, int table, const char *where);
const char *port_socket(lua_State *L, int table, const char *where);
void port_tls(lua_State *L, int table, const char *caller, struct http_tls *tls);
/* A word that goes into a line of a head; NULL: nil. */
const char *port_value(lua_State *L, int table, const char *where, const char *name);

#endif
