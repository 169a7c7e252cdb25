#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the search -------------------------------------------------------------------------- */

static const char *search_path(char *const *envp) {
  for (; *envp; envp++)
    if (strncmp(*envp, "PATH=", 5) == 0) return *envp + 5;
  return PROGRAM_PATH;
}

static size_t count_parts(const char *path) {
  size_t count = 1;
  for (; *path != '\0'; path++) count += *path == ':';
  return count;
}

/* An empty part of PATH means the working directory: the bare name. */
static char *put_candidate(char *at, const char *part, size_t length, const char *name) {
  if (length > 0) {
    memcpy(at, part, length);
    at += length;
    *at++ = '/';
  }
  size_t size = strlen(name) + 1;
  memcpy(at, name, size);
  return at + size;
}

int program_find(struct program *program, const char *name, char *const *envp) {
  *program = (struct program){.name = name};
  if (strchr(name, '/') == NULL) program->path = search_path(envp);
  const char *path = program->path ? program->path : "";
  size_t count = count_parts(path);
  size_t size = (count + 1) * sizeof(char *) + strlen(path) + count * (strlen(name) + 2);
  program->candidates = malloc(size);
  if (program->candidates == NULL) return -1;
  char *at = (char *)(program->candidates + count + 1);
  for (size_t i = 0; i < count; i++) {
    size_t length = strcspn(path, ":");
    program->candidates[i] = at;
    at = put_candidate(at, path, length, name);
    path += length + (path[length] == ':');
  }
  program->candidates[count] = NULL;
  return 0;
}

void program_free(struct program *program) {
  free(program->candidates);
  program->candidates = NULL;
}

/* --- what is wrong ----------------------------------------------------------------------- */

/* Where the child saw `path`. */
static void place(const char *cwd, const char *path, char full[4096]) {
  if (path[0] == '/' || cwd == NULL)
    (void)snprintf(full, 4096, "%s", path);
  else
    (void)snprintf(full, 4096, "%s/%s", cwd, path);
}

/* The interpreter that the first line of a script names; false: it is no script. */
static bool read_interpreter(const char *path, char name[256]) {
  char line[256];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  ssize_t size = read(fd, line, sizeof line - 1);
  close(fd);
  if (size < 3 || line[0] != '#' || line[1] != '!') return false;
  line[size] = '\0';
  const char *start = line + 2 + strspn(line + 2, " \t");
  (void)snprintf(name, 256, "%.*s", (int)strcspn(start, " \t\r\n"), start);
  return true;
}

/* The kernel says ENOENT for a program that is there, when what shall load it is not. */
static int explain_missing(const struct program *program, int code, const char *cwd,
                           struct failure *failure) {
  char full[4096], interpreter[256], text[TEXT_SIZE];
  for (int i = 0; program->candidates[i]; i++) {
    place(cwd, program->candidates[i], full);
    if (access(full, F_OK) != 0) continue;
    if (read_interpreter(full, interpreter))
      return fail(failure, "exec", code, "cannot run \"%s\": its interpreter \"%s\" does not exist",
                  program->candidates[i], interpreter);
    return fail(failure, "exec", code,
                "cannot run \"%s\": the dynamic loader that it names does not exist",
                program->candidates[i]);
  }
  if (program->path)
    return fail(failure, "exec", code, "cannot find program \"%s\" on PATH (%s)", program->name,
                program->path);
  return fail(failure, "exec", code, "cannot run \"%s\": %s", program->name,
              error_text(code, text));
}

/* A directory on PATH that may not be searched gives EACCES, too, whatever is or is not in it. NULL: a
 * search, and none of the candidates from `which` on is there to be seen. */
static const char *first_seen(const struct program *program, int which, const char *cwd) {
  char full[4096];
  struct stat info;
  if (program->path == NULL) return program->candidates[which];
  for (int i = which; program->candidates[i]; i++) {
    place(cwd, program->candidates[i], full);
    if (stat(full, &info) == 0) return program->candidates[i];
  }
  return NULL;
}

static int explain_denied(const char *path, const char *cwd, const char *user,
                          struct failure *failure) {
  char full[4096];
  struct stat info;
  place(cwd, path, full);
  const char *why = "";
  if (stat(full, &info) == 0 && S_ISDIR(info.st_mode))
    why = ": it is a directory";
  else if (stat(full, &info) == 0 && !(info.st_mode & 0111))
    why = ": not executable";
  else if (user)
    return fail(failure, "exec", EACCES, "cannot run \"%s\": permission denied for user %s", path,
                user);
  return fail(failure, "exec", EACCES, "cannot run \"%s\": permission denied%s", path, why);
}

int program_explain(const struct program *program, int code, int which, const char *cwd,
                    const char *user, struct failure *failure) {
  if (which < 0) return explain_missing(program, code, cwd, failure);
  const char *path = program->candidates[which];
  if (code == EACCES) {
    path = first_seen(program, which, cwd);
    if (path) return explain_denied(path, cwd, user, failure);
    return fail(failure, "exec", ENOENT,
                "cannot find program \"%s\" on PATH (%s), parts of which may not be searched",
                program->name, program->path);
  }
  if (code == ENOEXEC)
    return fail(failure, "exec", code,
                "cannot run \"%s\": no #! line or not a program for this machine", path);
  const char *hint = code == EAGAIN ? " (its user's limit of processes is reached)" : "";
  char text[TEXT_SIZE];
  return fail(failure, "exec", code, "cannot run \"%s\": %s%s", path, error_text(code, text), hint);
}
