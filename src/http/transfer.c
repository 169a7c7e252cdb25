#include "http/transfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "file/place.h"
#include "http/fault.h"
#include "http/options.h"
#include "net/passed.h"

#define IDLE_CONNECTIONS 64L
#define IDLE_SECONDS 60
#define LOST_LOOKUPS 64
#define BUFFER 4096L         /* of an answer: most are small, and many wait for a long time */
#define STREAM_BUFFER 16384L /* also the largest chunk */
#define WAIT_BUFFER 1024L    /* the least that curl accepts */
#define LONGEST_LOOKUP (3600 * 1000L) /* milliseconds: no resolver takes that long */
#define LOOKUP_MEMORY 1L              /* seconds: a container that moved must be found again soon */
#define PROBE_AFTER 15L               /* seconds of silence, where the kernel asks … */
#define PROBE_EVERY 5L                /* … and asks again … */
#define PROBE_UNTIL 30000 /* … until so many milliseconds have passed without an answer */

struct transfers {
  struct loop *loop;
  CURLM *multi; /* NULL while there is nothing to do */
  struct timer timer, idle;
  size_t count; /* transfers, lost ones included */
  size_t lost;  /* those whose lookup nobody waits for */
  int found;    /* the unix socket that curl connects to just now; -1 = none */
};

struct transfer {
  struct transfers *all;
  struct transfer_owner *owner; /* NULL = nobody wants it any more */
  CURL *easy;
  struct curl_slist *headers, *connect_to; /* owned */
  bool added, looking_up, refused;
  bool kept, gone; /* no connection may be opened; it was about to */
  bool probed;
  bool local;       /* to a unix socket: the target is "unix:" and its path */
  bool sent, broke; /* of `once`: the request has gone out; the connection broke then */
  int socket_error; /* errno of a socket that could not be made */
  char *target;     /* owned; for messages: "host:port", "unix:/run/x" */
  char *refusal;    /* owned; why the unix socket is none to connect to; NULL = it is one */
  char text[CURL_ERROR_SIZE];
};

/* A descriptor that curl wants to hear of. */
struct socket_watch {
  struct watcher watcher; /* the fd is curl's */
  struct transfers *all;
};

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

/* --- curl on the loop -------------------------------------------------------------------- */

static void take_finished(struct transfers *all) {
  int left;
  for (;;) {
    CURLMsg *message = curl.multi_info_read(all->multi, &left);
    if (message == NULL) return;
    if (message->msg != CURLMSG_DONE) continue;
    struct transfer *transfer = NULL;
    CURLcode result = message->data.result;
    (void)curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    transfer->looking_up = false;
    if (transfer->owner)
      transfer->owner->done(transfer->owner, result);
    else
      transfer_drop(transfer);
  }
}

static void forget_found(struct transfers *all) {
  if (all->found >= 0) close(all->found);
  all->found = -1;
}

static void drive(struct transfers *all, curl_socket_t fd, int events) {
  int running;
  (void)curl.multi_socket_action(all->multi, fd, events, &running);
  forget_found(all);
  take_finished(all);
}

