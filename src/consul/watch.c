#include "consul/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/random.h"
#include "http/fault.h"

#define BURST 2
#define TOKEN NANOSECONDS           /* one comes each second */
#define LEAST_COST (TOKEN / 10)     /* of an answer with news, and … */
#define BYTE_COST (TOKEN / 1000000) /* … for each of its bytes, where that is more */
#define FIRST_PAUSE NANOSECONDS     /* after an error */
#define LONGEST_PAUSE (10 * NANOSECONDS)
#define AT_ONCE 30.0 /* seconds for a question that does not block; without a leader it takes 7 */
#define SLACK 5.0    /* seconds beyond what the agent may take for one that does */
#define NEVER (INT64_MAX / 2)
#define EXCERPT 16384 /* bytes of an error's body in its message: more than is ever shown */

/* What there was to see, as far as it takes to know it again. */
struct content {
  int status; /* 0 = nothing yet */
  size_t size;
  uint64_t hash;
};

struct watch {
  struct handle handle;
  struct consul_watched watched; /* the event; its body is owned */
  struct http_owner owner;
  struct consul_holder holder;
  struct request *request; /* owned; NULL = none is under way */
  struct timer timer;      /* of the next one; always set, so that setting it needs no memory */
  struct consul *consul;
  const char *path, *token; /* in `words` */
  char *words;              /* owned */
  double wait;
  size_t max_body;
  bool cached;
  uint64_t index; /* for the next question; 0 = without */
  struct content content;
  int64_t full;  /* when the bucket has all its tokens again */
  int64_t pause; /* after the next error */
  int64_t next;  /* when the next question is due */
  int64_t cost;  /* what the last answer took from the bucket */
  int64_t asked; /* when the question under way was sent */
  bool
      renewed; /* the index is, or will be, of a question that a broken connection made necessary */
  enum consul_doing doing; /* CONSUL_DOINGS = it has no connection */
  bool failing;
  int failing_status; /* of the error that was told last; with code and error */
  char code[HTTP_CODE];
  char *error; /* owned */
};

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

/* --- asking ------------------------------------------------------------------------------ */

/* "/v1/kv/x" → "/v1/kv/x?index=7&wait=60000ms". After an error not the agent's cache: that one
 * would go on as if nothing was wrong. The caller frees the text; NULL: no memory. */
static char *question(const struct watch *watch) {
  char *text = NULL;
  char mark = strchr(watch->path, '?') ? '&' : '?';
  bool cached = watch->cached && !watch->failing;
  int size;
  if (watch->index)
    size = asprintf(&text, "%s%cindex=%" PRIu64 "&wait=%.0fms%s", watch->path, mark, watch->index,
                    watch->wait * 1000, cached ? "&cached" : "");
  else if (cached)
    size = asprintf(&text, "%s%ccached", watch->path, mark);
  else
    return strdup(watch->path);
  return size < 0 ? NULL : text;
}

static void does(struct watch *watch, enum consul_doing doing) {
  if (watch->doing != CONSUL_DOINGS) consul_count(watch->consul, watch->doing, -1);
  if (doing != CONSUL_DOINGS) consul_count(watch->consul, doing, 1);
  watch->doing = doing;
}

static int ask(struct watch *watch, struct failure *failure) {
  char *path = question(watch);
  if (path == NULL) return fail(failure, "consul", ENOMEM, "out of memory");
  struct consul_options options = {
      .method = "GET",
      .path = path,
      .token = watch->token,
      .timeout = watch->index ? watch->wait * 17 / 16 + SLACK : AT_ONCE,
      .max_body = watch->max_body,
      .waits = true,
      .apart = watch->doing != CONSUL_RESTS && !consul_may_share(watch->consul),
      .kept = watch->index && !watch->renewed,
      .once = watch->index,
  };
  watch->asked = loop_now();
  watch->request = consul_ask(watch->consul, &options, &watch->owner, failure);
  free(path);
  enum consul_doing asks = watch->index ? CONSUL_WAITS : CONSUL_ASKS;
  does(watch, watch->request ? asks : CONSUL_DOINGS);
  if (watch->index) watch->renewed = false;
  return watch->request ? 0 : -1;
}

static void give_up(struct watch *watch) {
  if (watch->doing == CONSUL_RESTS) return;
  http_drop(watch->request);
  watch->request = NULL;
  does(watch, CONSUL_DOINGS);
}

