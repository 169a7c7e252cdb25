#include "process/mark.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/thread.h"

#define LARGEST_ENVIRONMENT (128 * 1024) /* bytes of one that are read */
#define LONGEST 256 /* "NAME=value": what is longer differs in front, or not at all */
#define ELSEWHERE SIZE_MAX

enum state { AT_WORK, DONE, ABANDONED };

struct reading {
  pid_t pid;
  unsigned long long start;
  int64_t begun;
  size_t name_size; /* with the "=" */
  _Atomic int state;
  bool found;         /* these two are the thread's until DONE */
  char text[LONGEST]; /* the name, and behind it what was found */
};

/* --- in the thread ----------------------------------------------------------------------- */

/* `at`: how much of the text is there; ELSEWHERE: in another variable. False: all has been found. */
static bool take(struct reading *reading, size_t *at, char byte) {
  if (*at != ELSEWHERE && *at >= reading->name_size) {
    reading->text[*at] = byte;
    return byte != '\0' && ++*at < LONGEST - 1;
  }
  *at = *at != ELSEWHERE && byte == reading->text[*at] ? *at + 1 : ELSEWHERE;
  if (byte == '\0') *at = 0;
  if (*at == reading->name_size) reading->found = true;
  return true;
}

static void read_environment(struct reading *reading) {
  char path[48], bytes[4096];
  (void)snprintf(path, sizeof path, "/proc/%d/environ", (int)reading->pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t size = 1;
  size_t at = 0;
  bool goes_on = true;
  for (ssize_t left = LARGEST_ENVIRONMENT; goes_on && size > 0 && left > 0; left -= size) {
    size = read(fd, bytes, sizeof bytes);
    for (ssize_t i = 0; i < size && goes_on; i++) goes_on = take(reading, &at, bytes[i]);
  }
  close(fd);
}

static void *read_main(void *argument) {
  struct reading *reading = argument;
  int expected = AT_WORK;
  read_environment(reading);
  if (!atomic_compare_exchange_strong(&reading->state, &expected, DONE)) free(reading);
  return NULL;
}

/* --- in the loop ------------------------------------------------------------------------- */

/* Accepts NULL. */
static void let_go(struct reading *reading) {
  int expected = AT_WORK;
  if (reading && !atomic_compare_exchange_strong(&reading->state, &expected, ABANDONED))
    free(reading);
}

static struct reading *begin(const struct child *child, const char *variable, size_t name_size) {
  struct reading *reading = calloc(1, sizeof *reading);
  if (reading == NULL) return NULL;
  reading->pid = child->pid;
  reading->start = child->start;
  reading->begun = loop_now();
  reading->name_size = name_size;
  memcpy(reading->text, variable, name_size);
  if (thread_start(read_main, reading) == 0) return reading;
  free(reading);
  return NULL;
}

static struct reading **find(struct marks *marks, const struct child *child, const char *variable,
                             size_t name_size) {
  for (int i = 0; i < MARKS; i++) {
    const struct reading *reading = marks->readings[i];
    if (reading && reading->pid == child->pid && reading->start == child->start &&
        reading->name_size == name_size && memcmp(reading->text, variable, name_size) == 0)
      return &marks->readings[i];
  }
  return NULL;
}

/* An empty place, or that of the oldest that is done. NULL: all of them hang. */
static struct reading **make_room(struct marks *marks) {
  struct reading **oldest = NULL;
  for (int i = 0; i < MARKS; i++) {
    struct reading **place = &marks->readings[i];
    if (*place == NULL) return place;
    if ((*place)->state == DONE && (oldest == NULL || (*place)->begun < (*oldest)->begun))
      oldest = place;
  }
  return oldest;
}

static enum mark answer(const struct reading *reading, const char *variable) {
  if (reading->state == AT_WORK)
    return loop_now() - reading->begun < MARK_PATIENCE ? MARK_UNREAD : MARK_NONE;
  if (!reading->found) return MARK_NONE;
  return strncmp(reading->text, variable, LONGEST - 1) == 0 ? MARK_OURS : MARK_OTHERS;
}

static bool is_good(const struct reading *reading, int64_t since) {
  return reading->state == AT_WORK || reading->found || reading->begun >= since;
}

enum mark mark_of(struct marks *marks, const struct child *child, const char *variable,
                  int64_t since) {
  size_t name_size = strcspn(variable, "=") + 1;
  if (name_size >= LONGEST) return MARK_NONE;
  struct reading **place = find(marks, child, variable, name_size);
  if (place && is_good(*place, since)) return answer(*place, variable);
  if (place == NULL) place = make_room(marks);
  if (place == NULL) return MARK_NONE;
  let_go(*place);
  *place = begin(child, variable, name_size);
  return *place ? MARK_UNREAD : MARK_NONE;
}

void marks_free(struct marks *marks) {
  for (int i = 0; i < MARKS; i++) {
    let_go(marks->readings[i]);
    marks->readings[i] = NULL;
  }
}