static void timer_fires(struct timer *timer) {
  drive(OF(struct transfers, timer, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* A hang-up counts as whatever is waited for: reading or writing then tells what has happened. */
static void socket_ready(struct watcher *watcher, uint32_t events) {
  struct socket_watch *watch = OF(struct socket_watch, watcher, watcher);
  if (events & (EPOLLHUP | EPOLLERR)) events |= watcher->armed;
  int bits = 0;
  if (events & EPOLLIN) bits |= CURL_CSELECT_IN;
  if (events & EPOLLOUT) bits |= CURL_CSELECT_OUT;
  drive(watch->all, watcher->fd, bits); /* may free the watch */
}

static void forget_socket(struct transfers *all, curl_socket_t fd, struct socket_watch *watch) {
  if (watch == NULL) return;
  loop_unwatch(all->loop, &watch->watcher);
  (void)curl.multi_assign(all->multi, fd, NULL);
  free(watch);
}

/* curl tells what it wants to hear of a descriptor. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known) {
  (void)easy;
  struct transfers *all = context;
  struct socket_watch *watch = known;
  if (what == CURL_POLL_REMOVE) {
    forget_socket(all, fd, watch);
    return 0;
  }
  if (watch == NULL) {
    watch = calloc(1, sizeof *watch);
    if (watch == NULL) return -1;
    watch->all = all;
    watch->watcher = (struct watcher){.fd = fd, .ready = socket_ready};
    (void)curl.multi_assign(all->multi, fd, watch);
  }
  uint32_t events = 0;
  if (what != CURL_POLL_OUT) events |= EPOLLIN;
  if (what != CURL_POLL_IN) events |= EPOLLOUT;
  return loop_watch(all->loop, &watch->watcher, events);
}

/* curl tells when it wants to be called, -1: not at all. */
static int on_timer(CURLM *multi, long milliseconds, void *context) {
  (void)multi;
  struct transfers *all = context;
  if (milliseconds < 0) {
    loop_untimer(all->loop, &all->timer);
    return 0;
  }
  return loop_timer(all->loop, &all->timer, loop_now() + milliseconds * (NANOSECONDS / 1000));
}

/* --- the multi handle -------------------------------------------------------------------- */

static void close_multi(struct transfers *all) {
  loop_untimer(all->loop, &all->timer);
  loop_untimer(all->loop, &all->idle);
  if (all->multi) (void)curl.multi_cleanup(all->multi);
  all->multi = NULL;
}

static void idle_too_long(struct timer *timer) {
  struct transfers *all = OF(struct transfers, idle, timer);
  if (all->count == 0) close_multi(all);
}

/* curl counts those in use, too. Without this a thousand long waits would each close the connection
 * that they go on with. */
static void bound_connections(struct transfers *all) {
  (void)curl.multi_setopt(all->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS + (long)all->count);
}

static bool open_multi(struct transfers *all) {
  if (all->multi) return true;
  CURLM *multi = curl.multi_init();
  if (multi == NULL) return false;
  (void)curl.multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  (void)curl.multi_setopt(multi, CURLMOPT_SOCKETDATA, all);
  (void)curl.multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
  (void)curl.multi_setopt(multi, CURLMOPT_TIMERDATA, all);
  (void)curl.multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  all->multi = multi;
  return true;
}

struct transfers *transfers_new(struct loop *loop) {
  struct transfers *all = calloc(1, sizeof *all);
  if (all == NULL) return NULL;
  all->loop = loop;
  all->found = -1;
  all->timer.fire = timer_fires;
  all->idle.fire = idle_too_long;
  return all;
}

/* What its lookups still use: kept where leak checkers find it. */
__attribute__((used)) static struct transfers *in_use;

/* Where a lookup still runs curl would wait for it, and nothing here is worth waiting for. */
void transfers_free(struct transfers *all) {
  if (all == NULL) return;
  if (all->lost > 0) {
    in_use = all;
    return;
  }
  close_multi(all);
  free(all);
}

/* --- what curl tells of one transfer ----------------------------------------------------- */

static size_t on_header(char *line, size_t one, size_t size, void *context) {
  (void)one;
  struct transfer *transfer = context;
  if (transfer->owner == NULL) return 0;
  return transfer->owner->header(transfer->owner, line, size) ? size : 0;
}

static size_t on_body(char *data, size_t one, size_t size, void *context) {
  (void)one;
  struct transfer *transfer = context;
  if (transfer->owner == NULL) return 0;
  return transfer->owner->body(transfer->owner, data, size);
}

/* A name is about to be looked up; not 0 forbids it. */
static int on_lookup(void *resolver, void *reserved, void *context) {
  (void)resolver;
  (void)reserved;
  struct transfer *transfer = context;
  transfer->looking_up = true;
  transfer->refused = transfer->all->lost >= LOST_LOOKUPS;
  return transfer->refused;
}

/* There is a connection, and the request goes out now. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is curl's */
static int on_sending(void *context, char *to, char *from, int to_port, int from_port) {
  (void)to;
  (void)from;
  (void)to_port;
  (void)from_port;
  struct transfer *transfer = context;
  bool again = transfer->sent;
  transfer->sent = true;
  transfer->broke = again;
  return again ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* The path is walked as that of a file (file/place.h), and curl connects to what was found: at once, when this has
 * returned, and by the address that stands here then. It goes on knowing the connection by the path. */
static bool find_server(struct transfer *transfer, struct curl_sockaddr *address) {
  struct failure failure = {0};
  struct sockaddr_un found;
  const char *path = transfer->target + strlen("unix:");
  forget_found(transfer->all);
  transfer->all->found = place_socket(path, &failure);
  if (transfer->all->found >= 0) {
    address->addrlen = place_address(transfer->all->found, &found);
    memcpy((char *)address + offsetof(struct curl_sockaddr, addr), &found, address->addrlen);
    if (access(found.sun_path, F_OK) == 0) return true;
    (void)fail(&failure, "open", errno,
               "cannot connect to unix:%s: /proc is not mounted, by which a socket is opened",
               path);
  }
  transfer->socket_error = failure.code;
  http_word(&transfer->refusal, "%s", failure.message);
  return false;
}

/* The name is found, and nothing connects to it yet. Nobody's transfer connects to nowhere. */
static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  (void)purpose;
  struct transfer *transfer = context;
  transfer->looking_up = false;
  transfer->gone = transfer->kept;
  if (transfer->owner == NULL || transfer->kept) return CURL_SOCKET_BAD;
  if (transfer->local && !find_server(transfer, address)) return CURL_SOCKET_BAD;
  int type = address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK;
  int fd = socket(address->family, type, address->protocol);
  transfer->socket_error = fd < 0 ? errno : 0;
  if (fd < 0) return CURL_SOCKET_BAD;
  if (address->family == AF_UNIX) (void)passed_refuse(fd);
  int limit = PROBE_UNTIL; /* a unix socket has no such thing */
  if (transfer->probed) (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
  return fd;
}

/* --- setting one up ---------------------------------------------------------------------- */

static void set_text(CURL *easy, CURLoption option, const char *text) {
  if (text) (void)curl.easy_setopt(easy, option, text);
}

static bool append(struct curl_slist **list, const char *text) {
  struct curl_slist *longer = curl.slist_append(*list, text);
  if (longer == NULL) return false;
  *list = longer;
  return true;
}

static bool names_type(const char *header) {
  return strncasecmp(header, "Content-Type", 12) == 0 && (header[12] == ':' || header[12] == ';');
}

static bool has_body(const struct http_options *options) {
  const char *method = options->method;
  return options->body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
         strcmp(method, "PATCH") == 0;
}

/* "Name:" without a value takes a header of curl's own away, and of those it has two with a body:
 * Expect costs a second with servers that do not know it, and a form is sent only by who says so. */
static bool set_headers(struct transfer *transfer, const struct http_options *options) {
  bool has_type = !has_body(options), ok = has_type || append(&transfer->headers, "Expect:");
  for (const char *const *header = options->headers; header && *header && ok; header++) {
    has_type = has_type || names_type(*header);
    ok = append(&transfer->headers, *header);
  }
  if (!has_type) ok = ok && append(&transfer->headers, "Content-Type:");
  (void)curl.easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
  return ok;
}

static bool set_request(struct transfer *transfer, const struct http_options *options) {
  CURL *easy = transfer->easy;
  const char *method = options->method;
  bool ok = true, sends = has_body(options);
  if (strcmp(method, "HEAD") == 0) (void)curl.easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (sends) {
    curl_off_t size = (curl_off_t)options->body_size;
    (void)curl.easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    ok = curl.easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, options->body ? options->body : "") ==
         CURLE_OK;
  }
  if (strcmp(method, "HEAD") != 0 && (sends || strcmp(method, "GET") != 0))
    set_text(easy, CURLOPT_CUSTOMREQUEST, method);
  return curl.easy_setopt(easy, CURLOPT_URL, options->url) == CURLE_OK && ok;
}

/* The authority of a URL: "user@host:80" without the user. */
static void find_target(const char *url, const char **start, size_t *size) {
  const char *at = strstr(url, "://");
  at = at ? at + 3 : url;
  size_t length = strcspn(at, "/?#");
  for (size_t i = 0; i < length; i++) {
    if (at[i] != '@') continue;
    at += i + 1;
    length -= i + 1;
    i = (size_t)-1;
  }
  *start = at;
  *size = length;
}

static bool name_target(struct transfer *transfer, const struct http_options *options) {
  const char *start;
  size_t size;
  transfer->local = options->socket != NULL;
  if (transfer->local) {
    http_word(&transfer->target, "unix:%s", options->socket);
  } else {
    find_target(options->proxy ? options->proxy : options->url, &start, &size);
    http_word(&transfer->target, "%s%.*s", options->proxy ? "the proxy " : "", (int)size, start);
  }
  return transfer->target != NULL;
}

/* curl calls back before each sending since 7.80. An older one gets a connection that was not used
 * before: on such a one it does not repeat. */
static bool forbid_repeats(struct transfer *transfer) {
#if LIBCURL_VERSION_NUM >= 0x075000
  (void)curl.easy_setopt(transfer->easy, CURLOPT_PREREQDATA, transfer);
  return curl.easy_setopt(transfer->easy, CURLOPT_PREREQFUNCTION, on_sending) == CURLE_OK;
#else
  return false;
#endif
}

/* curl knows the age of a connection since 7.80, in whole seconds: one that was opened in the last two
 * before that moment may pass. */
static void bound_age(struct transfer *transfer, int64_t since) {
  if (since == 0) return;
#if LIBCURL_VERSION_NUM >= 0x075000
  int64_t seconds = (loop_now() - since) / NANOSECONDS;
  (void)curl.easy_setopt(transfer->easy, CURLOPT_MAXLIFETIME_CONN,
                         seconds > 0 ? (long)seconds : 1L);
#else
  (void)curl.easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
  (void)curl.easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L);
#endif
}

static void set_probes(struct transfer *transfer, bool probed) {
  (void)curl.easy_setopt(transfer->easy, CURLOPT_TCP_KEEPALIVE, 1L);
  transfer->probed = probed;
  if (!probed) return;
  (void)curl.easy_setopt(transfer->easy, CURLOPT_TCP_KEEPIDLE, PROBE_AFTER);
  (void)curl.easy_setopt(transfer->easy, CURLOPT_TCP_KEEPINTVL, PROBE_EVERY);
}

static void set_route(struct transfer *transfer, const struct http_options *options) {
  CURL *easy = transfer->easy;
  (void)curl.easy_setopt(easy, CURLOPT_PROXY, options->proxy ? options->proxy : "");
  (void)curl.easy_setopt(easy, CURLOPT_NOPROXY, "");
  (void)curl.easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set_text(easy, CURLOPT_UNIX_SOCKET_PATH, options->socket);
  transfer->kept = options->kept;
  if (options->apart) (void)curl.easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  bound_age(transfer, options->since);
  set_probes(transfer, options->probed);
  set_text(easy, CURLOPT_USERPWD, options->auth); /* by the Basic scheme: no other is asked for */
  if (options->fresh || (options->once && !forbid_repeats(transfer))) {
    (void)curl.easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl.easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  }
  if (options->timeout >
      0) /* for the shares of a name's addresses; the owner's clock runs out first */
    (void)curl.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(options->timeout * 1000) + 1000);
}

/* curl verifies the name in the URL. For another name the URL gets that, and the connection and the
 * Host header what the URL had. */
static bool set_servername(struct transfer *transfer, const char *url, const char *servername) {
  const char *start;
  size_t size;
  char text[1024];
  find_target(url, &start, &size);
  const char *port = memchr(start, ']', size);
  port = memchr(port ? port : start, ':', size - (size_t)(port ? port - start : 0));
  size_t host = port ? (size_t)(port - start) : size;
  int written = snprintf(text, sizeof text, "Host: %.*s", (int)size, start);
  if (written >= (int)sizeof text || !append(&transfer->headers, text)) return false;
  written = snprintf(text, sizeof text, "::%.*s:", (int)host, start);
  if (written >= (int)sizeof text || !append(&transfer->connect_to, text)) return false;
  size_t length = strlen(url) + strlen(servername) + 1;
  char *other = malloc(length);
  if (other == NULL) return false;
  (void)snprintf(other, length, "%.*s%s%s", (int)(start - url), url, servername, start + host);
  CURLcode result = curl.easy_setopt(transfer->easy, CURLOPT_URL, other);
  free(other);
  (void)curl.easy_setopt(transfer->easy, CURLOPT_CONNECT_TO, transfer->connect_to);
  return result == CURLE_OK;
}

static void set_tls(CURL *easy, const struct http_tls *tls) {
  (void)curl.easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  if (tls->cafile || tls->capath) {
    (void)curl.easy_setopt(easy, CURLOPT_CAINFO, tls->cafile);
    (void)curl.easy_setopt(easy, CURLOPT_CAPATH, tls->capath);
  }
  set_text(easy, CURLOPT_SSLCERT, tls->clientcert);
  set_text(easy, CURLOPT_SSLKEY, tls->clientkey);
  if (tls->unverified) {
    (void)curl.easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    (void)curl.easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
}

static long room_for(const struct http_options *options) {
  if (options->stream) return STREAM_BUFFER;
  return options->waits ? WAIT_BUFFER : BUFFER;
}

static void set_manners(struct transfer *transfer, const struct http_options *options) {
  CURL *easy = transfer->easy;
  (void)curl.easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  (void)curl.easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->text);
  (void)curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
  (void)curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"); /* the port looks, too */
#endif
  (void)curl.easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  (void)curl.easy_setopt(easy, CURLOPT_USERAGENT, "luapilot/" LUAPILOT_VERSION);
  (void)curl.easy_setopt(easy, CURLOPT_BUFFERSIZE, room_for(options));
  (void)curl.easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, LOOKUP_MEMORY);
  (void)curl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  (void)curl.easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  (void)curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  (void)curl.easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  (void)curl.easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, on_lookup);
  (void)curl.easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, transfer);
  (void)curl.easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
  (void)curl.easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
}

