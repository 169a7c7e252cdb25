/* fault: what curl calls an error, told so that it can be acted on.
 *
 * A code is the name of an errno where there is one ("ECONNREFUSED"), EAI_NONAME for a name that
 * nobody knows, ETLS for an encryption that did not come about, ECERT for a certificate that is not
 * trusted: those two must never be taken for a server that is merely down. The sentence names the
 * other end. Pure; it owns nothing. */
#ifndef LUAPILOT_HTTP_FAULT_H
#define LUAPILOT_HTTP_FAULT_H

#include <curl/curl.h>
#include <stdbool.h>

#define HTTP_CODE 32   /* bytes of a code */
#define HTTP_ERROR 512 /* bytes of a sentence */

struct http_trouble {
  CURLcode result;
  const char *target;  /* "host:port", "unix:/run/x" */
  const char *words;   /* curl's own */
  const char *refusal; /* the sentence, with the code of `system`; NULL = none */
  int system;          /* errno of the last system call; 0 = none */
  long verify;         /* what OpenSSL said of the certificate; 0 = nothing */
  bool gone;           /* refused: no kept connection is left */
  bool lookups;        /* refused: too many names are being looked up */
};

/* Puts a sentence in the place of `*sentence`, whose memory is the caller's to free. NULL: there is no
 * memory for it. Errors are rare, and a thousand requests that wait for days need no room for them. */
void http_word(char **sentence, const char *format, ...) __attribute__((format(printf, 2, 3)));

void http_explain(const struct http_trouble *trouble, char code[HTTP_CODE], char error[HTTP_ERROR]);

#endif
