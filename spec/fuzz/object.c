#include "object.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "output/parse.h"

struct reading {
  const char *at, *end;
  const char *key;
  struct object *object;
};

static bool value(struct reading *r, int depth);

/* The byte that comes; 0: none, or NUL, which fits nowhere. */
static char peek(const struct reading *r) {
  return r->at < r->end ? *r->at : 0;
}

static bool eat(struct reading *r, char byte) {
  if (byte == 0 || peek(r) != byte) return false;
  r->at++;
  return true;
}

static void blanks(struct reading *r) {
  for (; peek(r) && strchr(" \t\r\n", peek(r)); r->at++)
    if (*r->at == '\r') r->object->has_return = true;
}

static bool four_digits(struct reading *r, unsigned long *unit) {
  char digits[5] = {0};
  if (r->end - r->at < 4) return false;
  memcpy(digits, r->at, 4);
  if (strspn(digits, "0123456789abcdefABCDEF") != 4) return false;
  *unit = strtoul(digits, NULL, 16);
  r->at += 4;
  return true;
}

static bool string(struct reading *r) {
  unsigned long high = 0; /* of a pair, just before */
  if (!eat(r, '"')) return false;
  while (!eat(r, '"')) {
    size_t length = utf8_length(r->at, (size_t)(r->end - r->at));
    unsigned long unit = 0;
    if (length == 0 || (unsigned char)*r->at < 0x20) return false;
    if (*r->at == '\\') {
      r->at++;
      if (eat(r, 'u')) {
        if (!four_digits(r, &unit)) return false;
      } else if (!peek(r) || !strchr("bfnrt\"\\/", *r->at++)) {
        return false;
      }
    } else {
      r->at += length;
    }
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if ((high != 0) != is_low) r->object->half_pair = true;
    high = unit >= 0xd800 && unit <= 0xdbff ? unit : 0;
  }
  if (high != 0) r->object->half_pair = true;
  return true;
}

static bool number(struct reading *r) {
  char text[2048];
  size_t size = 0, digits;
  while (r->at + size < r->end && size < sizeof text - 1 &&
         strchr("+-.0123456789eE", r->at[size]) && r->at[size])
    size++;
  memcpy(text, r->at, size);
  text[size] = 0;
  const char *p = text;
  if (*p == '-') p++;
  digits = strspn(p, "0123456789");
  if (digits == 0 || (digits > 1 && *p == '0')) return false;
  size_t large = digits;
  p += digits;
  if (*p == '.') {
    digits = strspn(p + 1, "0123456789");
    if (digits == 0) return false;
    p += 1 + digits;
  }
  if (*p == 'e' || *p == 'E') {
    p++;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    digits = strspn(p, "0123456789");
    if (digits == 0) return false;
    unsigned long exponent = strtoul(p, NULL, 10);
    if (!negative) large += exponent < 10000 ? exponent : 10000;
    p += digits;
  }
  if (large > 308) r->object->wide = true;
  if (!isfinite(strtod(text, NULL))) r->object->infinite = true;
  r->at += p - text;
  return true;
}

static bool word(struct reading *r, const char *text) {
  size_t size = strlen(text);
  if ((size_t)(r->end - r->at) < size || strncmp(r->at, text, size) != 0) return false;
  r->at += size;
  return true;
}

static bool array(struct reading *r, int depth) {
  r->at++;
  blanks(r);
  if (eat(r, ']')) return true;
  do {
    if (!value(r, depth + 1)) return false;
  } while (eat(r, ','));
  return eat(r, ']');
}

static bool member(struct reading *r, int depth) {
  struct object *object = r->object;
  blanks(r);
  const char *name = r->at + 1;
  if (!string(r)) return false;
  size_t size = (size_t)(r->at - name) - 1;
  bool asked = depth == 1 && r->key && strlen(r->key) == size && memcmp(r->key, name, size) == 0;
  blanks(r);
  if (!eat(r, ':')) return false;
  blanks(r);
  const char *start = r->at;
  bool scalar = peek(r) != '{' && peek(r) != '[';
  if (!value(r, depth + 1)) return false;
  if (!asked) return true;
  object->met++;
  object->value = scalar ? start : NULL;
  for (object->value_size = (size_t)(r->at - start); object->value_size > 0; object->value_size--)
    if (!strchr(" \t\r\n", start[object->value_size - 1])) break;
  return true;
}

static bool members(struct reading *r, int depth) {
  r->at++;
  blanks(r);
  if (eat(r, '}')) return true;
  do {
    if (!member(r, depth)) return false;
  } while (eat(r, ','));
  return eat(r, '}');
}

/* With the white space around it. `depth` is that of an object or array, were it one. */
static bool value(struct reading *r, int depth) {
  bool ok;
  blanks(r);
  bool nested = peek(r) == '{' || peek(r) == '[';
  if (nested && depth > r->object->depth) r->object->depth = depth;
  if (depth > 5000) return false; /* the stack of this reader */
  switch (peek(r)) {
  case '{': ok = members(r, depth); break;
  case '[': ok = array(r, depth); break;
  case '"': ok = string(r); break;
  case 't': ok = word(r, "true"); break;
  case 'f': ok = word(r, "false"); break;
  case 'n': ok = word(r, "null"); break;
  default: ok = number(r);
  }
  if (depth > 1) blanks(r);
  return ok;
}

bool object_read(struct object *object, const char *text, size_t size, const char *key) {
  struct reading r = {text, text + size, key, object};
  *object = (struct object){0};
  blanks(&r);
  object->text = r.at;
  if (peek(&r) != '{' || !value(&r, 1)) return false;
  object->end = r.at;
  bool has_return = object->has_return;
  blanks(&r);
  object->has_return = has_return;
  return r.at == r.end;
}

bool object_excluded(const struct object *object) {
  return object->depth > PARSE_DEPTH || object->wide || object->has_return || object->half_pair ||
         object->met > 1;
}

static int level_of(const char *word) {
  static const char *const lists[] = {" trace debug ", " info notice ", " warn warning ",
                                      " error err fatal critical "};
  char padded[80];
  if (strlen(word) > 32 || strchr(word, ' ')) return -1;
  (void)snprintf(padded, sizeof padded, " %s ", word);
  for (int i = 0; *word && i < 4; i++)
    if (strcasestr(lists[i], padded)) return i;
  return -1;
}

int object_level(const char *value, size_t size) {
  char text[64] = {0};
  if (size >= sizeof text) return -1;
  memcpy(text, value, size);
  if (*text == '"') {
    text[size - 1] = 0;
    return level_of(text + 1);
  }
  int number = atoi(text);
  if (size != 2 || strspn(text, "0123456789") != 2 || number < 10 || number > 60) return -1;
  return number < 30 ? 0 : number < 40 ? 1 : number < 50 ? 2 : 3;
}
