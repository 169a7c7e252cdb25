/* transfer: one exchange with a server, made by curl on our loop.
 *
 * curl's multi handle says which descriptors to watch and when to call it again; both hang in our
 * loop, and nothing here waits. HTTP 1.1 only, one transfer a connection: so whoever does not read
 * holds up his server and nobody else, and what curl keeps of it is one small buffer. curl is told
 * everything that a request depends on: no proxy of the environment, no netrc, no cookies, no
 * redirects, no other protocol, no decompression.
 *
 * Connections stay open for the next transfer to the same place, IDLE_CONNECTIONS of them beside
 * those in use. When nothing was under way for IDLE_SECONDS, the multi handle goes, and with it all
 * of that.
 *
 * A kept connection may break just when it is used again; curl then sends the request a second time,
 * on another one. That is right for what may be repeated, and forbidden with `once`.
 *
 * Names are looked up in threads of curl's. It waits for such a thread when a transfer is removed
 * meanwhile, which would hold up everything else, so a transfer that nobody wants any more stays, mute, until
 * its name is found. More than LOST_LOOKUPS of those means that the resolver is broken; then no
 * further name is looked up. The threads inherit the pilot's signal mask, in which all is blocked.
 *
 * It owns the easy handles, their sockets and lists. The owner of a transfer owns what it is told. */
#ifndef LUAPILOT_HTTP_TRANSFER_H
#define LUAPILOT_HTTP_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>

#include "http/curl.h"
#include "http/fault.h"
#include "loop/loop.h"

struct http_options;
struct transfer;
struct transfers; /* of one pilot */

/* What the owner is told, always out of the loop, never from inside a call of his own but
 * transfer_resume(). In header() and body() no transfer may be begun, resumed or dropped. */
struct transfer_owner {
  /* A line of the head, with its end. False ends the transfer. */
  bool (*header)(struct transfer_owner *owner, const char *line, size_t size);
  /* Returns `size` when it has taken all; TRANSFER_PAUSE: later, by transfer_resume(); anything else
   * ends the transfer. */
  size_t (*body)(struct transfer_owner *owner, const char *data, size_t size);
  /* The end. The transfer is not yet gone: transfer_drop() it, here or later. */
  void (*done)(struct transfer_owner *owner, CURLcode result);
};

#define TRANSFER_PAUSE CURL_WRITEFUNC_PAUSE

/* Returns NULL without memory. Loads nothing yet. */
struct transfers *transfers_new(struct loop *loop);
/* All transfers were dropped before. Accepts NULL. */
void transfers_free(struct transfers *all);

/* Begins. `options` are borrowed for the length of the call; `owner` lives until transfer_drop().
 * Returns NULL with `failure`: the library cannot be had, or ENOMEM. */
struct transfer *transfer_begin(struct transfers *all, const struct http_options *options,
                                struct transfer_owner *owner, struct failure *failure);
/* The body goes on after TRANSFER_PAUSE. */
void transfer_resume(struct transfer *transfer);
/* Ends and frees it; its owner hears nothing any more. Accepts NULL. */
void transfer_drop(struct transfer *transfer);

/* How far it has come. */
enum transfer_stage { TRANSFER_LOOKUP, TRANSFER_CONNECT, TRANSFER_WAIT };
enum transfer_stage transfer_stage(const struct transfer *transfer);

/* Was a connection opened for it, and it alone tried? After done(). */
bool transfer_opened(const struct transfer *transfer);

/* Why it has failed, after done(): a code ("ECONNREFUSED", "ECERT") and a sentence without its end. */
void transfer_fault(const struct transfer *transfer, CURLcode result, char code[HTTP_CODE],
                    char error[HTTP_ERROR]);

#endif
