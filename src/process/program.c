#include "process/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
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

/* --- what a file is ---------------------------------------------------------------------- */

#define HEAD 256 /* as much of a file as the kernel looks at */

/* Where the child saw `path`. */
static void place(const char *cwd, const char *path, char full[4096]) {
  if (path[0] == '/' || cwd == NULL)
    (void)snprintf(full, 4096, "%s", path);
  else
    (void)snprintf(full, 4096, "%s/%s", cwd, path);
}

/* The beginning of a file, and a NUL behind it. -1: it cannot be read. */
static ssize_t read_at(const char *path, off_t offset, char head[HEAD]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -1;
  ssize_t size = pread(fd, head, HEAD - 1, offset);
  close(fd);
  if (size >= 0) head[size] = '\0';
  return size;
}

static bool is_script(const char *full, char name[PROGRAM_INTERPRETER]) {
  char head[HEAD];
  if (read_at(full, 0, head) < 3 || head[0] != '#' || head[1] != '!') return false;
  const char *start = head + 2 + strspn(head + 2, " \t");
  (void)snprintf(name, PROGRAM_INTERPRETER, "%.*s", (int)strcspn(start, " \t\n"), start);
  return true;
}

/* In a message a "\r" must be seen, and nothing may do anything to a terminal. */
static const char *shown(const char *name, char text[2 * PROGRAM_INTERPRETER]) {
  char *to = text;
  for (; *name; name++)
    if (*name == '\r') {
      *to++ = '\\';
      *to++ = 'r';
    } else {
      *to++ = (unsigned char)*name < ' ' || *name == 127 ? '?' : *name;
    }
  *to = '\0';
  return text;
}

/* An ELF file's machine, or NULL: it is none, or one that nobody here has heard of. */
static const char *elf_machine(const char *full) {
  static const struct {
    unsigned number;
    const char *name;
  } machines[] = {{EM_386, "i386"},        {EM_X86_64, "x86_64"}, {EM_ARM, "arm"},
                  {EM_AARCH64, "aarch64"}, {EM_RISCV, "riscv64"}, {EM_PPC64, "ppc64"},
                  {EM_S390, "s390x"},      {EM_MIPS, "mips"},     {258, "loongarch64"}};
  char head[HEAD];
  if (read_at(full, 0, head) < 20 || memcmp(head, ELFMAG, SELFMAG) != 0) return NULL;
  unsigned first = (unsigned char)head[18], second = (unsigned char)head[19];
  unsigned number = head[EI_DATA] == ELFDATA2MSB ? first << 8 | second : second << 8 | first;
  for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
    if (machines[i].number == number) return machines[i].name;
  return NULL;
}

/* The dynamic loader that an ELF file of our kind names; "" if that cannot be told. */
static void read_loader(const char *full, char name[HEAD]) {
  char head[HEAD];
  ElfW(Ehdr) file;
  ElfW(Phdr) part;
  name[0] = '\0';
  if (read_at(full, 0, head) < (ssize_t)sizeof file) return;
  memcpy(&file, head, sizeof file);
  for (int i = 0; i < file.e_phnum && i < 64; i++) {
    if (read_at(full, (off_t)(file.e_phoff + (size_t)i * sizeof part), head) < (ssize_t)sizeof part)
      return;
    memcpy(&part, head, sizeof part);
    if (part.p_type != PT_INTERP) continue;
    if (read_at(full, (off_t)part.p_offset, name) < 0) name[0] = '\0';
    return;
  }
}

bool program_interpreter(const char *cwd, const char *path, char name[PROGRAM_INTERPRETER]) {
  char full[4096];
  place(cwd, path, full);
  if (is_script(full, name)) return true;
  read_loader(full, name);
  return name[0] != '\0';
}

bool program_is_executable(const char *cwd, const char *path) {
  char full[4096];
  struct stat info;
  place(cwd, path, full);
  return stat(full, &info) == 0 && S_ISREG(info.st_mode) &&
         faccessat(AT_FDCWD, full, X_OK, AT_EACCESS) == 0;
}

/* --- what is wrong ----------------------------------------------------------------------- */

static int cannot_run(struct failure *failure, int code, const char *path, const char *why) {
  return fail(failure, "exec", code, "cannot run \"%s\": %s", path, why);
}

/* What keeps anybody from running a file that is there; NULL: nothing that can be seen. */
static const char *obstacle(const char *full) {
  struct stat info;
  struct statvfs system;
  if (stat(full, &info) != 0) return NULL;
  if (S_ISDIR(info.st_mode)) return "is a directory";
  if (!S_ISREG(info.st_mode)) return "is not a file";
  if (!(info.st_mode & 0111)) return "is not executable (chmod +x)";
  if (statvfs(full, &system) == 0 && (system.f_flag & ST_NOEXEC))
    return "is on a file system that is mounted noexec";
  return NULL;
}

