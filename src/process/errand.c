#include "process/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file/remote.h"
#include "loop/thread.h"

/* A script whose interpreter is a script, and so on: the kernel gives up earlier. */
#define DEEPEST 6

enum state { WAITING, AT_WORK, DONE, ABANDONED };

struct errand {
  struct errand *next; /* the loop's */
  struct errands *errands;
  _Atomic int references;
  _Atomic int state;
  struct watcher done; /* an eventfd that the thread writes; fd -1 = none. Owned */
  void (*ready)(void *context, struct errand_result *result);
  void *context;

  struct spawn_options options; /* what it points to is owned */
  struct cgroup_options cgroup;
  char *stack; /* owned */
  struct launch_watch watch;
  bool was_stopped;            /* at the latest look */
  struct errand_result result; /* the thread's until `done` */
};

struct errands {
  struct loop *loop;
  struct errand *first; /* in the order in which they were begun */
  int threads;
};

/* --- copies ------------------------------------------------------------------------------ */

/* One block with the strings behind the pointers; NULL of NULL. */
static char *const *copy_list(char *const *list, bool *whole) {
  size_t count = 0, size = 0;
  if (list == NULL) return NULL;
  for (; list[count]; count++) size += strlen(list[count]) + 1;
  char **copy = malloc((count + 1) * sizeof *copy + size);
  if (copy == NULL) {
    *whole = false;
    return NULL;
  }
  char *at = (char *)(copy + count + 1);
  for (size_t i = 0; i < count; i++) {
    copy[i] = at;
    at = stpcpy(at, list[i]) + 1;
  }
  copy[count] = NULL;
  return copy;
}

static const char *copy_word(const char *word, bool *whole) {
  char *copy = word ? strdup(word) : NULL;
  if (word && copy == NULL) *whole = false;
  return copy;
}

/* A descriptor that the loop may close meanwhile. */
static int copy_descriptor(int fd, bool *whole) {
  if (fd < 0) return fd; /* it says what to do */
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (copy < 0) *whole = false;
  return copy;
}

/* Returns 0, or -1 with errno; what was copied is freed with the errand. */
static int copy_options(struct errand *errand, const struct spawn_options *from) {
  struct spawn_options *to = &errand->options;
  bool whole = true;
  *to = *from; /* and from here on nothing of it stays borrowed */
  to->argv = copy_list(from->argv, &whole);
  to->envp = copy_list(from->envp, &whole);
  to->env_added = copy_list(from->env_added, &whole);
  to->notify_socket = copy_word(from->notify_socket, &whole);
  to->cwd = copy_word(from->cwd, &whole);
  to->user.name = copy_word(from->user.name, &whole);
  to->group.name = copy_word(from->group.name, &whole);
  if (from->cgroup) {
    errand->cgroup = *from->cgroup;
    errand->cgroup.name = copy_word(from->cgroup->name, &whole);
    to->cgroup = &errand->cgroup;
  }
  if (!whole) errno = ENOMEM;
  for (int i = 0; i < 3; i++) to->stdio[i] = copy_descriptor(from->stdio[i], &whole);
  return whole ? 0 : -1;
}

static void free_options(struct errand *errand) {
  struct spawn_options *options = &errand->options;
  free((void *)options->argv);
  free((void *)options->envp);
  free((void *)options->env_added);
  free((void *)options->notify_socket);
  free((void *)options->cwd);
  free((void *)options->user.name);
  free((void *)options->group.name);
  free((void *)errand->cgroup.name);
  for (int i = 0; i < 3; i++)
    if (options->stdio[i] >= 0) close(options->stdio[i]);
}

static const struct spawn nothing = {.child = {-1, -1, -1}, .ours = {-1, -1, -1}};

static void clean(struct errand *errand) {
  spawn_clean(&errand->result.spawn);
  errand->result.spawn = nothing;
}

static void release(struct errand *errand) {
  if (atomic_fetch_sub(&errand->references, 1) > 1) return;
  clean(errand);
  if (errand->watch.pidfd >= 0) close(errand->watch.pidfd);
  if (errand->done.fd >= 0) close(errand->done.fd);
  free_options(errand);
  free(errand->stack);
  free(errand);
}

/* --- in the thread ----------------------------------------------------------------------- */

static bool needs_account(const struct spawn_options *options) {
  return options->user.name || options->user.number >= 0 || options->group.name ||
         options->group.number >= 0;
}

static void start(struct errand *errand) {
  struct errand_result *result = &errand->result;
  errand->watch.stage = needs_account(&errand->options) ? LAUNCH_USER : LAUNCH_FORK;
  result->pid = -1;
  if (spawn_prepare(&result->spawn, &errand->options, NULL, &result->failure) != 0) return;
  if (errand->state == ABANDONED) return;
  errand->watch.stage = LAUNCH_EXEC;
  result->pid = spawn_run_apart(&result->spawn, &errand->options, errand->stack, &errand->watch,
                                &result->failure);
}

