#include "input.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t *input, *input_end;

void input_begin(const uint8_t *data, size_t size) {
  input = data;
  input_end = data + size;
}

bool input_more(void) {
  return input < input_end;
}

unsigned input_byte(void) {
  return input_more() ? *input++ : 0;
}

const uint8_t *input_take(size_t *size) {
  const uint8_t *taken = input;
  size_t left = (size_t)(input_end - input);
  if (*size > left) *size = left;
  input += *size;
  return taken;
}

void wrong(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vfprintf(stderr, format, arguments);
  va_end(arguments);
  (void)fputc('\n', stderr);
  abort();
}