/* The bucket is kept as the moment when it is full again: what is taken moves that. Returns when the
 * next question may go, in a second at the latest: what is taken after it was sent (see
 * consul_watch_unchanged) delays those that follow, of which no more than one a second go then. */
static int64_t take(struct watch *watch, int64_t cost) {
  int64_t now = loop_now();
  if (watch->full < now) watch->full = now;
  watch->full += cost;
  int64_t at = watch->full - BURST * TOKEN;
  if (at > now + TOKEN) return now + TOKEN;
  return at > now ? at : now;
}

/* What is new costs in proportion to its size, so that it is told when it happens. */
static int64_t cost_of(bool news, size_t size) {
  if (!news || size >= TOKEN / BYTE_COST) return TOKEN;
  int64_t cost = (int64_t)size * BYTE_COST;
  return cost > LEAST_COST ? cost : LEAST_COST;
}

/* An error costs a token, too: no endpoint is asked more often for errors between its answers. */
static void set_pause(struct watch *watch) {
  int64_t half = watch->pause / 2, at = take(watch, TOKEN);
  watch->next = loop_now() + half + (int64_t)(random_share() * (double)half);
  if (watch->next < at) watch->next = at;
  watch->pause = watch->pause < LONGEST_PAUSE / 2 ? watch->pause * 2 : LONGEST_PAUSE;
}

/* --- telling ----------------------------------------------------------------------------- */

static void tell(struct watch *watch) {
  loop_publish(consul_loop(watch->consul), &watch->watched.event);
}

static void go_on(struct watch *watch);

static void taken(struct event *event) {
  struct watch *watch = OF(struct watch, watched.event, event);
  buffer_free(&watch->watched.body);
  go_on(watch);
}

/* The code that says what can be done about it. */
static const char *code_of(int status) {
  switch (status) {
  case 401:
  case 403: return "EACCES";
  case 404: return "ENOENT";
  case 429: return "EAGAIN";
  default: return "EIO";
  }
}

/* An error, with code and sentence in place: told, unless it was. */
static void failed(struct watch *watch, int status, const char *code) {
  bool known = watch->failing && watch->failing_status == status && strcmp(watch->code, code) == 0;
  watch->failing = true;
  watch->failing_status = status;
  (void)snprintf(watch->code, sizeof watch->code, "%s", code);
  watch->index = 0;
  watch->renewed = false;
  set_pause(watch);
  if (known) {
    go_on(watch);
    return;
  }
  watch->watched.code = watch->code;
  watch->watched.error = watch->error ? watch->error : "out of memory";
  watch->watched.status = status;
  tell(watch);
}

/* --- answers ----------------------------------------------------------------------------- */

/* 64 bits of FNV-1a. Two contents that differ in one byte never have the same; any two, of the same
 * length and status, have it with a chance of 1 : 2^64, and a watch sees ten a second at most.
 * Whoever could make up such a pair on purpose may write to Consul, and can write there what he
 * likes anyway. */
static uint64_t hash(const struct buffer *body) {
  uint64_t sum = 0xcbf29ce484222325;
  const char *data = buffer_front(body);
  for (size_t i = 0, size = buffer_size(body); i < size; i++)
    sum = (sum ^ (unsigned char)data[i]) * 0x100000001b3;
  return sum;
}

static bool is_new(struct watch *watch, const struct content *content) {
  const struct content *last = &watch->content;
  return watch->failing || last->status != content->status || last->size != content->size ||
         last->hash != content->hash;
}

/* False: it is not there. */
static bool find(const struct buffer *head, const char *name, struct http_header *header) {
  for (size_t place = 0; http_header(head, &place, header);)
    if (header->name_size == strlen(name) && memcmp(header->name, name, header->name_size) == 0)
      return true;
  return false;
}

/* Of the header X-Consul-Index; 0: it is not there. */
static uint64_t find_index(const struct buffer *head) {
  struct http_header header;
  if (!find(head, "x-consul-index", &header)) return 0;
  uint64_t index = 0; /* the digits end with the line, if not before */
  for (size_t i = 0; i < header.value_size; i++) {
    if (header.value[i] < '0' || header.value[i] > '9') break;
    index = index * 10 + (uint64_t)(header.value[i] - '0');
  }
  return index;
}