/* What nobody wants any more. */
static void end(pid_t pid) {
  if (pid < 0) return;
  (void)kill(-pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

static void *errand_main(void *argument) {
  struct errand *errand = argument;
  start(errand);
  int expected = AT_WORK;
  bool wanted = atomic_compare_exchange_strong(&errand->state, &expected, DONE);
  if (!wanted) end(errand->result.pid);
  /* Now, since the next one may make a control group of the same name. */
  if (!wanted || errand->result.pid < 0) clean(errand);
  uint64_t one = 1;
  ssize_t ignored = write(errand->done.fd, &one, sizeof one);
  (void)ignored;
  release(errand);
  return NULL;
}

/* --- turns ------------------------------------------------------------------------------- */

/* What is done still has its turn until the loop has heard of it. */
static bool is_at_work(const struct errand *errand) {
  return errand->state != WAITING;
}

static bool same_word(const char *one, const char *other) {
  return one == other || (one && other && strcmp(one, other) == 0);
}

static bool same_identity(struct identity one, struct identity other) {
  return one.number == other.number && same_word(one.name, other.name);
}

static bool is_like(const struct spawn_options *one, const struct spawn_options *other) {
  if (one->cgroup && other->cgroup && strcmp(one->cgroup->name, other->cgroup->name) == 0)
    return true;
  return strcmp(one->argv[0], other->argv[0]) == 0 && same_word(one->cwd, other->cwd) &&
         same_identity(one->user, other->user) && same_identity(one->group, other->group);
}

/* The one before it that it waits for; NULL: none of its kind. */
static const struct errand *find_like(const struct errand *errand) {
  for (const struct errand *other = errand->errands->first; other != errand; other = other->next)
    if (is_like(&other->options, &errand->options)) return other;
  return NULL;
}

static void set_out(struct errand *errand) {
  errand->state = AT_WORK;
  errand->errands->threads++;
  errand->references++;
  int code = thread_start(errand_main, errand);
  if (code == 0) return;
  char text[TEXT_SIZE];
  uint64_t one = 1;
  errand->result.pid = -1;
  (void)fail(&errand->result.failure, "fork", code, "cannot start a thread for it: %s",
             error_text(code, text));
  errand->references--;
  errand->state = DONE;
  ssize_t ignored = write(errand->done.fd, &one, sizeof one);
  (void)ignored;
}

/* Those whose turn it is. */
static void advance(struct errands *errands) {
  for (struct errand *errand = errands->first; errand; errand = errand->next) {
    if (errands->threads >= ERRANDS) return;
    if (!is_at_work(errand) && find_like(errand) == NULL) set_out(errand);
  }
}

static void leave(struct errand *errand) {
  struct errand **link = &errand->errands->first;
  while (*link != errand) link = &(*link)->next;
  *link = errand->next;
  loop_unwatch(errand->errands->loop, &errand->done);
}

static void is_done(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct errand *errand = (struct errand *)((char *)watcher - offsetof(struct errand, done));
  struct errands *errands = errand->errands;
  leave(errand);
  errands->threads--;
  if (errand->state == DONE) {
    if (errand->result.pid > 0) {
      errand->result.pidfd = errand->watch.pidfd;
      errand->watch.pidfd = -1;
    }
    errand->ready(errand->context, &errand->result);
    clean(errand); /* what was not taken */
  }
  release(errand);
  advance(errands);
}

/* --- from outside ------------------------------------------------------------------------ */

/* False: it has not begun, or is done. */
static bool call_off(struct errand *errand) {
  int expected = AT_WORK;
  if (!atomic_compare_exchange_strong(&errand->state, &expected, ABANDONED)) return false;
  if (errand->watch.pidfd >= 0)
    (void)syscall(SYS_pidfd_send_signal, errand->watch.pidfd, SIGKILL, NULL, 0);
  return true;
}

bool errand_abandon(struct errand *errand) {
  if (errand->state == WAITING) {
    struct errands *errands = errand->errands;
    leave(errand);
    release(errand);
    advance(errands); /* those that waited for it */
    return true;
  }
  return call_off(errand);
}

/* Where it is searched: the program's own PATH. */
static char *const *search_environment(const struct spawn_options *options) {
  for (char *const *each = options->env_added; each && *each; each++)
    if (strncmp(*each, "PATH=", 5) == 0) return options->env_added;
  return options->envp;
}

/* What the kernel opens to run a file that we may run: that, the interpreter of a script, the dynamic loader. */
static bool is_remote(const char *cwd, const char *path) {
  char names[2][PROGRAM_INTERPRETER];
  for (int depth = 0; depth < DEEPEST; depth++) {
    if (remote_path(cwd, path)) return true;
    if (!program_interpreter(cwd, path, names[depth % 2])) return false;
    path = names[depth % 2];
  }
  return false; /* ELOOP, without looking further */
}

/* As the kernel goes on along PATH: up to the first that we may run. It is always we: starts as others do not ask. */
static bool has_remote_program(const struct spawn_options *options) {
  struct program program;
  bool found = program_find(&program, options->argv[0], search_environment(options)) != 0;
  for (int i = 0; !found && program.candidates[i]; i++) {
    found = is_remote(options->cwd, program.candidates[i]);
    if (!found && program_is_executable(options->cwd, program.candidates[i])) break;
  }
  program_free(&program);
  return found;
}

/* As another user the child can be stopped, or slowed, by any process of his before it is the program; and where his
 * entry comes from, and what he may run, need not be known here. */
bool errand_is_due(const struct spawn_options *options) {
  if (needs_account(options)) return true;
  if (!remote_is_there()) return false;
  return remote_path(NULL, options->cwd ? options->cwd : ".") || has_remote_program(options);
}

static struct errand *new_errand(struct errands *errands) {
  struct errand *errand = calloc(1, sizeof *errand);
  if (errand == NULL) return NULL;
  errand->errands = errands;
  errand->references = 1;
  for (int i = 0; i < 3; i++) errand->options.stdio[i] = -1;
  errand->watch.pidfd = -1;
  errand->result.spawn = nothing;
  errand->done = (struct watcher){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = is_done};
  errand->stack = errand->done.fd >= 0 ? malloc(LAUNCH_STACK) : NULL;
  return errand;
}

static void append(struct errands *errands, struct errand *errand) {
  struct errand **link = &errands->first;
  while (*link) link = &(*link)->next;
  *link = errand;
}

struct errand *errand_begin(struct errands *errands, const struct spawn_options *options,
                            void (*ready)(void *context, struct errand_result *result),
                            void *context, struct failure *failure) {
  char text[TEXT_SIZE];
  struct errand *errand = new_errand(errands);
  if (errand == NULL || errand->stack == NULL || copy_options(errand, options) != 0 ||
      loop_watch(errands->loop, &errand->done, EPOLLIN) != 0)
    goto fail;
  launch_begin();
  errand->ready = ready;
  errand->context = context;
  append(errands, errand);
  advance(errands);
  return errand;
fail:
  (void)fail(failure, "fork", errno, "cannot start a process: %s", error_text(errno, text));
  if (errand) release(errand);
  return NULL;
}

static void tell_lookup(const struct spawn_options *options, char *text, size_t size) {
  bool of_user = options->user.name || options->user.number >= 0;
  const struct identity *who = of_user ? &options->user : &options->group;
  if (who->name)
    (void)snprintf(text, size, "hangs in the lookup of %s \"%s\"", of_user ? "user" : "group",
                   who->name);
  else
    (void)snprintf(text, size, "hangs in the lookup of %s %lld", of_user ? "user" : "group",
                   (long long)who->number);
}

/* The status is left where it is: nobody but us is told of it. */
static bool is_stopped(const struct errand *errand) {
  siginfo_t info = {0};
  int pidfd = errand->watch.pidfd;
  return pidfd >= 0 && waitid(P_PIDFD, (id_t)pidfd, &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid != 0;
}

void errand_continue(struct errand *errand) {
  errand->was_stopped = is_stopped(errand);
  if (errand->was_stopped)
    (void)syscall(SYS_pidfd_send_signal, errand->watch.pidfd, SIGCONT, NULL, 0);
}

static const char *tell_stage(const struct errand *errand, char *text, size_t size) {
  const struct spawn_options *options = &errand->options;
  if (errand->was_stopped) {
    (void)snprintf(text, size, "was stopped (SIGSTOP) by a process of its user, or of root");
    return "exec";
  }
  switch (atomic_load(&errand->watch.stage)) {
  case LAUNCH_USER: tell_lookup(options, text, size); return "user";
  case LAUNCH_CWD:
    (void)snprintf(text, size, "hangs in working directory \"%s\"", options->cwd);
    return "cwd";
  default: (void)snprintf(text, size, "hangs in program \"%s\"", options->argv[0]); return "exec";
  }
}

const char *errand_tell(const struct errand *errand, char *text, size_t size) {
  if (is_at_work(errand)) return tell_stage(errand, text, size);
  const struct errand *like = find_like(errand);
  if (like == NULL) {
    (void)snprintf(text, size, "waits for its turn: %d others hang", ERRANDS);
  } else {
    char why[512];
    (void)tell_stage(like, why, sizeof why);
    (void)snprintf(text, size, "waits for an earlier one of the same program, which %s", why);
  }
  return "turn";
}

struct errands *errands_new(struct loop *loop) {
  struct errands *errands = calloc(1, sizeof *errands);
  if (errands) errands->loop = loop;
  return errands;
}

/* What is done, and has not been heard of, is ended here. */
void errands_free(struct errands *errands) {
  if (errands == NULL) return;
  for (struct errand *errand = errands->first, *next; errand; errand = next) {
    next = errand->next;
    loop_unwatch(errands->loop, &errand->done);
    if (!call_off(errand) && errand->state == DONE) end(errand->result.pid);
    release(errand);
  }
  free(errands);
  remote_close();
}