/* Its interpreter is to blame. */
static int blame_interpreter(struct failure *failure, int code, const char *path, const char *name,
                             const char *why) {
  char text[2 * PROGRAM_INTERPRETER];
  bool windows = strchr(name, '\r') != NULL;
  return fail(failure, "exec", code, "cannot run \"%s\": its interpreter \"%s\" %s%s", path,
              shown(name, text), why,
              windows ? ": the script was saved with Windows line ends (sed -i 's/\\r$//' on it)"
                      : "");
}

static int blame_loader(struct failure *failure, int code, const char *path, const char *full) {
  char name[HEAD], text[2 * PROGRAM_INTERPRETER];
  read_loader(full, name);
  if (name[0] == '\0')
    return cannot_run(failure, code, path, "the dynamic loader that it names does not exist");
  return fail(failure, "exec", code,
              "cannot run \"%s\": the dynamic loader \"%s\" that it names does not exist (it was "
              "built for another system or C library)",
              path, shown(name, text));
}

/* The kernel says ENOENT for a program that is there, when what shall load it is not. */
static int explain_missing(const struct program *program, int code, const char *cwd,
                           struct failure *failure) {
  char full[4096], name[PROGRAM_INTERPRETER], other[4096], text[TEXT_SIZE];
  for (int i = 0; program->candidates[i]; i++) {
    const char *path = program->candidates[i];
    place(cwd, path, full);
    if (access(full, F_OK) != 0) continue;
    if (!is_script(full, name)) return blame_loader(failure, code, path, full);
    place(cwd, name, other);
    return blame_interpreter(failure, code, path, name,
                             access(other, F_OK) != 0 ? "does not exist"
                                                      : "is there, but what shall load it is not");
  }
  if (program->path)
    return fail(failure, "exec", code, "cannot find program \"%s\" on PATH (%s)", program->name,
                program->path);
  return cannot_run(failure, code, program->name, error_text(code, text));
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
  char full[4096], name[PROGRAM_INTERPRETER], other[4096];
  place(cwd, path, full);
  const char *why = obstacle(full);
  if (why)
    return fail(failure, "exec", EACCES, "cannot run \"%s\": permission denied: it %s", path, why);
  if (is_script(full, name)) {
    place(cwd, name, other);
    why = obstacle(other);
    if (why) return blame_interpreter(failure, EACCES, path, name, why);
  }
  if (user == NULL) return cannot_run(failure, EACCES, path, "permission denied");
  return fail(failure, "exec", EACCES, "cannot run \"%s\": permission denied for user %s", path,
              user);
}

/* NULL: not an ELF file, or of a machine that nobody here has heard of. */
static const char *explain_elf(const char *full, char text[HEAD]) {
  const char *machine = elf_machine(full);
  struct utsname here;
  if (machine == NULL) return NULL;
  (void)uname(&here);
  if (strcmp(machine, here.machine) == 0) return "is damaged";
  (void)snprintf(text, HEAD, "is built for %s, and this machine is %s", machine, here.machine);
  return text;
}

/* The kernel does not know what to do with it. */
static int explain_format(const char *path, const char *cwd, struct failure *failure) {
  char full[4096], name[PROGRAM_INTERPRETER], other[4096], head[HEAD], text[HEAD];
  place(cwd, path, full);
  ssize_t size = read_at(full, 0, head);
  const char *why = explain_elf(full, text);
  if (why == NULL && is_script(full, name)) {
    place(cwd, name, other);
    why = explain_elf(other, text);
    return blame_interpreter(failure, ENOEXEC, path, name,
                             why ? why : "is not a program for this machine");
  }
  if (why == NULL && size == 0) why = "is empty";
  if (why == NULL && size > 0 && memchr(head, '\0', (size_t)size) == NULL)
    why = "has no #! line: a script begins with one, such as #!/bin/sh";
  return fail(failure, "exec", ENOEXEC, "cannot run \"%s\": it %s", path,
              why ? why : "is not a program for this machine");
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
  if (code == ENOEXEC) return explain_format(path, cwd, failure);
  const char *hint = code == EAGAIN ? " (its user's limit of processes is reached)" : "";
  char text[TEXT_SIZE];
  return fail(failure, "exec", code, "cannot run \"%s\": %s%s", path, error_text(code, text), hint);
}
