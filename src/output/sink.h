/* sink: one place being written, without ever waiting for it.
 *
 * Whatever is to be written goes through one buffer, whole lines at a time, so nothing that shares
 * a sink is torn or comes out of order, however short the writes are.
 *
 *   OPEN      writes at the end of the turn in which something was added
 *   BLOCKED   the reader is slow: waits for the descriptor, and is `full` above SINK_HIGH, so that
 *             the feeders stop reading and the pipes push back on the jobs
 *   FAILING   the disk is full, or broken: tries again each second
 *   GONE      the reader went away: swallows, and counts
 *
 * Why a failing disk drops lines and a slow reader does not: a slow reader is somebody who works, and
 * for him the loss would be silent; nobody works on a disk that is full. An application that stands
 * still because its log cannot be written is an outage made out of a nuisance, so lines that the
 * buffer cannot hold are dropped, counted, and told when the disk is well again. For the same
 * reason a reader that is gone (EPIPE) ends nothing: a job must not block for ever, nor die of
 * SIGPIPE, because a log collector crashed.
 *
 * How to write without blocking depends on what the descriptor is. O_NONBLOCK belongs to the open
 * file description, which 1 and 2 share with the jobs and with the shell that started us, so it
 * is never set on those:
 *   a pipe, a terminal   a description of our own, by opening /proc/self/fd/N anew
 *   the same, EACCES     (another user's pipe) poll, then write what a ready pipe always takes
 *   a socket             send() with MSG_DONTWAIT
 *   a file, a device     write; the shared offset of a file must stay shared, so no reopening
 *
 * Where somebody else writes into the same pipe (a raw job, another sink), a write that is cut short lets
 * him into the middle of a line. So such a sink is `shared`: each write is whole lines of at most
 * PIPE_BUF bytes, which the kernel takes as one piece or not at all. A line that is longer is one write;
 * it is torn where the pipe has room for a part of it only, and that cannot be known before. A file takes
 * every write as one piece.
 *
 * It owns its buffer, its path, and its descriptor unless that is 1 or 2. */
#ifndef LUAPILOT_OUTPUT_SINK_H
#define LUAPILOT_OUTPUT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/names.h"
#include "loop/loop.h"

#ifndef SINK_HIGH /* fuzzing has smaller ones */
#  define SINK_HIGH (256 * 1024)
#  define SINK_LOW (64 * 1024)
#  define OUTPUT_OWN (1024 * 1024)
#endif

enum sink_way { SINK_OWN, SINK_CAUTIOUS, SINK_SOCKET, SINK_DIRECT };
enum sink_state { SINK_OPEN, SINK_BLOCKED, SINK_FAILING, SINK_GONE };

/* What its owner should tell people. */
enum sink_news {
  SINK_HAS_GONE,      /* sink->error tells why */
  SINK_HAS_FAILED,    /* the same; it is tried again */
  SINK_HAS_RECOVERED, /* `count` lines were dropped meanwhile */
  SINK_HAS_LOST,      /* `count` lines were dropped: there was no memory, or its reader was gone */
  SINK_HAS_ROOM,      /* `count` of the pilot's own messages were dropped before */
};

/* Somebody who waits until a sink has room again. Embedded, zero-initialised. */
struct sink_feeder {
  struct sink_feeder *next, *previous; /* the sink's ring; NULL = does not wait */
  void (*resume)(struct sink_feeder *feeder);
};

struct sink {
  struct loop *loop; /* not owned */
  enum sink_way way;
  enum sink_state state;
  int inherited; /* 1 or 2, never closed; -1: a file */
  struct watcher
      watcher;         /* .fd is what is written to; owned unless it is `inherited`; -1: closed */
  char *path;          /* owned; NULL: 1 or 2 */
  unsigned references; /* who writes there; counted up by them, down by sink_release() */
  bool widened;        /* its pipe, if it is one */
  bool shared;         /* others write there, too: for good, as nobody knows who inherited it */
  dev_t device;        /* which pipe, terminal or socket it is; */
  ino_t inode;         /* 0: a file, or a device */

  struct buffer buffer; /* what is not written yet */
  struct buffer *spare; /* an empty buffer, common to all sinks: one that writes borrows it, so a
                           thousand quiet log files hold none; not owned */
  struct timer timer;   /* the end of this turn, or the next try */
  struct sink_feeder feeders;

  /* The pilot's own bytes in the buffer, in two heaps: below the mark, and above it. When all below
   * it is written, the mark moves up to the end. */
  size_t own_below, own_above;
  uint64_t written, mark; /* counted in bytes since the beginning */

  uint64_t told;  /* up to here somebody was told at the end that the bytes are lost */
  size_t dropped; /* own messages that did not fit */
  size_t lost;    /* lines, since somebody was told of it */
  int error;      /* errno of the failure */

  /* May write into this very sink, or another; must not free it. */
  void (*news)(struct sink *sink, enum sink_news news, size_t count);
  /* The last reference to a file has gone; may free it. */
  void (*unused)(struct sink *sink);
  void *context;     /* of both */
  struct sink *next; /* the owner's list */
};

/* Our stdout or stderr. Cannot fail: one that is closed swallows. */
void sink_init(struct sink *sink, struct loop *loop, int fd);
/* A file, a FIFO, a terminal, opened for appending, as file/place.h allows. Returns 0, or -1 with `failure`. */
int sink_open(struct sink *sink, struct loop *loop, const char *path, struct failure *failure);
/* Opens the file anew, and forgives a reader that was gone. Returns 0, or -1 with `failure`: nothing
 * changed. */
int sink_reopen(struct sink *sink, struct failure *failure);
/* Whether both write into one pipe, terminal or socket. */
bool sink_same(const struct sink *sink, const struct sink *other);
/* Gives a reference back. Stdout and stderr are counted, too, and stay nevertheless. */
void sink_release(struct sink *sink);
/* Gives everything back but the struct. Feeders are forgotten, not resumed. */
void sink_close(struct sink *sink);

/* Whether a feeder should stop reading; then it waits in line and is resumed once. */
bool sink_full(const struct sink *sink);
void sink_wait(struct sink *sink, struct sink_feeder *feeder);
void sink_unwait(struct sink_feeder *feeder);

/* Where to append the next line of a job; NULL: drop it, and count it with sink_lose().
 * After the last one of a batch comes sink_commit(). */
struct buffer *sink_line(struct sink *sink);
void sink_lose(struct sink *sink);
void sink_commit(struct sink *sink);

/* One of the pilot's own messages, written at once if possible: it may be the last one. */
void sink_own(struct sink *sink, const char *message, size_t size);

/* Writes what it can now. */
void sink_flush(struct sink *sink);
/* What would have to become writable for sink_flush() to get on; -1: nothing would help. */
int sink_waits_for(const struct sink *sink);

#endif
