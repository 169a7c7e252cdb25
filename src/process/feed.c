#include "process/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct feed *of_watcher(struct watcher *watcher) {
  return (struct feed *)((char *)watcher - offsetof(struct feed, watcher));
}

/* False when there is nothing more to be done: all is written, or the reader is gone. */
static bool push(struct feed *feed) {
  while (feed->written < feed->size) {
    ssize_t size = write(feed->watcher.fd, feed->text + feed->written, feed->size - feed->written);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN;
    feed->written += (size_t)size;
  }
  return false;
}

static void writable(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct feed *feed = of_watcher(watcher);
  if (!push(feed)) feed_stop(feed);
}

int feed_keep(struct feed *feed, const char *text, size_t size) {
  feed->text = malloc(size + 1); /* never NULL for an empty text */
  if (feed->text == NULL) return -1;
  memcpy(feed->text, text, size);
  feed->size = size;
  return 0;
}

void feed_start(struct feed *feed, struct loop *loop, int fd) {
  feed->loop = loop;
  feed->watcher = (struct watcher){.fd = fd, .ready = writable};
  feed->started = true;
  /* A watch that is refused (no memory) ends the text early, as a reader that left would. */
  if (!push(feed) || loop_watch(loop, &feed->watcher, EPOLLOUT) != 0) feed_stop(feed);
}

int feed_hold(struct feed *feed, struct loop *loop, int fd) {
  if (feed_keep(feed, "", 0) != 0) {
    close(fd);
    return -1;
  }
  feed->loop = loop;
  feed->watcher = (struct watcher){.fd = fd};
  feed->started = true;
  return 0;
}

void feed_stop(struct feed *feed) {
  if (feed->text == NULL) return;
  if (feed->started) {
    loop_unwatch(feed->loop, &feed->watcher);
    close(feed->watcher.fd);
  }
  free(feed->text);
  feed->text = NULL;
}
