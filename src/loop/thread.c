#include "loop/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#define STACK ((size_t)512 * 1024) /* sources of names want some; only what is touched is real */

/* A thread inherits the mask of who makes it. */
int thread_start(void *(*body)(void *argument), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  sigset_t all, old;
  sigfillset(&all);
  (void)pthread_attr_init(&attributes);
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  (void)pthread_attr_setstacksize(&attributes, STACK);
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  int code = pthread_create(&thread, &attributes, body, argument);
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  (void)pthread_attr_destroy(&attributes);
  return code;
}
