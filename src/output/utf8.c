#include "output/utf8.h"

#include <string.h>

/* --- characters -------------------------------------------------------------------------- */

/* The length that a leading byte announces; 0: no byte that may lead. */
static size_t announced(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0; /* a continuation, or an overlong form */
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

/* The second byte carries what the first cannot exclude: overlong forms, surrogates, the end. */
static bool follows(unsigned char lead, unsigned char second) {
  if (lead == 0xe0) return second >= 0xa0 && second <= 0xbf;
  if (lead == 0xed) return second >= 0x80 && second <= 0x9f;
  if (lead == 0xf0) return second >= 0x90 && second <= 0xbf;
  if (lead == 0xf4) return second >= 0x80 && second <= 0x8f;
  return second >= 0x80 && second <= 0xbf;
}

/* How many of `size` bytes belong to a valid character, or to the beginning of one. */
static size_t prefix_of_character(const unsigned char *data, size_t size, size_t length) {
  size_t i = 1;
  if (i < size && i < length && follows(data[0], data[1])) i++;
  if (i < 2) return i;
  while (i < size && i < length && (data[i] & 0xc0) == 0x80) i++;
  return i;
}

/* The length of the character at `data`; 0: it is not valid UTF-8. */
static size_t character(const unsigned char *data, size_t size) {
  size_t length = announced(data[0]);
  if (length == 0 || length > size) return 0;
  return prefix_of_character(data, size, length) == length ? length : 0;
}

size_t utf8_whole(const char *data, size_t size) {
  const unsigned char *bytes = (const unsigned char *)data;
  for (size_t back = 1; back <= 3 && back < size; back++) {
    const unsigned char *lead = bytes + size - back;
    if ((*lead & 0xc0) == 0x80) continue;
    size_t length = announced(*lead);
    bool cut = length > back && prefix_of_character(lead, back, length) == back;
    return cut ? size - back : size;
  }
  return size;
}

/* --- quoting ----------------------------------------------------------------------------- */

/* JSON's escapes serve logfmt, too: its readers undo them in quoted values. */

#define BLOCK 32

/* Without a branch inside, so that compilers make it a few vector instructions. */
static bool block_plain(const unsigned char *data) {
  unsigned char odd = 0;
  for (int i = 0; i < BLOCK; i++) odd |= (unsigned char)!utf8_plain(data[i]);
  return odd == 0;
}

static size_t unquoted(const unsigned char *data, size_t size) {
  size_t i = 0;
  while (i < size) {
    if (size - i >= BLOCK && block_plain(data + i)) {
      i += BLOCK;
      continue;
    }
    size_t stop = size - i >= BLOCK ? i + BLOCK : size;
    while (i < stop && utf8_plain(data[i])) i++;
    if (i == stop) continue;
    size_t length = data[i] < 0x80 ? 0 : character(data + i, size - i);
    if (length == 0) return i;
    i += length;
  }
  return size;
}

size_t utf8_clean(const char *data, size_t size) {
  return unquoted((const unsigned char *)data, size);
}

/* Escapes one byte that is not plain and not part of a character. Six bytes at most. */
static size_t escape(char *out, unsigned char byte) {
  static const char hex[] = "0123456789abcdef";
  static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  if (byte >= 0x80) {
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
  }
  for (const char *form = short_forms; *form; form += 2)
    if ((unsigned char)*form == byte) {
      out[0] = '\\';
      out[1] = form[1];
      return 2;
    }
  memcpy(out, "\\u00", 4);
  out[4] = hex[byte >> 4];
  out[5] = hex[byte & 15];
  return 6;
}

bool utf8_escape(struct buffer *out, const char *text, size_t size) {
  const unsigned char *data = (const unsigned char *)text;
  while (size > 0) {
    size_t clean = unquoted(data, size);
    if (!buffer_reserve(out, clean + 6)) return false;
    buffer_put(out, data, clean);
    data += clean;
    size -= clean;
    for (; size > 0 && !utf8_plain(*data) && character(data, size) < 2; data++, size--) {
      if (!buffer_reserve(out, 6)) return false;
      out->end += escape(out->data + out->end, *data);
    }
  }
  return true;
}
