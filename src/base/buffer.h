/* buffer: bytes that come in at the end and leave at the front.
 *
 * One contiguous run, so that what is in it can be handed to write() as it is. It moves its content
 * to the front or grows only when there is no room at the end. Nothing is shared; whoever embeds it
 * owns it. Zero-initialised it is empty. */
#ifndef LUAPILOT_BASE_BUFFER_H
#define LUAPILOT_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buffer {
  char *data; /* owned; NULL while nothing was ever reserved */
  size_t start, end, capacity;
};

static inline size_t buffer_size(const struct buffer *buffer) {
  return buffer->end - buffer->start;
}

/* Valid until the next reserve; NULL plus 0 is avoided because that is not defined. */
static inline char *buffer_front(const struct buffer *buffer) {
  return buffer->data ? buffer->data + buffer->start : NULL;
}

/* Makes room for `size` more bytes. False, and nothing changed, when there is no memory. */
bool buffer_grow(struct buffer *buffer, size_t size);

static inline bool buffer_reserve(struct buffer *buffer, size_t size) {
  return buffer->capacity - buffer->end >= size || buffer_grow(buffer, size);
}

/* Appends what was reserved before. */
static inline void buffer_put(struct buffer *buffer, const void *data, size_t size) {
  if (size == 0) return; /* memcpy(…, NULL, 0) is not defined */
  memcpy(buffer->data + buffer->end, data, size);
  buffer->end += size;
}

static inline bool buffer_append(struct buffer *buffer, const void *data, size_t size) {
  if (!buffer_reserve(buffer, size)) return false;
  buffer_put(buffer, data, size);
  return true;
}

/* Takes back what was appended after the content had `size` bytes. */
static inline void buffer_cut(struct buffer *buffer, size_t size) {
  buffer->end = buffer->start + size;
}

/* Takes `size` bytes from the front. */
static inline void buffer_consume(struct buffer *buffer, size_t size) {
  buffer->start += size;
  if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
}

/* Keeps its content and gives back the room behind it. */
void buffer_fit(struct buffer *buffer);

/* Empties it and gives the memory back. */
void buffer_free(struct buffer *buffer);

#endif
