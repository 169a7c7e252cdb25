/* handle: the numbers by which Lua names what lives in C.
 *
 * A handle is an integer that is given once and never used again, so a stale one is simply not
 * found: there is no way to reach a stranger with it. The map from number to meaning on the other
 * side lives in Lua.
 *
 * The table owns its buckets, never the handles: those are embedded in a timer, a process, a
 * connection, and leave the table before they are freed. */
#ifndef LUAPILOT_LOOP_HANDLE_H
#define LUAPILOT_LOOP_HANDLE_H

#include <stddef.h>
#include <stdint.h>

enum handle_kind {
  HANDLE_TIMER,
  HANDLE_PROC,
  HANDLE_POLL,
  HANDLE_CONNECT,
  HANDLE_CONNECTION,
  HANDLE_HTTP,
  HANDLE_CONSUL,
  HANDLE_PLACE,
  HANDLE_FILE,
};

struct handle {
  uint64_t id; /* 0 = not in the table */
  enum handle_kind kind;
  /* Ends it: takes back its events, leaves the table, frees it. No event with this id comes after. */
  void (*cancel)(struct handle *handle);
  struct handle *next; /* the table's */
};

struct handle_table {
  struct handle **buckets; /* owned; NULL while empty */
  size_t size, count;
  uint64_t last;
};

/* Gives `handle` (kind and cancel filled in) its id. Returns 0, or -1 with ENOMEM. */
int handle_add(struct handle_table *table, struct handle *handle);
/* Takes it out; harmless when it is not in. */
void handle_remove(struct handle_table *table, struct handle *handle);
/* NULL: never given, or gone. */
struct handle *handle_find(const struct handle_table *table, uint64_t id);
/* Cancels everything that is left, in no order, and frees the buckets. */
void handle_close(struct handle_table *table);

#endif
