#include "consul/consul.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/fault.h"

#define CROWDED (15 * NANOSECONDS) /* so long no call opens a connection that might be refused */
#define AT_ONCE (2 * NANOSECONDS)  /* a busy agent takes that long to close what it does not want */
#define REST (10 * NANOSECONDS)    /* between two moments at which all are told that it is back */

TAILQ_HEAD(calls, call);
LIST_HEAD(holders, consul_holder);

struct consul {
  struct loop *loop;
  struct handle_table *handles;
  struct http *http;
  struct consul_agent agent; /* its words are in `words` */
  char *words;               /* owned; NULL = no agent yet */
  struct holders holders;
  struct calls queue;       /* those that wait for a connection, in order */
  unsigned held;            /* connections of holders */
  unsigned busy;            /* connections of calls */
  int64_t lost;             /* when a request got no answer last; 0 = never */
  int64_t told;             /* when all were told that it is back */
  bool away;                /* since then there was no answer */
  struct timer relief;      /* when it was crowded, and calls may try again */
  int64_t crowded;          /* until then the agent allows no more connections */
  unsigned room;            /* those that calls have meanwhile */
  unsigned spare;           /* those that calls have left open */
  int64_t wanted;           /* when a call got none last; 0 = a watch has left one since */
  int doing[CONSUL_DOINGS]; /* how many holders do what */
};

struct call {
  struct handle handle;
  struct http_response response; /* the event; both buffers are owned */
  struct http_owner owner;
  struct request *request; /* owned; NULL = it waits for a connection, or has ended */
  struct consul *consul;
  struct consul_options options; /* its words are in `words` */
  char *words, *body;            /* owned */
  struct timer timer;            /* of the wait for a connection */
  TAILQ_ENTRY(call) place;       /* in the queue, while it waits */
  int64_t since;                 /* when Lua called */
  int64_t asked;                 /* when it was sent */
  bool waits;
  bool shares; /* there was one that calls had left open when it was sent */
  struct failure failure;
  char code[HTTP_CODE];
};

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

/* --- words ------------------------------------------------------------------------------- */

char *consul_keep(const char **const words[], size_t count) {
  size_t size = 1; /* NULL is a failure, even of nothing */
  for (size_t i = 0; i < count; i++)
    if (*words[i]) size += strlen(*words[i]) + 1;
  char *block = malloc(size), *end = block;
  if (block == NULL) return NULL;
  for (size_t i = 0; i < count; i++) {
    if (*words[i] == NULL) continue;
    size_t length = strlen(*words[i]) + 1;
    *words[i] = memcpy(end, *words[i], length);
    end += length;
  }
  return block;
}

/* --- the agent --------------------------------------------------------------------------- */

