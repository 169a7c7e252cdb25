#include "http/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "http/fault.h"
#include "http/transfer.h"

struct http {
  struct loop *loop;
  struct handle_table *handles;
  struct transfers *transfers;
};

struct request {
  struct handle handle;
  struct http_response response; /* the event; both buffers are owned */
  struct http_owner *asker;      /* NULL = Lua, by the handle */
  struct transfer_owner owner;
  struct transfer *transfer; /* owned; NULL once it has ended */
  struct timer timer;
  struct http *http;
  double timeout, spent;
  size_t max_body;
  bool cut;

  int status;      /* of the head that is being read, or was */
  bool head_ended; /* what comes now is the body */
  bool paused;     /* curl waits for transfer_resume() */
  bool granted;    /* the next chunk may go to Lua */
  bool ended;      /* nothing more comes: `last` or an error is to be told, or is on its way */
  char code[HTTP_CODE];
  char *error; /* owned; with a code */
};

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

static struct request *of_owner(struct transfer_owner *owner) {
  return OF(struct request, owner, owner);
}

/* --- telling ----------------------------------------------------------------------------- */

static bool is_queued(const struct request *request) {
  return request->response.event.next != NULL;
}

/* Everything but what Lua has still to be told. */
static void stop(struct request *request) {
  loop_untimer(request->http->loop, &request->timer);
  transfer_drop(request->transfer);
  request->transfer = NULL;
}

static void cancel(struct handle *handle) {
  struct request *request = OF(struct request, handle, handle);
  loop_unpublish(request->http->loop, &request->response.event);
  handle_remove(request->http->handles, handle);
  stop(request);
  buffer_free(&request->response.head);
  buffer_free(&request->response.body);
  free(request->error);
  free(request);
}

/* The request may be gone afterwards. */
static void publish(struct request *request) {
  if (request->asker == NULL) {
    loop_publish(request->http->loop, &request->response.event);
    return;
  }
  request->asker->answered(request->asker, &request->response);
  http_drop(request);
}

static void publish_error(struct request *request) {
  struct http_response *response = &request->response;
  response->code = request->code;
  response->error = request->error ? request->error : "out of memory";
  response->last = true;
  publish(request);
}

static bool has_failed(const struct request *request) {
  return request->code[0] != '\0';
}

/* Nothing more comes. An error is told at once, the end of a stream in its turn: with what is on its
 * way, or when it is asked for. The request may be gone afterwards. */
static void end(struct request *request) {
  struct http_response *response = &request->response;
  request->ended = true;
  loop_untimer(request->http->loop, &request->timer);
  if (has_failed(request)) {
    if (!is_queued(request)) publish_error(request); /* else when that is taken */
  } else if (!response->stream || is_queued(request) || request->granted) {
    response->last = true;
    publish(request);
  }
}

/* The next chunk was granted, and the last event is taken. */
static void go_on(struct request *request) {
  if (request->ended) {
    end(request);
  } else if (request->paused) {
    request->paused = false;
    transfer_resume(request->transfer);
  }
}

static void taken(struct event *event) {
  struct request *request = OF(struct request, response.event, event);
  struct http_response *response = &request->response;
  if (response->last) {
    cancel(&request->handle);
    return;
  }
  response->status = 0;
  buffer_free(&response->head);
  buffer_cut(&response->body, 0);
  if (request->ended && has_failed(request))
    publish_error(request);
  else if (request->granted)
    go_on(request);
}

int http_more(struct handle *handle) {
  struct request *request = OF(struct request, handle, handle);
  if (!request->response.stream) return EINVAL;
  request->granted = true;
  if (!is_queued(request)) go_on(request); /* else when that is taken */
  return 0;
}

/* --- failing ----------------------------------------------------------------------------- */

static void blame(struct request *request, const char *code) {
  (void)snprintf(request->code, sizeof request->code, "%s", code);
}

static void timed_out(struct timer *timer) {
  static const char *const sentences[] = {
      [TRANSFER_LOOKUP] = "the name was not resolved",
      [TRANSFER_CONNECT] = "no connection",
      [TRANSFER_WAIT] = "no answer",
  };
  struct request *request = OF(struct request, timer, timer);
  const char *sentence = request->head_ended ? "the answer was not complete"
                                             : sentences[transfer_stage(request->transfer)];
  char time[NAME_SIZE];
  blame(request, "ETIMEDOUT");
  http_word(&request->error, "%s within %s", sentence, duration_text(request->timeout, time));
  stop(request);
  end(request);
}

/* --- what curl tells --------------------------------------------------------------------- */

static bool begins(const char *line, size_t size, const char *with) {
  size_t length = strlen(with);
  return size >= length && memcmp(line, with, length) == 0;
}

/* "HTTP/1.1 200 OK" → 200 */
static int status_of(const char *line, size_t size) {
  const char *space = memchr(line, ' ', size);
  return space ? atoi(space + 1) : 0; /* curl has looked at it, and ends it with a zero */
}

/* The line, its name in small letters. */
static bool keep_header(struct buffer *head, const char *line, size_t size) {
  if (!buffer_append(head, line, size)) return false;
  char *end = buffer_front(head) + buffer_size(head);
  for (char *c = end - size; c < end && *c != ':'; c++)
    if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
  return true;
}

/* The head is there, and it is no "100 Continue". */
static void head_ends(struct request *request) {
  struct http_response *response = &request->response;
  if (request->status < 200) return;
  request->head_ended = true;
  response->status = request->status;
  if (!response->stream) return;
  loop_untimer(request->http->loop, &request->timer);
  publish(request);
}

