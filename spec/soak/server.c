/* server: HTTP as good and as bad as a soak needs it, on 127.0.0.1. The path says how:
 *
 *   /ok /big /500    answers (two bytes, a megabyte, that status)
 *   /slow /hang      half a second later, never
 *   /cut /garbage    closes in the middle of the body, says no HTTP
 *   /stream          lines without end, 50 a second
 *
 * One process, which never blocks for a client: who does not read fast enough is closed. */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CLIENTS 100
#define MEGABYTE (1 << 20)
#define LATER 500000000LL /* nanoseconds */
#define BETWEEN 20        /* milliseconds */
#define NEVER INT64_MAX

struct client {
  int fd;      /* -1: free */
  int64_t due; /* when it gets its answer; NEVER */
  bool streams;
  const char *rest; /* of an answer */
  size_t left;
};

static struct client clients[CLIENTS];
static char big[MEGABYTE + 200];
static size_t big_size;

static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char ERROR[] = "HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\noh!";
static const char CUT[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly the beg";
static const char GARBAGE[] = "\1\2\3 this is no HTTP\n\n";
static const char STREAM[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char CHUNK[] = "16\r\n{\"a\":\"line of it all\"}\r\n2\r\n\r\n\r\n";

static void drop(struct client *client) {
  (void)close(client->fd);
  *client = (struct client){.fd = -1};
}

/* Writes on; what does not fit now is written later. */
static void go_on(struct client *client) {
  if (client->left == 0) return;
  ssize_t size = send(client->fd, client->rest, client->left, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size < 0) {
    if (errno != EAGAIN) drop(client);
    return;
  }
  client->rest += size;
  client->left -= (size_t)size;
}

static void answer(struct client *client, const char *text, size_t size) {
  client->due = NEVER;
  client->rest = text;
  client->left = size;
  go_on(client);
}

static void say_and_close(struct client *client, const char *text) {
  answer(client, text, strlen(text));
  if (client->fd >= 0) drop(client);
}

static bool asks_for(const char *request, const char *path) {
  const char *space = strchr(request, ' ');
  return space && strncmp(space + 1, path, strlen(path)) == 0;
}

static void serve_request(struct client *client, const char *request) {
  if (asks_for(request, "/hang")) {
    client->due = NEVER;
  } else if (asks_for(request, "/slow")) {
    client->due = nanoseconds() + LATER;
  } else if (asks_for(request, "/cut")) {
    say_and_close(client, CUT);
  } else if (asks_for(request, "/garbage")) {
    say_and_close(client, GARBAGE);
  } else if (asks_for(request, "/big")) {
    answer(client, big, big_size);
  } else if (asks_for(request, "/500")) {
    answer(client, ERROR, strlen(ERROR));
  } else if (asks_for(request, "/stream")) {
    answer(client, STREAM, strlen(STREAM));
    client->streams = client->fd >= 0;
  } else {
    answer(client, OK, strlen(OK));
  }
}

static void hear(struct client *client) {
  char request[8192];
  ssize_t size = recv(client->fd, request, sizeof request - 1, MSG_DONTWAIT);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) {
    drop(client);
    return;
  }
  request[size] = '\0';
  serve_request(client, request);
}

static void welcome(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  for (int i = 0; i < CLIENTS; i++) {
    if (clients[i].fd >= 0) continue;
    clients[i] = (struct client){.fd = fd, .due = NEVER};
    return;
  }
  (void)close(fd);
}

static void look_after(struct client *client, short events, int64_t now) {
  if (events & (POLLIN | POLLHUP | POLLERR)) hear(client);
  if (client->fd >= 0 && events & POLLOUT) go_on(client);
  if (client->fd >= 0 && client->due <= now) answer(client, OK, strlen(OK));
  if (client->fd >= 0 && client->streams && client->left == 0) answer(client, CHUNK, strlen(CHUNK));
}

static _Noreturn void go(int listener) {
  struct pollfd ready[CLIENTS + 1];
  for (;;) {
    int count = 0, owner[CLIENTS];
    bool anybody = false;
    ready[CLIENTS] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < CLIENTS; i++) {
      if (clients[i].fd < 0) continue;
      short events = (short)(POLLIN | (clients[i].left ? POLLOUT : 0));
      anybody = anybody || clients[i].streams || clients[i].due != NEVER;
      ready[count] = (struct pollfd){.fd = clients[i].fd, .events = events};
      owner[count++] = i;
    }
    ready[count] = ready[CLIENTS];
    (void)poll(ready, (nfds_t)count + 1, anybody ? BETWEEN : -1);
    int64_t now = nanoseconds();
    for (int i = 0; i < count; i++) look_after(&clients[owner[i]], ready[i].revents, now);
    if (ready[count].revents) welcome(listener);
    if (anybody) rest(5);
  }
}

int serve(int port) {
  const int yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 64) != 0)
    return 9;
  for (int i = 0; i < CLIENTS; i++) clients[i].fd = -1;
  big_size =
      (size_t)snprintf(big, sizeof big, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", MEGABYTE);
  memset(big + big_size, 'B', MEGABYTE);
  big_size += MEGABYTE;
  go(listener);
}
