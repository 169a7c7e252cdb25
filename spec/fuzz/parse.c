/* parse: a line of a job, is it a JSON object, and which level does it name? Under libFuzzer, judged by a reader that
 * was written another way (object.c).
 *
 * The first byte of an input chooses the key that is asked for, the rest is the line. What is taken must be an object
 * by RFC 8259, without what output/parse.h excludes; what is not taken must have a reason that output/parse.h names. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "object.h"
#include "output/parse.h"

static void check_level(const struct parse_object *found) {
  enum log_level level = (enum log_level)99;
  int expected = object_level(found->value, found->value_size);
  bool known = parse_level(found->value, found->value_size, &level);
  if (known != (expected >= 0)) wrong("a level that is none, or none that is one");
  if ((int)level != (known ? expected : 99)) wrong("another level");
}

static void check(const char *line, size_t size, const char *key) {
  struct parse_object found;
  struct object object;
  bool taken = parse_object(line, size, key, &found);
  bool right = object_read(&object, line, size, key);
  if (right && memchr(line, '\n', size)) right = false; /* no line has one */
  if (taken && !right) wrong("taken, and no object");
  if (taken && (object_excluded(&object) || object.infinite))
    wrong("taken, and not for every reader");
  if (!taken && right && !object_excluded(&object)) wrong("an object that was not taken");
  if (!taken) return;
  if (found.text != object.text || found.text + found.size != object.end)
    wrong("another beginning or end");
  if (found.value != object.value) wrong("another value of the key");
  if (found.value == NULL) return;
  if (found.value_size != object.value_size) wrong("another end of the value");
  check_level(&found);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  return 0;
}

/* The line stands alone in its memory, so that a byte behind it is seen to be read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const keys[] = {NULL, "level", "", "n"};
  if (size == 0) return 0;
  char *line = malloc(size - 1 ? size - 1 : 1);
  if (line == NULL) abort();
  memcpy(line, data + 1, size - 1);
  check(line, size - 1, keys[data[0] % 4]);
  free(line);
  return 0;
}
