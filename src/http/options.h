/* options: what is asked for by HTTP: one request, as http/http.h takes it and http/transfer.c sends it. */
#ifndef LUAPILOT_HTTP_OPTIONS_H
#define LUAPILOT_HTTP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_SOCKET 107 /* bytes of a unix socket's path */

/* NULL fields are not there. */
struct http_tls {
  const char *cafile, *capath; /* PEM; with either of them the system's are not trusted */
  const char *clientcert, *clientkey;
  const char *servername; /* asked for and verified instead of the URL's host */
  bool unverified;
};

/* Borrowed for the length of the call. */
struct http_options {
  const char *method, *url;   /* http:// or https:// */
  const char *const *headers; /* "Name: value", "Name;" when it is empty; NULL ends them */
  const char *body;           /* any bytes; NULL = none */
  size_t body_size;
  double timeout;     /* seconds; 0 = none */
  double spent;       /* of these, what has passed before the request begins */
  const char *socket; /* a unix socket to connect to; NULL = the URL's host */
  const char *proxy;  /* NULL = none */
  const char *auth;   /* "user:password" for the server; NULL = none */
  struct http_tls tls;
  bool stream;
  bool waits;  /* its answer comes late: little memory rather than speed */
  bool fresh;  /* on a connection of its own */
  bool apart;  /* on a new connection, which others may use later */
  bool kept;   /* only on one that is open already: without it ENOTCONN */
  bool once;   /* not sent again, on another connection, when a kept one breaks before the answer */
  bool probed; /* the kernel asks the other end again and again whether it is still there */
  int64_t since;   /* only on a connection opened since then, give or take two seconds; 0 = any */
  size_t max_body; /* bytes of the answer's body */
  bool cut;        /* more ends it; else more is an error */
};

#endif
