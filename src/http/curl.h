/* curl: libcurl, loaded when somebody asks for something by HTTP, and not before.
 *
 * Most of its price is paid on loading: some thirty libraries, and TLS that is set up even for plain
 * http. A pilot that never speaks HTTP pays nothing of that, and does not even need the library. So it
 * is not linked; its functions are looked up by name, once, and their types come from its header. The
 * pages that loading has touched are given back, as far as nobody has written to them.
 *
 * It owns the table below and is never unloaded: TLS libraries do not survive that. */
#ifndef LUAPILOT_HTTP_CURL_H
#define LUAPILOT_HTTP_CURL_H

#include <curl/curl.h>

#include "base/names.h"

struct curl_functions {
  __typeof__(curl_global_init) *global_init;
  __typeof__(curl_slist_append) *slist_append;
  __typeof__(curl_slist_free_all) *slist_free_all;
  __typeof__(curl_easy_init) *easy_init;
  __typeof__(curl_easy_setopt) *easy_setopt;
  __typeof__(curl_easy_getinfo) *easy_getinfo;
  __typeof__(curl_easy_pause) *easy_pause;
  __typeof__(curl_easy_strerror) *easy_strerror;
  __typeof__(curl_easy_cleanup) *easy_cleanup;
  __typeof__(curl_multi_init) *multi_init;
  __typeof__(curl_multi_setopt) *multi_setopt;
  __typeof__(curl_multi_add_handle) *multi_add_handle;
  __typeof__(curl_multi_remove_handle) *multi_remove_handle;
  __typeof__(curl_multi_socket_action) *multi_socket_action;
  __typeof__(curl_multi_assign) *multi_assign;
  __typeof__(curl_multi_info_read) *multi_info_read;
  __typeof__(curl_multi_cleanup) *multi_cleanup;
};

/* All NULL until http_curl_load() has returned 0. */
extern struct curl_functions curl;

/* Loads and initialises the library; costs nothing the second time. Returns 0, or -1 with `failure`:
 * ENOSYS and what to install. A failure is tried anew the next time. */
int http_curl_load(struct failure *failure);

#endif