static bool set_up(struct transfer *transfer, const struct http_options *options) {
  const char *servername = options->tls.servername;
  set_manners(transfer, options);
  set_tls(transfer->easy, &options->tls);
  set_route(transfer, options);
  if (!name_target(transfer, options)) return false;
  if (!set_request(transfer, options)) return false;
  if (servername && !set_servername(transfer, options->url, servername)) return false;
  return set_headers(transfer, options);
}

/* --- life -------------------------------------------------------------------------------- */

struct transfer *transfer_begin(struct transfers *all, const struct http_options *options,
                                struct transfer_owner *owner, struct failure *failure) {
  if (http_curl_load(failure) != 0) return NULL;
  struct transfer *transfer = calloc(1, sizeof *transfer);
  if (transfer == NULL || !open_multi(all)) goto fail;
  transfer->all = all;
  transfer->owner = owner;
  transfer->easy = curl.easy_init();
  if (transfer->easy == NULL || !set_up(transfer, options)) goto fail;
  if (curl.multi_add_handle(all->multi, transfer->easy) != CURLM_OK) goto fail;
  transfer->added = true;
  all->count++;
  bound_connections(all);
  loop_untimer(all->loop, &all->idle);
  return transfer;
fail:
  (void)fail(failure, "http", ENOMEM, "out of memory");
  if (transfer) {
    transfer->all = all;
    transfer->looking_up = false;
    transfer_drop(transfer);
  }
  return NULL;
}

