#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>

#define SMALLEST 256

/* A move costs its bytes, so it must be paid for by at least as many consumed ones. */
static bool worth_moving(const struct buffer *buffer, size_t size) {
  size_t used = buffer_size(buffer);
  return buffer->start >= used && buffer->capacity - used >= size;
}

static void move_to_front(struct buffer *buffer) {
  size_t used = buffer_size(buffer);
  if (buffer->start > 0 && used > 0) memmove(buffer->data, buffer->data + buffer->start, used);
  buffer->start = 0;
  buffer->end = used;
}

bool buffer_grow(struct buffer *buffer, size_t size) {
  if (worth_moving(buffer, size)) {
    move_to_front(buffer);
    return true;
  }
  if (size > SIZE_MAX / 4 - buffer->end) return false;
  size_t capacity = buffer->capacity ? buffer->capacity : SMALLEST;
  while (capacity < buffer->end + size) capacity *= 2;
  char *data = realloc(buffer->data, capacity);
  if (data == NULL) return false;
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

void buffer_fit(struct buffer *buffer) {
  char *data = buffer->end > 0 ? realloc(buffer->data, buffer->end) : NULL;
  if (data == NULL) return;
  buffer->data = data;
  buffer->capacity = buffer->end;
}

void buffer_free(struct buffer *buffer) {
  free(buffer->data);
  *buffer = (struct buffer){0};
}
