/* names: what the kernel numbers, by name; lengths of time; and how a failure is told.
 *
 * Lua sees "ENOENT" and "SIGTERM", never 2 and 15: numbers differ from machine to machine, and a
 * message with a number in it helps nobody at three in the morning. Texts are in English whatever
 * the locale, and start in lower case, because they end a sentence: `cannot open "/x": no such
 * file or directory`.
 *
 * It owns nothing and allocates nothing. */
#ifndef LUAPILOT_BASE_NAMES_H
#define LUAPILOT_BASE_NAMES_H

#include <stddef.h>

#define NAME_SIZE 32
#define TEXT_SIZE 96

/* "ENOENT"; a number that has no name becomes "E123" in `buffer`. */
const char *error_name(int code, char buffer[NAME_SIZE]);
/* "no such file or directory", written into `buffer`, which is returned. */
const char *error_text(int code, char buffer[TEXT_SIZE]);

/* "SIGTERM", "SIGRTMIN+3", written into `buffer`, which is returned. */
const char *signal_name(int number, char buffer[NAME_SIZE]);
/* 0: there is no such signal. Only whole names: "SIGTERM", not "TERM" nor "15". */
int signal_number(const char *name);

/* "500ms", "1m30s", as the core writes a length of time, into `buffer`, which is returned. */
const char *duration_text(double seconds, char buffer[NAME_SIZE]);

/* RLIMIT_NOFILE for "nofile", and back; -1 and NULL: there is no such limit. */
int limit_number(const char *name);
const char *limit_name(int resource);

/* Why something could not be done. Filled in by whoever fails, read by the port. */
struct failure {
  int code;          /* an errno; 0 = none yet */
  const char *stage; /* static: "exec", "cwd", … */
  char message[1024];
};

/* Fills `failure` in and returns -1. Exhausted descriptors are the same trouble wherever they are
 * missed, so EMFILE and ENFILE always have the stage "descriptors". Never touches errno. */
int fail(struct failure *failure, const char *stage, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