/* Consul 1.11 and newer says so when the token may not read all; an older one says nothing. */
static bool is_filtered(const struct buffer *head) {
  struct http_header header;
  return find(head, "x-consul-results-filtered-by-acls", &header) && header.value_size == 4 &&
         strncasecmp(header.value, "true", 4) == 0;
}

/* The index that was asked with, before its time: so Consul lets go of questions when a snapshot is
 * restored. The answer is of before. */
static bool is_let_go(const struct watch *watch, uint64_t index) {
  int64_t wait = (int64_t)(watch->wait * (double)NANOSECONDS);
  return index == watch->index && loop_now() - watch->asked < wait;
}

static void take_content(struct watch *watch, struct http_response *response, uint64_t index) {
  struct content content = {response->status, buffer_size(&response->body), hash(&response->body)};
  bool tells = is_new(watch, &content);
  if (index == 0) index = 1;
  watch->index = index < watch->index || is_let_go(watch, index) ? 0 : index;
  watch->cost =
      watch->renewed ? TOKEN : cost_of(tells, content.size); /* that one was taken before */
  watch->next = watch->renewed ? loop_now() : take(watch, watch->cost);
  watch->pause = FIRST_PAUSE;
  watch->failing = false;
  watch->content = content;
  if (!tells) {
    go_on(watch);
    return;
  }
  watch->watched.code = "";
  watch->watched.status = response->status;
  watch->watched.index = index;
  watch->watched.body = response->body;
  response->body = (struct buffer){0};
  tell(watch);
}

/* What the answer says, with its lines: Lua covers secrets in it, and cuts it, before it is shown. */
static void complain(struct watch *watch, const struct http_response *response) {
  const char *body = buffer_front(&response->body);
  size_t size = buffer_size(&response->body);
  if (size > EXCERPT) size = EXCERPT;
  while (size > 0 && (unsigned char)body[size - 1] <= ' ') size--;
  http_word(&watch->error, "the agent answered %d%s%.*s", response->status, size ? ": " : "",
            (int)size, size ? body : "");
}

/* The connection with which the index was got is gone, and perhaps the agent with it: another one,
 * or this one without its state, would hold a question with a future index back for all of `wait`.
 * So first one without. */
static void renew(struct watch *watch) {
  watch->index = 0;
  watch->renewed = true;
  watch->next = take(watch, TOKEN);
}

static bool broke(const struct watch *watch, const char *code) {
  return watch->index && (strcmp(code, "ENOTCONN") == 0 || strcmp(code, "ECONNRESET") == 0);
}

static void read_answer(struct watch *watch, struct http_response *response) {
  if (response->code[0] != '\0') {
    http_word(&watch->error, "%s", response->error);
    failed(watch, 0, response->code);
    return;
  }
  uint64_t index = find_index(&response->head);
  bool nothing = response->status == 404 && index > 0;
  if (response->status != 200 && !nothing) {
    complain(watch, response);
    failed(watch, response->status, code_of(response->status));
    return;
  }
  if (is_filtered(&response->head)) {
    http_word(&watch->error, "the answer lacks what the token may not read "
                             "(X-Consul-Results-Filtered-By-ACLs)");
    failed(watch, response->status, "EACCES");
    return;
  }
  take_content(watch, response, index);
}

static bool is_crowded(struct watch *watch, const struct http_response *response) {
  if (!consul_is_crowded(watch->consul, response, watch->asked, &watch->error)) return false;
  failed(watch, response->status, CONSUL_CROWDED);
  return true;
}

static bool doubts(struct watch *watch, const struct http_response *response) {
  if (watch->index || !consul_doubts(watch->consul, response, watch->asked)) return false;
  set_pause(watch);
  go_on(watch);
  return true;
}

static void answered(struct http_owner *owner, struct http_response *response) {
  struct watch *watch = OF(struct watch, owner, owner);
  watch->request = NULL;
  does(watch, CONSUL_DOINGS);
  if (is_crowded(watch, response) || doubts(watch, response)) return;
  if (response->code[0] == '\0' && !consul_leave(watch->consul)) does(watch, CONSUL_RESTS);
  if (broke(watch, response->code)) {
    renew(watch);
    go_on(watch);
    return;
  }
  int64_t since = watch->asked;
  read_answer(watch, response);
  consul_heard(watch->consul, response, since);
}

/* --- going on ---------------------------------------------------------------------------- */