static bool same_word(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_tls(const struct http_tls *a, const struct http_tls *b) {
  return same_word(a->cafile, b->cafile) && same_word(a->capath, b->capath) &&
         same_word(a->clientcert, b->clientcert) && same_word(a->clientkey, b->clientkey) &&
         same_word(a->servername, b->servername) && a->unverified == b->unverified;
}

/* Whether both would give the same answers. */
static bool same_agent(const struct consul_agent *a, const struct consul_agent *b) {
  return same_word(a->url, b->url) && same_word(a->socket, b->socket) &&
         same_word(a->token, b->token) && same_word(a->auth, b->auth) && same_tls(&a->tls, &b->tls);
}

static void tell_holders(struct consul *consul) {
  struct consul_holder *holder = LIST_FIRST(&consul->holders);
  for (; holder; holder = LIST_NEXT(holder, place)) holder->agent_changed(holder);
}

static void admit(struct consul *consul);

int consul_agent(struct consul *consul, const struct consul_agent *agent) {
  struct consul_agent kept = *agent;
  struct http_tls *tls = &kept.tls;
  const char **const words[] = {&kept.url,        &kept.socket,    &kept.token,
                                &kept.auth,       &tls->cafile,    &tls->capath,
                                &tls->clientcert, &tls->clientkey, &tls->servername};
  bool changed = consul->words && !same_agent(&consul->agent, agent);
  char *block = consul_keep(words, sizeof words / sizeof *words);
  if (block == NULL) return -1;
  free(consul->words);
  consul->words = block;
  consul->agent = kept;
  if (changed) {
    consul->lost = consul->told = consul->crowded = consul->wanted = 0;
    consul->spare = 0;
    consul->away = false;
    tell_holders(consul);
  }
  admit(consul);
  return 0;
}

/* --- sending ----------------------------------------------------------------------------- */

static const char *token_of(const struct consul *consul, const struct consul_options *options) {
  return options->token ? options->token : consul->agent.token;
}

/* "http://agent:8500/" + "/v1/x" has one slash between them. The caller frees it; NULL: no
 * memory. */
static char *make_url(const struct consul *consul, const char *path) {
  const char *base = consul->agent.url;
  size_t size = strlen(base);
  while (size > 0 && base[size - 1] == '/') size--;
  char *url = NULL;
  return asprintf(&url, "%.*s%s", (int)size, base, path) < 0 ? NULL : url;
}

static char *make_header(const char *token) {
  char *header = NULL;
  return asprintf(&header, "X-Consul-Token: %s", token) < 0 ? NULL : header;
}

struct request *consul_ask(struct consul *consul, const struct consul_options *options,
                           struct http_owner *owner, struct failure *failure) {
  if (consul->words == NULL) {
    (void)fail(failure, "consul", EDESTADDRREQ, "no Consul agent was named");
    return NULL;
  }
  const char *token = token_of(consul, options);
  char *url = make_url(consul, options->path);
  char *header = token ? make_header(token) : NULL;
  struct request *request = NULL;
  if (url == NULL || (token && header == NULL)) {
    (void)fail(failure, "consul", ENOMEM, "out of memory");
    goto done;
  }
  request = http_begin(consul->http,
                       &(struct http_options){
                           .method = options->method,
                           .url = url,
                           .headers = (const char *const[]){header, NULL},
                           .body = options->body,
                           .body_size = options->body_size,
                           .timeout = options->timeout,
                           .spent = options->spent,
                           .socket = consul->agent.socket,
                           .auth = consul->agent.auth,
                           .tls = consul->agent.tls,
                           .max_body = options->max_body,
                           .waits = options->waits,
                           .apart = options->apart,
                           .kept = options->kept,
                           .once = options->once,
                           .probed = true,
                           .since = consul->lost,
                       },
                       owner, failure);
done:
  free(url);
  free(header);
  return request;
}

/* --- away and back ----------------------------------------------------------------------- */

/* Was its new connection closed, and not one that had waited for an answer? */
static bool closed_at_once(const struct http_response *response, int64_t asked) {
  return response->opened && response->status == 0 && loop_now() - asked < AT_ONCE &&
         strcmp(response->code, "ECONNRESET") == 0;
}

/* Says this failure anything about the agent? */
static bool is_ours(const char *code) {
  return strcmp(code, "EMSGSIZE") == 0 || strcmp(code, "ENOMEM") == 0;
}

/* An agent that is only slow now and then does not have all asked again each time. */
static void back(struct consul *consul) {
  int64_t now = loop_now();
  if (consul->told != 0 && now - consul->told < REST) return;
  consul->away = false;
  consul->told = now;
  struct consul_holder *holder = LIST_FIRST(&consul->holders);
  for (; holder; holder = LIST_NEXT(holder, place)) holder->agent_back(holder, consul->lost);
}

void consul_heard(struct consul *consul, const struct http_response *response, int64_t asked) {
  if (response->code[0] == '\0') {
    if (consul->away && asked >= consul->lost) back(consul);
  } else if (!is_ours(response->code)) {
    consul->away = true;
    if (closed_at_once(response, asked)) return; /* others may be as good as before */
    consul->lost = loop_now();
    consul->spare = 0;
  }
}

/* --- the bound of connections ------------------------------------------------------------ */

static bool is_crowded(const struct consul *consul) {
  return loop_now() < consul->crowded;
}

/* Connections of holders that the agent keeps open. */
static bool has_others(const struct consul *consul) {
  return consul->doing[CONSUL_WAITS] + consul->doing[CONSUL_RESTS] > 0;
}

/* For calls. One always goes; of an agent that is crowded, one of those that there are. */
static bool has_room(const struct consul *consul) {
  if (is_crowded(consul) && (consul->room > 0 || has_others(consul)))
    return consul->busy < consul->room;
  return consul->busy == 0 || consul->busy + consul->held < consul->agent.max_connections;
}

bool consul_doubts(const struct consul *consul, const struct http_response *response,
                   int64_t asked) {
  return closed_at_once(response, asked) && consul->doing[CONSUL_ASKS] > 0;
}

static bool says_so(const struct http_response *response) {
  static const char text[] = "too many concurrent connections";
  const struct buffer *body = &response->body;
  return response->status == 429 && buffer_size(body) > 0 &&
         memmem(buffer_front(body), buffer_size(body), text, sizeof text - 1);
}

/* `there`: it is known that the agent is there, so only its bound is a reason. */
static bool look_crowded(struct consul *consul, const struct http_response *response, int64_t asked,
                         bool there, char **sentence) {
  if (there && closed_at_once(response, asked))
    http_word(sentence, "the agent closed a new connection at once, and keeps others open");
  else if (says_so(response))
    http_word(sentence, "the agent answered 429: too many concurrent connections");
  else
    return false;
  consul->crowded = loop_now() + CROWDED;
  (void)loop_timer(consul->loop, &consul->relief, consul->crowded); /* else the next one tries */
  consul->room = consul->busy + consul->spare;
  return true;
}

bool consul_is_crowded(struct consul *consul, const struct http_response *response, int64_t asked,
                       char **sentence) {
  bool there = has_others(consul) || consul->busy + consul->spare > 0;
  if (!look_crowded(consul, response, asked, there, sentence)) return false;
  admit(consul);
  return true;
}

static void relieved(struct timer *timer) {
  admit(OF(struct consul, relief, timer));
}

void consul_count(struct consul *consul, enum consul_doing doing, int change) {
  consul->doing[doing] += change;
}

bool consul_may_share(struct consul *consul) {
  if (consul->spare < 2) return false;
  consul->spare--;
  return true;
}

void consul_bequeath(struct consul *consul) {
  consul->spare++;
  if (is_crowded(consul)) consul->room++;
}

/* A call waits for a connection, or got none just now and will come again. */
static bool is_wanted(const struct consul *consul) {
  return !TAILQ_EMPTY(&consul->queue) || (consul->wanted && loop_now() - consul->wanted < CROWDED);
}

bool consul_leave(struct consul *consul) {
  if (!is_crowded(consul) || consul->room > 0 || !is_wanted(consul)) return false;
  consul->spare++;
  consul->room = consul->busy + consul->spare;
  consul->wanted = 0;
  admit(consul);
  return true;
}

void consul_hold(struct consul *consul, struct consul_holder *holder) {
  LIST_INSERT_HEAD(&consul->holders, holder, place);
  consul->held++;
}

void consul_release(struct consul *consul, struct consul_holder *holder) {
  LIST_REMOVE(holder, place);
  consul->held--;
  admit(consul);
}

/* --- calls ------------------------------------------------------------------------------- */

/* What it holds of the agent goes to the next one. */
static void leave(struct call *call) {
  struct consul *consul = call->consul;
  loop_untimer(consul->loop, &call->timer);
  if (call->waits) TAILQ_REMOVE(&consul->queue, call, place);
  call->waits = false;
  if (call->request == NULL) return;
  http_drop(call->request);
  call->request = NULL;
  consul->busy--;
}

static void call_free(struct call *call) {
  loop_unpublish(call->consul->loop, &call->response.event);
  handle_remove(call->consul->handles, &call->handle);
  leave(call);
  buffer_free(&call->response.head);
  buffer_free(&call->response.body);
  free(call->words);
  free(call->body);
  free(call);
}

static void cancel(struct handle *handle) {
  struct call *call = OF(struct call, handle, handle);
  struct consul *consul = call->consul;
  if (call->waits && is_crowded(consul)) consul->wanted = loop_now();
  call_free(call);
  admit(consul);
}

static void taken(struct event *event) {
  call_free(OF(struct call, response.event, event));
}

static void tell_failure(struct call *call) {
  char name[NAME_SIZE];
  (void)snprintf(call->code, sizeof call->code, "%s", error_name(call->failure.code, name));
  call->response.code = call->code;
  call->response.error = call->failure.message;
  loop_publish(call->consul->loop, &call->response.event);
}

static void answered(struct http_owner *owner, struct http_response *response) {
  struct call *call = OF(struct call, owner, owner);
  struct consul *consul = call->consul;
  struct event event = call->response.event;
  call->request = NULL;
  consul->busy--;
  char *sentence = NULL;
  if (response->code[0] == '\0')
    consul->spare++;
  else if (response->opened && call->shares)
    consul->spare = 0; /* else it would have had that */
  bool there = has_others(consul) || consul->busy > 0 || consul->doing[CONSUL_ASKS] > 0;
  bool crowded = look_crowded(consul, response, call->asked, there, &sentence);
  bool closed = crowded && response->status == 0;
  if (crowded) consul->wanted = loop_now();
  (void)snprintf(call->code, sizeof call->code, "%s", closed ? CONSUL_CROWDED : response->code);
  (void)snprintf(call->failure.message, sizeof call->failure.message, "%s",
                 closed && sentence ? sentence : response->error);
  free(sentence);
  call->response = *response;
  call->response.event = event;
  call->response.code = call->code;
  call->response.error = call->failure.message;
  response->head = response->body = (struct buffer){0};
  loop_publish(consul->loop, &call->response.event);
  if (!crowded) consul_heard(consul, response, call->asked);
  admit(consul);
}

/* Returns 0, or -1 with call->failure. */
static int begin(struct call *call) {
  struct consul *consul = call->consul;
  loop_untimer(consul->loop, &call->timer);
  call->asked = loop_now();
  call->options.spent = (double)(call->asked - call->since) / (double)NANOSECONDS;
  call->request = consul_ask(consul, &call->options, &call->owner, &call->failure);
  if (call->request == NULL) return -1;
  free(call->body); /* the request has its own copy */
  call->body = NULL;
  consul->busy++;
  call->shares = consul->spare > 0;
  if (call->shares) consul->spare--;
  return 0;
}

static void admit(struct consul *consul) {
  struct call *call;
  while ((call = TAILQ_FIRST(&consul->queue)) && has_room(consul)) {
    TAILQ_REMOVE(&consul->queue, call, place);
    call->waits = false;
    if (begin(call) != 0) tell_failure(call);
  }
}

static void waited_too_long(struct timer *timer) {
  struct call *call = OF(struct call, timer, timer);
  struct consul *consul = call->consul;
  char time[NAME_SIZE];
  leave(call);
  if (is_crowded(consul)) {
    consul->wanted = loop_now();
    (void)fail(&call->failure, "consul", EUSERS,
               "no free connection to the agent within %s: it allows no more, and %u watches hold "
               "one each",
               duration_text(call->options.timeout, time), consul->held);
  } else
    (void)fail(&call->failure, "consul", ETIMEDOUT,
               "no free connection to the agent within %s: max_connections is %u, and %u watches "
               "hold one each",
               duration_text(call->options.timeout, time), consul->agent.max_connections,
               consul->held);
  tell_failure(call);
}

static int wait_in_line(struct call *call) {
  struct consul *consul = call->consul;
  int64_t due = call->since + (int64_t)(call->options.timeout * (double)NANOSECONDS);
  if (call->options.timeout > 0 && loop_timer(consul->loop, &call->timer, due) != 0)
    return fail(&call->failure, "consul", ENOMEM, "out of memory");
  TAILQ_INSERT_TAIL(&consul->queue, call, place);
  call->waits = true;
  return 0;
}

/* A copy of what must outlive the caller. */
static bool keep_options(struct call *call, const struct consul_options *options) {
  struct consul_options *kept = &call->options;
  *kept = *options;
  kept->once = strcmp(options->method, "GET") != 0;
  call->words = consul_keep((const char **const[]){&kept->method, &kept->path, &kept->token}, 3);
  if (call->words == NULL) return false;
  if (options->body == NULL) return true;
  call->body = malloc(options->body_size + 1);
  if (call->body == NULL) return false;
  kept->body = memcpy(call->body, options->body, options->body_size);
  return true;
}

static struct call *call_new(struct consul *consul, const struct consul_options *options) {
  struct call *call = calloc(1, sizeof *call);
  if (call == NULL) return NULL;
  call->handle = (struct handle){.kind = HANDLE_CONSUL, .cancel = cancel};
  call->response.event = (struct event){.type = EVENT_RESPONSE, .taken = taken};
  call->response.code = "";
  call->owner.answered = answered;
  call->timer.fire = waited_too_long;
  call->consul = consul;
  call->since = loop_now();
  if (keep_options(call, options) && handle_add(consul->handles, &call->handle) == 0) {
    call->response.event.id = call->handle.id;
    return call;
  }
  call_free(call);
  return NULL;
}

uint64_t consul_call(struct consul *consul, const struct consul_options *options,
                     struct failure *failure) {
  struct call *call = call_new(consul, options);
  if (call == NULL) {
    (void)fail(failure, "consul", ENOMEM, "out of memory");
    return 0;
  }
  int result = has_room(consul) && TAILQ_EMPTY(&consul->queue) ? begin(call) : wait_in_line(call);
  if (result == 0) return call->handle.id;
  *failure = call->failure;
  call_free(call);
  return 0;
}

/* --- life -------------------------------------------------------------------------------- */

struct consul *consul_new(struct loop *loop, struct handle_table *handles, struct http *http) {
  struct consul *consul = calloc(1, sizeof *consul);
  if (consul == NULL) return NULL;
  consul->loop = loop;
  consul->handles = handles;
  consul->http = http;
  consul->relief.fire = relieved;
  TAILQ_INIT(&consul->queue);
  LIST_INIT(&consul->holders);
  return consul;
}

void consul_free(struct consul *consul) {
  if (consul == NULL) return;
  loop_untimer(consul->loop, &consul->relief);
  free(consul->words);
  free(consul);
}

struct loop *consul_loop(const struct consul *consul) {
  return consul->loop;
}

struct handle_table *consul_handles(const struct consul *consul) {
  return consul->handles;
}
