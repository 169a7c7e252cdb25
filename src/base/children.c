#include "base/children.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Nothing is there: "". */
static void read_file(pid_t pid, const char *name, char *text, size_t size) {
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd >= 0 ? read(fd, text, size - 1) : 0;
  if (fd >= 0) close(fd);
  text[length > 0 ? length : 0] = '\0';
}

bool children_look(pid_t pid, struct child *child) {
  char text[1024];
  read_file(pid, "stat", text, sizeof text);
  *child = (struct child){.pid = pid, .name = "?"};
  return read_stat(text, child);
}

/* The kernel escapes the line feeds of the name, which comes first. */
bool children_is_of(pid_t pid, uid_t uid) {
  char text[1024];
  read_file(pid, "status", text, sizeof text);
  const char *line = strstr(text, "\nUid:\t");
  return line && strtoul(line + strlen("\nUid:\t"), NULL, 10) == uid;
}