static void due(struct timer *timer) {
  struct watch *watch = OF(struct watch, timer, timer);
  struct failure failure = {0};
  char name[NAME_SIZE];
  (void)loop_timer(consul_loop(watch->consul), timer, NEVER);
  if (ask(watch, &failure) == 0) return;
  http_word(&watch->error, "%s", failure.message);
  failed(watch, 0, error_name(failure.code, name));
}

/* The next question, in its time: if that is now, before Lua can ask something and take the
 * connection. */
static void go_on(struct watch *watch) {
  if (watch->next > loop_now())
    (void)loop_timer(consul_loop(watch->consul), &watch->timer, watch->next);
  else
    due(&watch->timer);
}

static void agent_changed(struct consul_holder *holder) {
  struct watch *watch = OF(struct watch, holder, holder);
  bool told = watch->watched.event.next != NULL;
  give_up(watch);
  watch->index = 0;
  watch->renewed = false;
  watch->failing_status = -1; /* what this one refuses is news */
  watch->pause = FIRST_PAUSE;
  watch->next = loop_now();
  if (!told) go_on(watch);
}

/* Is it to be asked soon, since another one was answered? Not who was refused: he was heard. */
static bool waits_in_vain(const struct watch *watch, int64_t lost) {
  if (watch->request) return watch->asked < lost;
  return watch->failing && watch->failing_status == 0;
}

static void agent_back(struct consul_holder *holder, int64_t lost) {
  struct watch *watch = OF(struct watch, holder, holder);
  bool told = watch->watched.event.next != NULL;
  if (!waits_in_vain(watch, lost)) return;
  give_up(watch);
  watch->pause = FIRST_PAUSE;
  renew(watch);
  if (!told) go_on(watch);
}

/* --- life -------------------------------------------------------------------------------- */

static void cancel(struct handle *handle) {
  struct watch *watch = OF(struct watch, handle, handle);
  loop_unpublish(consul_loop(watch->consul), &watch->watched.event);
  loop_untimer(consul_loop(watch->consul), &watch->timer);
  handle_remove(consul_handles(watch->consul), handle);
  if (watch->doing == CONSUL_RESTS) consul_bequeath(watch->consul);
  give_up(watch);
  does(watch, CONSUL_DOINGS);
  consul_release(watch->consul, &watch->holder);
  buffer_free(&watch->watched.body);
  free(watch->words);
  free(watch->error);
  free(watch);
}

static struct watch *watch_new(struct consul *consul, const struct consul_watch_options *options) {
  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) return NULL;
  watch->handle = (struct handle){.kind = HANDLE_CONSUL, .cancel = cancel};
  watch->watched.event = (struct event){.type = EVENT_WATCH, .taken = taken};
  watch->watched.error = "";
  watch->owner.answered = answered;
  watch->holder.agent_changed = agent_changed;
  watch->holder.agent_back = agent_back;
  watch->timer.fire = due;
  watch->consul = consul;
  watch->path = options->path;
  watch->token = options->token;
  watch->doing = CONSUL_DOINGS;
  watch->wait = options->wait;
  watch->cached = options->cached;
  watch->max_body = options->max_body;
  watch->pause = FIRST_PAUSE;
  consul_hold(consul, &watch->holder);
  watch->words = consul_keep((const char **const[]){&watch->path, &watch->token}, 2);
  if (watch->words && loop_timer(consul_loop(consul), &watch->timer, NEVER) == 0 &&
      handle_add(consul_handles(consul), &watch->handle) == 0) {
    watch->watched.event.id = watch->handle.id;
    return watch;
  }
  cancel(&watch->handle);
  return NULL;
}

uint64_t consul_watch(struct consul *consul, const struct consul_watch_options *options,
                      struct failure *failure) {
  struct watch *watch = watch_new(consul, options);
  if (watch == NULL) {
    (void)fail(failure, "consul", ENOMEM, "out of memory");
    return 0;
  }
  if (ask(watch, failure) == 0) return watch->handle.id;
  cancel(&watch->handle);
  return 0;
}

int consul_watch_unchanged(struct handle *handle) {
  if (handle->cancel != cancel) return EINVAL;
  struct watch *watch = OF(struct watch, handle, handle);
  (void)take(watch, TOKEN - watch->cost);
  watch->cost = TOKEN;
  return 0;
}
