#include "handle.h"

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

static struct handle *oldest(const struct handle_table *table) {
  struct handle *found = NULL;
  for (size_t i = 0; i < table->size; i++)
    for (struct handle *handle = table->buckets[i]; handle; handle = handle->next)
      if (found == NULL || handle->id < found->id) found = handle;
  return found;
}

void handle_close(struct handle_table *table) {
  for (struct handle *handle = oldest(table); handle; handle = oldest(table))
    handle->cancel(handle); /* takes itself out of the table */
  free(table->buckets);
  *table = (struct handle_table){.last = table->last};
}
