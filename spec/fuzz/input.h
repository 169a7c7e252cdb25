/* input: what libFuzzer gave, read as a play from the front; behind its end come zeros. And how a
 * harness says that an oracle was right to doubt. */
#ifndef LUAPILOT_FUZZ_INPUT_H
#define LUAPILOT_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrows `data` until the next call. */
void input_begin(const uint8_t *data, size_t size);
bool input_more(void);
unsigned input_byte(void);
/* The next `*size` bytes, or as many as there are. */
const uint8_t *input_take(size_t *size);

/* Says what is wrong, and aborts. */
_Noreturn void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
