#include "base/names.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const char *error_name(int code, char buffer[NAME_SIZE]) {
  const char *name = strerrorname_np(code);
  if (name) return name;
  (void)snprintf(buffer, NAME_SIZE, "E%d", code);
  return buffer;
}

const char *error_text(int code, char buffer[TEXT_SIZE]) {
  const char *text = strerrordesc_np(code);
  if (text)
    (void)snprintf(buffer, TEXT_SIZE, "%s", text);
  else
    (void)snprintf(buffer, TEXT_SIZE, "error %d", code);
  buffer[0] = (char)tolower((unsigned char)buffer[0]);
  return buffer;
}

/* glibc calls 29 SIGPOLL, everybody else SIGIO: signal(7), kill -l, and the core. */
static const char *abbreviation_of(int number) {
  return number == SIGIO ? "IO" : sigabbrev_np(number);
}

const char *signal_name(int number, char buffer[NAME_SIZE]) {
  const char *name = abbreviation_of(number);
  if (name)
    (void)snprintf(buffer, NAME_SIZE, "SIG%s", name);
  else if (number >= SIGRTMIN && number <= SIGRTMAX)
    (void)snprintf(buffer, NAME_SIZE, "SIGRTMIN+%d", number - SIGRTMIN);
  else
    (void)snprintf(buffer, NAME_SIZE, "SIG%d", number);
  return buffer;
}

static int realtime_number(const char *offset) {
  char *end;
  long number = strtol(offset, &end, 10);
  if (end == offset || *end != '\0' || number < 0 || number > SIGRTMAX - SIGRTMIN) return 0;
  return SIGRTMIN + (int)number;
}

int signal_number(const char *name) {
  if (strncmp(name, "SIG", 3) != 0) return 0;
  if (strncmp(name, "SIGRTMIN+", 9) == 0) return realtime_number(name + 9);
  for (int number = 1; number < SIGRTMIN; number++) {
    const char *abbreviation = abbreviation_of(number);
    if (abbreviation && strcmp(name + 3, abbreviation) == 0) return number;
  }
  return 0;
}

/* What is not there is not written: "1h5s". */
const char *duration_text(double seconds, char buffer[NAME_SIZE]) {
  long long ms = (long long)(seconds * 1000 + 0.5);
  long long hours = ms / 3600000, minutes = ms / 60000 % 60;
  double rest = (double)(ms % 60000) / 1000;
  int length = 0;
  if (ms < 1000) {
    (void)snprintf(buffer, NAME_SIZE, "%.3gms", ms > 0 ? (double)ms : seconds * 1000);
    return buffer;
  }
  if (hours > 0) length = snprintf(buffer, NAME_SIZE, "%lldh", hours);
  if (minutes > 0)
    length += snprintf(buffer + length, NAME_SIZE - (size_t)length, "%lldm", minutes);
  if (rest > 0) (void)snprintf(buffer + length, NAME_SIZE - (size_t)length, "%gs", rest);
  return buffer;
}

static const struct {
  const char *name;
  int resource;
} limits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

#define LIMITS (sizeof limits / sizeof *limits)

int limit_number(const char *name) {
  for (size_t i = 0; i < LIMITS; i++)
    if (strcmp(limits[i].name, name) == 0) return limits[i].resource;
  return -1;
}

const char *limit_name(int resource) {
  for (size_t i = 0; i < LIMITS; i++)
    if (limits[i].resource == resource) return limits[i].name;
  return NULL;
}

int fail(struct failure *failure, const char *stage, int code, const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(failure->message, sizeof failure->message, format, arguments);
  va_end(arguments);
  failure->code = code;
  failure->stage = code == EMFILE || code == ENFILE ? "descriptors" : stage;
  errno = error;
  return -1;
}
