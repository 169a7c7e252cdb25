#include "loop/handle.h"

#include <errno.h>
#include <stdlib.h>

/* Ids are consecutive, so their low bits are the best hash there is. */
static struct handle **bucket(const struct handle_table *table, uint64_t id) {
  return &table->buckets[id & (table->size - 1)];
}

static void link_in(struct handle_table *table, struct handle *handle) {
  struct handle **head = bucket(table, handle->id);
  handle->next = *head;
  *head = handle;
}

static int grow(struct handle_table *table) {
  struct handle_table wider = *table;
  wider.size = table->size ? table->size * 2 : 64;
  wider.buckets = calloc(wider.size, sizeof(struct handle *));
  if (wider.buckets == NULL) {
    errno = ENOMEM;
    return -1;
  }
  for (size_t i = 0; i < table->size; i++) {
    struct handle *handle = table->buckets[i];
    while (handle) {
      struct handle *next = handle->next;
      link_in(&wider, handle);
      handle = next;
    }
  }
  free(table->buckets);
  *table = wider;
  return 0;
}

int handle_add(struct handle_table *table, struct handle *handle) {
  if (table->count >= table->size && grow(table) != 0) return -1;
  handle->id = ++table->last;
  link_in(table, handle);
  table->count++;
  return 0;
}

void handle_remove(struct handle_table *table, struct handle *handle) {
  if (handle->id == 0) return;
  struct handle **link = bucket(table, handle->id);
  while (*link != handle) link = &(*link)->next;
  *link = handle->next;
  handle->id = 0;
  table->count--;
}

struct handle *handle_find(const struct handle_table *table, uint64_t id) {
  if (table->size == 0) return NULL;
  struct handle *handle = *bucket(table, id);
  while (handle && handle->id != id) handle = handle->next;
  return handle;
}

void handle_close(struct handle_table *table) {
  for (size_t i = 0; i < table->size; i++)
    while (table->buckets[i]) table->buckets[i]->cancel(table->buckets[i]); /* takes itself out */
  free(table->buckets);
  *table = (struct handle_table){.last = table->last};
}
