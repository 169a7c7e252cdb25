/* consul: what goes to the Consul agent, on as many connections as it allows.
 *
 * There is one agent for the process. Its address, token and TLS are said once, by consul_agent(),
 * and are put on every request when that is sent, so that a new token holds from the next one on.
 * No redirect is followed and no proxy used: what carries the token goes to the agent and nowhere
 * else.
 *
 * An agent closes what one client opens beyond its `http_max_conns_per_client` (200). So at most
 * `max_connections` are used. Whoever waits for changes holds one of them all the time
 * (consul/watch.h); calls share the rest and wait in order for a free one, and one always goes, or
 * too many watches would be the end of all calls. The wait counts against a call's timeout.
 *
 * All programs at one address share the agent's bound, so it may be used up before `max_connections`
 * are. An agent says so by closing a new connection without a word, a newer one by 429. For some
 * seconds no call opens another one then; and where calls have none, the next watch that is answered
 * leaves them its own. None is taken from a watch that waits: an agent counts the connection of a
 * question that was given up until that would have been answered. So that calls keep what they have,
 * a watch without a connection opens one, and never takes another that is free.
 *
 * When a request got no answer, and a later one gets one, the agent is back: for everybody. Whoever
 * still waits on a connection of before is told, for his may lead nowhere (a host that vanished, an
 * agent that hangs, a name that leads elsewhere now), and nothing is sent on those that are open from
 * then. So a watch is heard again with the first call that is, and not when its own time is over.
 *
 * It owns the agent's settings, the calls and their queue. It knows nothing of what is asked, and
 * repeats no write: of one whose connection broke, whether it may be sent again is the caller's to
 * know. */
#ifndef LUAPILOT_CONSUL_CONSUL_H
#define LUAPILOT_CONSUL_CONSUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/names.h"
#include "http/http.h"
#include "loop/handle.h"
#include "loop/loop.h"

struct consul; /* of one pilot */

/* Borrowed for the length of the call; NULL fields are not there. */
struct consul_agent {
  const char *url;    /* "http://127.0.0.1:8500", perhaps with a path in front of /v1 */
  const char *socket; /* a unix socket to connect to */
  const char *token;
  const char *auth; /* "user:password" */
  struct http_tls tls;
  unsigned max_connections;
};

struct consul_options {
  const char *method;
  const char *path;  /* with its query */
  const char *token; /* NULL = the agent's */
  const char *body;  /* any bytes; NULL = none */
  size_t body_size;
  double timeout, spent; /* as of http_options */
  size_t max_body;
  bool waits, apart, kept, once; /* as of http_options */
};

/* Returns NULL without memory. */
struct consul *consul_new(struct loop *loop, struct handle_table *handles, struct http *http);
/* After handle_close(). Accepts NULL. */
void consul_free(struct consul *consul);

/* The agent from now on. Returns 0, or -1 without memory: then nothing has changed. */
int consul_agent(struct consul *consul, const struct consul_agent *agent);

/* Sends a request, or puts it in the queue; the event of the answer is a struct http_response.
 * Returns the handle's id, or 0 with `failure`: EDESTADDRREQ without an agent, or as
 * http_request(). */
uint64_t consul_call(struct consul *consul, const struct consul_options *options,
                     struct failure *failure);

/* --- for those who hold a connection: consul/watch.c --- */

/* Owned by whoever embeds it. */
struct consul_holder {
  /* Another agent, or another token: what it says may differ from the first byte on. */
  void (*agent_changed)(struct consul_holder *holder);
  /* It answers again. What was asked before `lost` may never be answered. */
  void (*agent_back)(struct consul_holder *holder, int64_t lost);
  LIST_ENTRY(consul_holder) place;
};

/* Has one of the connections from now on, until consul_release(). */
void consul_hold(struct consul *consul, struct consul_holder *holder);
void consul_release(struct consul *consul, struct consul_holder *holder);

/* Sends a request at once, as http_begin() does. */
struct request *consul_ask(struct consul *consul, const struct consul_options *options,
                           struct http_owner *owner, struct failure *failure);

/* The code of an agent that allows no further connection. */
#define CONSUL_CROWDED "EUSERS"

/* Does this answer, or this failure, mean that? Then its sentence is put into `sentence`, else that is
 * left alone. */
bool consul_is_crowded(struct consul *consul, const struct http_response *response, int64_t asked,
                       char **sentence);

/* What a holder is doing: it has asked, and waits for an answer that comes at once, or for a change; or
 * it was answered, and its connection is still open. */
enum consul_doing { CONSUL_ASKS, CONSUL_WAITS, CONSUL_RESTS, CONSUL_DOINGS };

/* One more of them does that, or one less. */
void consul_count(struct consul *consul, enum consul_doing doing, int change);

/* A holder without a connection is about to ask: may it take one that is open? Calls keep one. */
bool consul_may_share(struct consul *consul);

/* A holder that has ended leaves its connection. */
void consul_bequeath(struct consul *consul);

/* A new connection was closed at once, and others are on their way: what that means, they will show.
 */
bool consul_doubts(const struct consul *consul, const struct http_response *response,
                   int64_t asked);

/* A holder was answered, and does not need its connection just now. True: a call has it. */
bool consul_leave(struct consul *consul);

/* Says how a request of a holder ended that was asked at that moment. Its holder has done with it. */
void consul_heard(struct consul *consul, const struct http_response *response, int64_t asked);

struct loop *consul_loop(const struct consul *consul);
struct handle_table *consul_handles(const struct consul *consul);

/* Copies words into one block and points to them there; NULL words stay. Returns the block, which
 * is the caller's to free, or NULL without memory. */
char *consul_keep(const char **const words[], size_t count);

#endif
