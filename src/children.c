#include "children.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST_ENVIRONMENT (128 * 1024) /* bytes of one that are read */

bool children_proc_is_ours(void) {
  char self[16] = "";
  return readlink("/proc/self", self, sizeof self - 1) > 0 && strtol(self, NULL, 10) == getpid();
}

int children_open(pid_t parent) {
  char path[64];
  if (!children_proc_is_ours()) return -1;
  (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
  return open(path, O_RDONLY | O_CLOEXEC);
}

/* "12 13 14 ": one line, as long as it needs to be. */
bool children_each(int list, void (*met)(void *context, pid_t pid), void *context) {
  char bytes[4096];
  pid_t pid = 0;
  ssize_t size;
  for (off_t at = 0; (size = pread(list, bytes, sizeof bytes, at)) > 0; at += size) {
    for (ssize_t i = 0; i < size; i++) {
      if (isdigit((unsigned char)bytes[i])) {
        pid = pid * 10 + (bytes[i] - '0');
      } else {
        if (pid > 0) met(context, pid);
        pid = 0;
      }
    }
    if (size < (ssize_t)sizeof bytes / 2)
      return true; /* the usual: no second call to see the end */
  }
  return size == 0;
}

static int open_file_of(pid_t pid, const char *file) {
  char path[48];
  (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
  return open(path, O_RDONLY | O_CLOEXEC);
}

/* "12 (a name with ) in it) S 1 …": what follows the last parenthesis is the kernel's own, and the twentieth
 * word of it is the time of its start. */
static bool read_stat(char *text, struct child *child) {
  char *name = strchr(text, '('), *end = strrchr(text, ')');
  if (name == NULL || end == NULL || end < name || strlen(end) < 5) return false;
  *end = '\0';
  (void)snprintf(child->name, sizeof child->name, "%s", name + 1);
  for (char *byte = child->name; *byte; byte++)
    if (!isprint((unsigned char)*byte)) *byte = '?';
  child->ended = end[2] == 'Z' || end[2] == 'X';
  child->parent = (pid_t)strtol(end + 4, NULL, 10);
  const char *word = end + 1;
  for (int i = 0; i < 19 && word; i++) word = strchr(word + 1, ' ');
  if (word) child->start = strtoull(word, NULL, 10);
  return word != NULL;
}

bool children_look(pid_t pid, struct child *child) {
  char text[1024];
  int fd = open_file_of(pid, "stat");
  ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  if (fd >= 0) close(fd);
  text[size > 0 ? size : 0] = '\0';
  *child = (struct child){.pid = pid, .name = "?"};
  return read_stat(text, child);
}

struct search {
  const char *variable; /* "NAME=value" */
  size_t name_size;     /* with the "=" */
  size_t at;            /* the next byte that is looked for; SIZE_MAX: none, before the next NUL */
  enum children_mark found;
};

static void search(struct search *search, const char *bytes, ssize_t size) {
  for (ssize_t i = 0; i < size && search->found != MARK_OURS; i++) {
    if (search->at != SIZE_MAX && bytes[i] == search->variable[search->at]) {
      search->at++;
      if (bytes[i] == '\0') search->found = MARK_OURS;
      if (search->at == search->name_size) search->found = MARK_OTHERS;
    } else {
      search->at = SIZE_MAX;
    }
    if (bytes[i] == '\0') search->at = 0;
  }
}

/* The kernel gives anonymous memory only here (since Linux 4.17), so nobody can make us wait by putting
 * a file of a slow file system where his environment was. */
enum children_mark children_mark(pid_t pid, const char *variable) {
  struct search state = {.variable = variable, .name_size = strcspn(variable, "=") + 1};
  char bytes[4096];
  int fd = open_file_of(pid, "environ");
  ssize_t size;
  if (fd < 0) return MARK_NONE;
  for (int left = LARGEST_ENVIRONMENT; left > 0 && state.found != MARK_OURS; left -= (int)size) {
    size = read(fd, bytes, sizeof bytes);
    if (size <= 0) break;
    search(&state, bytes, size);
  }
  close(fd);
  return state.found;
}
