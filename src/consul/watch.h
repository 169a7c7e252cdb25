/* watch: Consul's blocking queries, by the book:
 * https://developer.hashicorp.com/consul/api-docs/features/blocking
 *
 * A question with `index` is answered when the thing has changed since then, or when `wait` is
 * over. A watch asks again and again, from its first question until it is cancelled, and tells what
 * is new:
 *
 *   content   of the first answer, of each that differs from the one before, and of the first
 *             after an error. That a question returns means nothing: what counts is status and
 *             body.
 *   errors    each once, until there is another one, an answer, or another agent or token. Every
 *             other status than 200 is one, but the 404 with an index: Consul's answer for a key
 *             that does not exist. So is an answer that lacks what the token may not read: as a
 *             content it would look as if all were gone.
 *
 * The rules of the page, and what is made of them:
 *
 *   "Reset the index if it goes backwards"
 *       The next question has no index, and so does not block.
 *   "Sanity check index is greater than zero"
 *       0, or none, counts as 1, with which a question is always safe.
 *   "Rate limit"
 *       A token bucket, burst 2, which one token a second fills. What an answer takes out of it
 *       depends on what it brought:
 *
 *         nothing new                       1 token
 *         news                              1 for each MB, at least 0.1, at most 1
 *         news that Lua calls unchanged     1 (consul_watch_unchanged)
 *         an error                          1, besides its pause
 *
 *       So a change is told when it happens, ten times a second if need be, and a loop of questions
 *       that return at once without one, whatever the reason, becomes a slow poll.
 *   An answer with the index that was asked with, before `wait` is over
 *       Consul lets go of all questions when a snapshot is restored, with what was there before. The
 *       next question has no index: what was restored has lower ones, and a question with this one
 *       would be held until somebody writes.
 *   `wait` is 10 minutes at most, and the agent adds up to a sixteenth
 *       Our timeout is `wait`, a sixteenth of it, and some seconds.
 *
 * A question with an index is sent on a connection that was open all the time since the index was
 * got. Where there is none any more, or where it breaks, one without an index goes first: the agent
 * may have come back without its state, and would hold back a question with an index that it has
 * not reached. The two together cost one token. Only if that fails, too, is there an error to tell.
 *
 * When somebody else's request is answered after some were not (consul/consul.h), a question that was asked
 * before is given up, and asked anew without an index, on another connection: also one that is in its
 * pause.
 *
 * After an error the next question comes after a pause that doubles up to 10 s, the half of it
 * chance, so that a thousand watches do not all come back at the same moment. That question does
 * not block: its answer must be told at once, and an agent that has lost its state would otherwise
 * be asked for a future index.
 *
 * With `cached` the agent answers from its cache, and asks the servers for all that watch the same.
 * While it does not reach them a question with an index fails, and one without is answered with what
 * was known, as if all was well: so a question after an error has no `cached`.
 *
 * Of a content only a hash is kept. The next question is sent when Lua has taken what the last one
 * brought, so that there is one body in memory at most. */
#ifndef LUAPILOT_CONSUL_WATCH_H
#define LUAPILOT_CONSUL_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/names.h"
#include "consul/consul.h"
#include "loop/loop.h"

#define CONSUL_WAIT_MOST 600 /* seconds: what an agent accepts */

struct consul_watch_options {
  const char *path; /* with its query, but index and wait */
  const char *token;
  double wait; /* seconds, not 0 */
  size_t max_body;
  bool cached; /* the agent may answer from its cache */
};

/* event.type is EVENT_WATCH. */
struct consul_watched {
  struct event event;
  const char *code, *error; /* "" = it is content; else an error */
  int status;               /* 0 = an error without one */
  uint64_t index;           /* of a content, at least 1 */
  struct buffer body;
};

/* Begins. Returns the handle's id, or 0 with `failure`: EDESTADDRREQ without an agent, ENOMEM, or
 * no library. The handle lives until it is cancelled. */
uint64_t consul_watch(struct consul *consul, const struct consul_watch_options *options,
                      struct failure *failure);

/* What the watch told last was no change to whoever reads it (an index in the body, say): that costs
 * as much as an answer with nothing new. Returns 0, or EINVAL: the handle is no watch's. */
int consul_watch_unchanged(struct handle *handle);

#endif
