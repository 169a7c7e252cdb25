#include "http/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"

/* X509_V_ERR_…, stable numbers of OpenSSL. */
static const char *certificate(long verify) {
  switch (verify) {
  case 2:
  case 20:
  case 21: return "its certificate is signed by nobody that is trusted here";
  case 18:
  case 19: return "its certificate is signed by itself, which is not trusted here";
  case 9: return "its certificate is not valid yet";
  case 10: return "its certificate has expired";
  case 23: return "its certificate was revoked";
  case 62: return "its certificate is for another name";
  default: return NULL;
  }
}

struct kind {
  CURLcode result;
  const char *code, *sentence; /* %s: the target; curl's words follow */
};

static const struct kind kinds[] = {
    {CURLE_URL_MALFORMAT, "EINVAL", "the URL is malformed"},
    {CURLE_UNSUPPORTED_PROTOCOL, "EPROTO", "%s does not speak HTTP"},
    {CURLE_COULDNT_RESOLVE_HOST, "EAI_NONAME", "cannot resolve %s"},
    {CURLE_COULDNT_RESOLVE_PROXY, "EAI_NONAME", "cannot resolve %s"},
    {CURLE_OPERATION_TIMEDOUT, "ETIMEDOUT", "no connection to %s in time"},
    {CURLE_GOT_NOTHING, "ECONNRESET", "%s closed the connection without an answer"},
    {CURLE_ABORTED_BY_CALLBACK, "ECONNRESET", "%s closed the connection without an answer"},
    {CURLE_PARTIAL_FILE, "ECONNRESET", "%s closed the connection before the end of its answer"},
    {CURLE_SEND_ERROR, "ECONNRESET", "the connection to %s broke"},
    {CURLE_RECV_ERROR, "ECONNRESET", "the connection to %s broke"},
    {CURLE_WEIRD_SERVER_REPLY, "EPROTO", "%s does not speak HTTP"},
    {CURLE_BAD_CONTENT_ENCODING, "EPROTO", "%s does not speak HTTP"},
    {CURLE_SSL_CERTPROBLEM, "ETLS", "the client certificate for %s cannot be used"},
    {CURLE_SSL_CACERT_BADFILE, "ETLS", "the CA certificates for %s cannot be read"},
    {CURLE_SSL_CONNECT_ERROR, "ETLS", "no TLS with %s"},
    /* curl gives such a line up with this; that there is no memory is told by nobody else. */
    {CURLE_OUT_OF_MEMORY, "EMSGSIZE",
     "the answer of %s has a line in its head of more than 100 KB, or memory is short"},
};

/* Where curl's words would only repeat ours. */
static bool speaks_for_itself(CURLcode result) {
  return result == CURLE_GOT_NOTHING || result == CURLE_ABORTED_BY_CALLBACK ||
         result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_RESOLVE_PROXY ||
         result == CURLE_OPERATION_TIMEDOUT || result == CURLE_OUT_OF_MEMORY;
}

static void by_kind(const struct http_trouble *trouble, char *code, char *error) {
  const struct kind *kind = NULL;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].result == trouble->result) kind = &kinds[i];
  (void)snprintf(code, HTTP_CODE, "%s", kind ? kind->code : "EIO");
  const char *sentence = kind ? kind->sentence : "the exchange with %s failed";
  const char *place = strstr(sentence, "%s");
  int before = place ? (int)(place - sentence) : (int)strlen(sentence);
  int written = snprintf(error, HTTP_ERROR, "%.*s%s%s", before, sentence,
                         place ? trouble->target : "", place ? place + 2 : "");
  if (written < HTTP_ERROR && !(kind && speaks_for_itself(trouble->result)))
    (void)snprintf(error + written, HTTP_ERROR - (size_t)written, ": %s", trouble->words);
}

static void no_connection(const struct http_trouble *trouble, char *code, char *error) {
  char name[NAME_SIZE], text[TEXT_SIZE];
  int number = trouble->system ? trouble->system : ECONNREFUSED;
  (void)snprintf(code, HTTP_CODE, "%s", error_name(number, name));
  if (trouble->refusal)
    (void)snprintf(error, HTTP_ERROR, "%s", trouble->refusal);
  else
    (void)snprintf(error, HTTP_ERROR, "cannot connect to %s: %s", trouble->target,
                   error_text(number, text));
}

static void untrusted(const struct http_trouble *trouble, char *code, char *error) {
  const char *why = certificate(trouble->verify);
  if (why == NULL && strstr(trouble->words, "subject name")) why = certificate(62);
  (void)snprintf(code, HTTP_CODE, "ECERT");
  (void)snprintf(error, HTTP_ERROR, "%s is not trusted: %s", trouble->target,
                 why ? why : trouble->words);
}

/* The other end has ended the encryption and says why, often only after the handshake: OpenSSL calls
 * that an alert. */
static bool is_alert(const struct http_trouble *trouble) {
  bool broke = trouble->result == CURLE_RECV_ERROR || trouble->result == CURLE_SEND_ERROR ||
               trouble->result == CURLE_SSL_CONNECT_ERROR;
  return broke && strstr(trouble->words, " alert ");
}

static void alerted(const struct http_trouble *trouble, char *code, char *error) {
  bool ours = strstr(trouble->words, "certificate") || strstr(trouble->words, "unknown ca");
  (void)snprintf(code, HTTP_CODE, "ETLS");
  (void)snprintf(error, HTTP_ERROR, "%s does not accept %s: %s", trouble->target,
                 ours ? "our client certificate, or that there is none" : "our TLS",
                 trouble->words);
}

void http_explain(const struct http_trouble *trouble, char code[HTTP_CODE],
                  char error[HTTP_ERROR]) {
  if (trouble->lookups) {
    (void)snprintf(code, HTTP_CODE, "EAGAIN");
    (void)snprintf(error, HTTP_ERROR, "cannot resolve %s: the resolver does not answer",
                   trouble->target);
  } else if (trouble->gone) {
    (void)snprintf(code, HTTP_CODE, "ENOTCONN");
    (void)snprintf(error, HTTP_ERROR, "the connection to %s is gone", trouble->target);
  } else if (trouble->result == CURLE_COULDNT_CONNECT) {
    no_connection(trouble, code, error);
  } else if (is_alert(trouble)) {
    alerted(trouble, code, error);
  } else if (trouble->result == CURLE_PEER_FAILED_VERIFICATION) {
    untrusted(trouble, code, error);
  } else {
    by_kind(trouble, code, error);
  }
}

void http_word(char **sentence, const char *format, ...) {
  va_list arguments;
  char *text = NULL;
  va_start(arguments, format);
  if (vasprintf(&text, format, arguments) < 0) text = NULL;
  va_end(arguments);
  free(*sentence);
  *sentence = text;
}
