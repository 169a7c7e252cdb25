/* http: requests to others: what goes out, what comes back, and when Lua hears of it.
 *
 *   whole     one event, when the answer is complete, or an error
 *   stream    an event with status and headers as soon as they are there, then the body, one chunk for
 *             each http_more(), so that memory stays bounded however large it is
 *
 * Redirects are answers like any other: whoever wants to follow one sends another request, and decides
 * what to say to a stranger. The same goes for proxies: the environment is never asked.
 *
 * Everything is bounded: the time (`timeout`: of a stream, until its head is there), the head (HTTP_HEAD), the body
 * (`max_body`: more is an error, or, with `cut`, the end). A cancelled request is silent at once.
 *
 * Lua has a handle for what it asks, and hears of the answer by events. C that asks for itself
 * (consul/consul.c) has an owner, who is called.
 *
 * It owns requests and what was read of their answers. curl is behind http/transfer.h, and is loaded
 * by the first request. */
#ifndef LUAPILOT_HTTP_HTTP_H
#define LUAPILOT_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/names.h"
#include "http/options.h"
#include "loop/handle.h"
#include "loop/loop.h"

#define HTTP_HEAD (256 * 1024)

struct http;    /* the client of one pilot */
struct request; /* one that has begun */

/* event.type is EVENT_RESPONSE. */
struct http_response {
  struct event event;
  const char *code; /* "" = no error; the next two are of use only then */
  const char *error;
  int status;         /* 0 = of an earlier event of this stream */
  struct buffer head; /* "name: value" lines, without the status line; with a status only */
  struct buffer body; /* the whole body, or a chunk of it */
  bool stream;
  bool opened; /* a connection was opened for it */
  bool last;   /* nothing comes after it */
};

/* Returns NULL without memory. */
struct http *http_new(struct loop *loop, struct handle_table *handles);
/* After handle_close(). Accepts NULL. */
void http_free(struct http *http);

/* Begins. Returns the handle's id, or 0 with `failure`: no library, or ENOMEM. Any other failure is
 * told by the event. The handle goes when the last event is taken. */
uint64_t http_request(struct http *http, const struct http_options *options,
                      struct failure *failure);

/* C's own request. */
struct http_owner {
  /* The answer or the error, once, out of the loop, never from inside http_begin(). The buffers may
   * be taken out (a copy of the struct, and zero in its place); everything else is gone when this
   * returns. */
  void (*answered)(struct http_owner *owner, struct http_response *response);
};

/* Begins, for an owner who lives until he is called, or calls http_drop(). Not a stream. Returns
 * NULL with `failure` as above. */
struct request *http_begin(struct http *http, const struct http_options *options,
                           struct http_owner *owner, struct failure *failure);
/* Ends and frees it; the owner is not called any more. Accepts NULL. */
void http_drop(struct request *request);

/* A line of a head. */
struct http_header {
  const char *name, *value; /* into the head; without a zero at their ends */
  size_t name_size, value_size;
};

/* The next line from *place on, which begins as 0. False: there is none. */
bool http_header(const struct buffer *head, size_t *place, struct http_header *header);

/* Grants the next chunk of a stream; granting twice is once. The handle is of kind HANDLE_HTTP.
 * Returns 0, or EINVAL: it is no stream. */
int http_more(struct handle *handle);

#endif