static bool on_header(struct transfer_owner *owner, const char *line, size_t size) {
  struct request *request = of_owner(owner);
  struct buffer *head = &request->response.head;
  if (request->head_ended) return true; /* trailers */
  if (begins(line, size, "HTTP/")) {
    buffer_cut(head, 0);
    request->status = status_of(line, size);
  } else if (line[0] == '\r' || line[0] == '\n') {
    head_ends(request);
  } else if (buffer_size(head) + size > HTTP_HEAD) {
    blame(request, "EMSGSIZE");
    http_word(&request->error, "the head of the answer is larger than %d bytes", HTTP_HEAD);
    return false;
  } else if (!keep_header(head, line, size)) {
    blame(request, "ENOMEM");
    return false;
  }
  return true;
}

static size_t take_chunk(struct request *request, const char *data, size_t size) {
  if (is_queued(request) || !request->granted) {
    request->paused = true;
    return TRANSFER_PAUSE;
  }
  if (!buffer_append(&request->response.body, data, size)) {
    blame(request, "ENOMEM");
    return 0;
  }
  request->granted = false;
  publish(request);
  return size;
}

static size_t on_body(struct transfer_owner *owner, const char *data, size_t size) {
  struct request *request = of_owner(owner);
  struct buffer *body = &request->response.body;
  if (request->response.stream) return take_chunk(request, data, size);
  size_t room = request->max_body - buffer_size(body);
  bool fits = size <= room;
  if (!fits && !request->cut) {
    blame(request, "EMSGSIZE");
    http_word(&request->error, "the answer is larger than %zu bytes", request->max_body);
    return 0;
  }
  if (!buffer_append(body, data, fits ? size : room)) {
    blame(request, "ENOMEM");
    return 0;
  }
  return fits ? size : 0; /* cut: curl calls that a write error, and we do not */
}

static void on_done(struct transfer_owner *owner, CURLcode result) {
  struct request *request = of_owner(owner);
  bool was_cut = result == CURLE_WRITE_ERROR && request->cut && !has_failed(request);
  char error[HTTP_ERROR];
  if (result != CURLE_OK && !was_cut && !has_failed(request)) {
    transfer_fault(request->transfer, result, request->code, error);
    http_word(&request->error, "%s", error);
  }
  request->response.opened = transfer_opened(request->transfer);
  end(request);
}

/* --- beginning --------------------------------------------------------------------------- */

static struct request *request_new(struct http *http, const struct http_options *options) {
  struct request *request = calloc(1, sizeof *request);
  if (request == NULL) return NULL;
  request->handle = (struct handle){.kind = HANDLE_HTTP, .cancel = cancel};
  request->response.event = (struct event){.type = EVENT_RESPONSE, .taken = taken};
  request->response.code = "";
  request->response.error = "";
  request->response.stream = options->stream;
  request->owner = (struct transfer_owner){.header = on_header, .body = on_body, .done = on_done};
  request->timer.fire = timed_out;
  request->http = http;
  request->timeout = options->timeout;
  request->spent = options->spent;
  request->max_body = options->max_body;
  request->cut = options->cut;
  return request;
}

static bool enter(struct request *request) {
  struct http *http = request->http;
  double left = request->timeout - request->spent;
  int64_t due = loop_now() + (int64_t)(left * (double)NANOSECONDS);
  if (request->timeout > 0 && loop_timer(http->loop, &request->timer, due) != 0) return false;
  if (request->asker) return true;
  if (handle_add(http->handles, &request->handle) != 0) return false;
  request->response.event.id = request->handle.id;
  return true;
}

struct request *http_begin(struct http *http, const struct http_options *options,
                           struct http_owner *owner, struct failure *failure) {
  struct request *request = request_new(http, options);
  if (request) request->asker = owner;
  if (request == NULL || !enter(request)) {
    (void)fail(failure, "http", ENOMEM, "out of memory");
    goto fail;
  }
  request->transfer = transfer_begin(http->transfers, options, &request->owner, failure);
  if (request->transfer == NULL) goto fail;
  return request;
fail:
  http_drop(request);
  return NULL;
}

void http_drop(struct request *request) {
  if (request) cancel(&request->handle);
}

uint64_t http_request(struct http *http, const struct http_options *options,
                      struct failure *failure) {
  struct request *request = http_begin(http, options, NULL, failure);
  return request ? request->handle.id : 0;
}

/* --- heads ------------------------------------------------------------------------------- */

static void trim(struct http_header *header) {
  while (header->value_size > 0 && isspace((unsigned char)header->value[0])) {
    header->value++;
    header->value_size--;
  }
  while (header->value_size > 0 && isspace((unsigned char)header->value[header->value_size - 1]))
    header->value_size--;
}

bool http_header(const struct buffer *head, size_t *place, struct http_header *header) {
  while (*place < buffer_size(head)) {
    const char *line = buffer_front(head) + *place;
    size_t left = buffer_size(head) - *place;
    const char *stop = memchr(line, '\n', left);
    size_t size = stop ? (size_t)(stop - line) : left;
    *place += stop ? size + 1 : size;
    const char *colon = memchr(line, ':', size);
    if (colon == NULL) continue;
    size_t name_size = (size_t)(colon - line);
    *header = (struct http_header){line, colon + 1, name_size, size - name_size - 1};
    trim(header);
    return true;
  }
  return false;
}

/* --- life -------------------------------------------------------------------------------- */

struct http *http_new(struct loop *loop, struct handle_table *handles) {
  struct http *http = calloc(1, sizeof *http);
  if (http == NULL) return NULL;
  http->loop = loop;
  http->handles = handles;
  http->transfers = transfers_new(loop);
  if (http->transfers) return http;
  free(http);
  return NULL;
}

void http_free(struct http *http) {
  if (http == NULL) return;
  transfers_free(http->transfers);
  free(http);
}