void transfer_resume(struct transfer *transfer) {
  (void)curl.easy_pause(transfer->easy, CURLPAUSE_CONT);
}

static void remove_easy(struct transfer *transfer) {
  struct transfers *all = transfer->all;
  if (!transfer->added) return;
  (void)curl.multi_remove_handle(all->multi, transfer->easy);
  all->count--;
  bound_connections(all);
  if (all->count == 0)
    (void)loop_timer(all->loop, &all->idle, loop_now() + IDLE_SECONDS * NANOSECONDS);
}

/* It must not run into its timeout either: then, too, curl would wait for the thread. */
static void lose(struct transfer *transfer) {
  transfer->owner = NULL;
  transfer->all->lost++;
  (void)curl.easy_setopt(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS, LONGEST_LOOKUP);
}

void transfer_drop(struct transfer *transfer) {
  if (transfer == NULL) return;
  if (transfer->looking_up) {
    lose(transfer);
    return;
  }
  if (transfer->added && transfer->owner == NULL) transfer->all->lost--;
  remove_easy(transfer);
  if (transfer->easy) curl.easy_cleanup(transfer->easy);
  curl.slist_free_all(transfer->headers);
  curl.slist_free_all(transfer->connect_to);
  free(transfer->target);
  free(transfer->refusal);
  free(transfer);
}

enum transfer_stage transfer_stage(const struct transfer *transfer) {
  double seconds = 0;
  if (transfer->looking_up) return TRANSFER_LOOKUP;
  (void)curl.easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME, &seconds);
  return seconds > 0 ? TRANSFER_WAIT : TRANSFER_CONNECT;
}

bool transfer_opened(const struct transfer *transfer) {
  long count = 0;
  (void)curl.easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &count);
  return count > 0 && !transfer->broke;
}

void transfer_fault(const struct transfer *transfer, CURLcode result, char code[HTTP_CODE],
                    char error[HTTP_ERROR]) {
  struct http_trouble trouble = {
      .result = result,
      .target = transfer->target,
      .words = transfer->text[0] ? transfer->text : curl.easy_strerror(result),
      .refusal = transfer->refusal,
      .lookups = transfer->refused,
      .gone = transfer->gone,
  };
  long number = 0;
  (void)curl.easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &number);
  trouble.system = transfer->socket_error ? transfer->socket_error : (int)number;
  (void)curl.easy_getinfo(transfer->easy, CURLINFO_SSL_VERIFYRESULT, &trouble.verify);
  http_explain(&trouble, code, error);
}
