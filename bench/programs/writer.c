/* writer LINES BLOCK [end]: writes LINES lines of 100 bytes, BLOCK bytes at a time, then rests, or ends. Blocks cut
 * lines where they end, as the buffer of stdio does. The last line is of dots. While it rests its end of the pipe
 * stays open, so that whoever reads it is still there to be measured. */
#include <stdlib.h>
#include <string.h>

#include "stamp.h"

#define LINE 100

int main(int argc, char **argv) {
  if (argc != 3 && argc != 4) return 2;
  int64_t left = (atoll(argv[1]) - 1) * LINE;
  size_t block = (size_t)atol(argv[2]), phase = 0;
  char *text = malloc(block + 2 * LINE);
  if (text == NULL || block == 0) return 1;
  for (size_t i = 0; i < block + 2 * LINE; i++)
    text[i] = i % LINE == LINE - 1 ? '\n' : (char)('a' + i % LINE % 26);
  (void)stamp_write();
  (void)alarm(600);
  while (left > 0) {
    size_t size = left < (int64_t)block ? (size_t)left : block;
    ssize_t done = write(STDOUT_FILENO, text + phase, size);
    if (done <= 0) return 1;
    phase = (phase + (size_t)done) % LINE;
    left -= done;
  }
  memset(text, '.', LINE - 1);
  text[LINE - 1] = '\n';
  if (write(STDOUT_FILENO, text, LINE) != LINE) return 1;
  if (argc == 4) return 0;
  for (;;) (void)pause();
}
