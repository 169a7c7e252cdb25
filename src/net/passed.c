#include "net/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/thread.h"

#ifndef SO_PASSRIGHTS
#  define SO_PASSRIGHTS 83
#endif

struct work {
  struct work *next;
  int socket; /* owned */
  int done; /* an eventfd, owned: only the first datagram is taken; -1: the socket is closed, no more */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct work *first, **last = &first; /* what waits for a thread */
static int threads;

bool passed_refuse(int fd) {
  int off = 0;
  return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == 0;
}

/* --- in a thread ------------------------------------------------------------------------- */

/* This may hang. */
static void release(struct work *work) {
  uint64_t one = 1;
  char none;
  if (work->done >= 0) (void)recv(work->socket, &none, 0, MSG_DONTWAIT);
  close(work->socket);
  if (work->done >= 0) {
    ssize_t ignored = write(work->done, &one, sizeof one);
    (void)ignored;
    close(work->done);
  }
  free(work);
}

/* NULL: there is none, and the thread is over. */
static struct work *next_work(void) {
  pthread_mutex_lock(&mutex);
  struct work *work = first;
  if (work) {
    first = work->next;
    if (first == NULL) last = &first;
  } else {
    threads--;
  }
  pthread_mutex_unlock(&mutex);
  return work;
}

static void *releaser(void *argument) {
  struct work *work;
  while ((work = next_work())) release(work);
  return argument;
}

/* --- in the loop ------------------------------------------------------------------------- */

/* One more thread, where something waits and there may be one. */
void passed_advance(void) {
  pthread_mutex_lock(&mutex);
  bool more = first && threads < PASSED_THREADS;
  threads += more;
  pthread_mutex_unlock(&mutex);
  if (!more || thread_start(releaser, NULL) == 0) return;
  pthread_mutex_lock(&mutex);
  threads--;
  pthread_mutex_unlock(&mutex);
}

static void append(struct work *work) {
  pthread_mutex_lock(&mutex);
  *last = work;
  last = &work->next;
  pthread_mutex_unlock(&mutex);
  passed_advance();
}

int passed_take(int fd, int done) {
  struct work *work = calloc(1, sizeof *work);
  if (work == NULL) return ENOMEM;
  work->socket = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  work->done = fcntl(done, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (work->socket >= 0 && work->done >= 0) {
    append(work);
    return 0;
  }
  int code = errno;
  if (work->socket >= 0) close(work->socket); /* a second name: nothing is let go */
  if (work->done >= 0) close(work->done);
  free(work);
  return code;
}

/* Nothing comes in any more: what is not there now never is. Of a stream nobody knows: a byte that is out of band may
 * carry descriptors, and a look does not see it. */
static bool is_empty(int fd) {
  char byte;
  (void)shutdown(fd, SHUT_RDWR);
  ssize_t size = recv(fd, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  return size < 0 && errno == EAGAIN;
}

void passed_close(int fd) {
  if (is_empty(fd)) {
    close(fd);
    return;
  }
  struct work *work = calloc(1, sizeof *work);
  if (work == NULL) return; /* it stays open: that is better than a loop that stands still */
  *work = (struct work){.socket = fd, .done = -1};
  append(work);
}
