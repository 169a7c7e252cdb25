/* program: where a program may be found, and what is wrong with it when it cannot be run.
 *
 * The search follows the job's own PATH, not ours, in the job's working directory. It is laid out
 * beforehand as a list of candidates, because the child that tries them may not allocate.
 *
 * It owns the list. */
#ifndef LUAPILOT_PROCESS_PROGRAM_H
#define LUAPILOT_PROCESS_PROGRAM_H

#include <stdbool.h>

#include "base/names.h"

#define PROGRAM_PATH "/bin:/usr/bin" /* where PATH is not set, as in execvp(3) */

struct program {
  char **candidates; /* owned, one block with the strings; NULL ends it */
  const char *name;  /* borrowed: argv[0] */
  const char *path;  /* borrowed: what was searched; NULL = the name has a slash */
};

/* Returns 0, or -1 with ENOMEM. */
int program_find(struct program *program, const char *name, char *const *envp);
void program_free(struct program *program);

#define PROGRAM_INTERPRETER 256
/* Whom the file `path` names to load it, as seen from `cwd` (NULL: here): a script's interpreter, or the dynamic loader
 * of an ELF file. False: nobody, or it cannot be read. */
bool program_interpreter(const char *cwd, const char *path, char name[PROGRAM_INTERPRETER]);
/* May we run it, as far as its rights say? */
bool program_is_executable(const char *cwd, const char *path);

/* Tells why exec failed with `code` at candidate `which` (-1: none was found). `cwd` is where the
 * search took place (NULL: here), `user` who tried (NULL: we). Returns -1. */
int program_explain(const struct program *program, int code, int which, const char *cwd,
                    const char *user, struct failure *failure);

#endif
