#include "process/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child keeps 0, 1, 2, and here the pipe of its report, if it has one. */
#define REPORT_FD 3

/* The child runs on a strange stack inside our address space; a sanitizer would take its frames for
 * ours and leave their marks behind. */
#define IN_CHILD __attribute__((no_sanitize("address", "undefined")))

/* 32-bit machines kept their old 16-bit calls under the plain names. */
#ifdef SYS_setresuid32
#  define CALL_SETRESUID SYS_setresuid32
#  define CALL_SETRESGID SYS_setresgid32
#  define CALL_SETGROUPS SYS_setgroups32
#else
#  define CALL_SETRESUID SYS_setresuid
#  define CALL_SETRESGID SYS_setresgid
#  define CALL_SETGROUPS SYS_setgroups
#endif

#define WORD 64 /* descriptors; the kernel keeps books of so many together */

#define SIGNAL(number) (UINT64_C(1) << ((number)-1))
#define ALL_SIGNALS (~(SIGNAL(SIGKILL) | SIGNAL(SIGSTOP)))
#define MASK_SIZE ((size_t)(NSIG / 8)) /* of signals, as the kernel counts it */

struct child {
  const struct launch *plan;
  struct launch_watch *watch; /* NULL = nobody can look: we hold them up */
  uint64_t signals;           /* that may be ignored or handled here: they go back */
  int report;         /* the writing end of the pipe; -1 = memory is shared, that is enough */
  bool shares_table;  /* of descriptors: it is ours until the child has made its own */
  volatile bool here; /* set by the child; seen by us only if memory is shared */
  volatile bool failed;
  struct launch_report said; /* why */
};

/* One stack is enough for the main thread: it stands still while a child uses it. */
static _Alignas(16) char main_stack[LAUNCH_STACK];

/* What this machine was found to do. */
static bool shares_memory; /* then clone() returns when the child is the program or has given up */
static enum { UNKNOWN, COPIED, SHARED } table;

/* What signals do in this process. Only we change it, until code that is not ours can run. */
static struct {
  bool known, foreign;
  unsigned long long
      loads; /* libraries, at the beginning; one that came later may do anything, in threads, too */
  uint64_t changed;
} signals;

/* --- in the child ------------------------------------------------------------------------ */

IN_CHILD static _Noreturn void give_up(struct child *child, enum launch_stage stage, int code,
                                       int which) {
  child->said = (struct launch_report){stage, code, which};
  child->failed = true;
  if (child->report >= 0) (void)write(child->report, &child->said, sizeof child->said);
  _exit(127);
}

IN_CHILD static void enter_cgroups(struct child *child) {
  const struct launch *plan = child->plan;
  for (size_t i = 0; i < plan->cgroup_count; i++)
    if (write(plan->cgroups[i], "0", 1) != 1) /* 0 = whoever writes */
      give_up(child, LAUNCH_CGROUP, errno, (int)i);
}

/* Before anything opens or closes a descriptor. */
IN_CHILD static void leave_table(struct child *child) {
  if (!child->shares_table) return;
  const int *stdio = child->plan->stdio;
  int highest = STDERR_FILENO;
  for (int i = 0; i < 3; i++)
    if (stdio[i] > highest) highest = stdio[i];
  if (syscall(SYS_close_range, highest + 1, ~0U, CLOSE_RANGE_UNSHARE) != 0)
    give_up(child, LAUNCH_FORK, errno, 0);
}

/* Before the identity changes: lowering it takes a privilege. */
IN_CHILD static void set_oom_score_adj(struct child *child) {
  const char *text = child->plan->oom_score_adj;
  if (text == NULL) return;
  ssize_t size = (ssize_t)strlen(text);
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, (size_t)size) != size)
    give_up(child, LAUNCH_OOM_SCORE_ADJ, errno, 0);
  close(fd);
}

/* Before the identity changes: raising a hard limit takes a privilege. */
IN_CHILD static void set_limits(struct child *child) {
  const struct launch *plan = child->plan;
  for (size_t i = 0; i < plan->limit_count; i++) {
    const struct launch_limit *limit = &plan->limits[i];
    if (setrlimit((__rlimit_resource_t)limit->resource, &limit->value) != 0)
      give_up(child, LAUNCH_LIMIT, errno, (int)i);
  }
}

/* Groups first: after setuid we may not any more. */
IN_CHILD static void become(struct child *child) {
  const struct launch *plan = child->plan;
  if (!plan->become) return;
  if (syscall(CALL_SETGROUPS, plan->group_count, plan->groups) != 0 ||
      syscall(CALL_SETRESGID, plan->gid, plan->gid, plan->gid) != 0)
    give_up(child, LAUNCH_GROUP, errno, 0);
  if (syscall(CALL_SETRESUID, plan->uid, plan->uid, plan->uid) != 0)
    give_up(child, LAUNCH_USER, errno, 0);
}

IN_CHILD static void set_stdio(struct child *child) {
  int from[3];
  for (int i = 0; i < 3; i++) {
    from[i] = child->plan->stdio[i];
    /* 1 may become 2 while 2 becomes 1: lift such a source out of the way first. */
    if (from[i] < 3 && from[i] != i) from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, REPORT_FD + 1);
    if (from[i] < 0) give_up(child, LAUNCH_STDIO, errno, i);
  }
  for (int i = 0; i < 3; i++) {
    int done = from[i] == i ? fcntl(i, F_SETFD, 0) : dup2(from[i], i);
    if (done < 0) give_up(child, LAUNCH_STDIO, errno, i);
  }
}

struct entry { /* struct linux_dirent64 of getdents64(2) */
  uint64_t inode;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

IN_CHILD static int number_of(const char *name) {
  int number = 0;
  for (; *name >= '0' && *name <= '9'; name++) number = number * 10 + (*name - '0');
  return *name == '\0' ? number : -1;
}

/* For kernels without close_range: what /proc lists is closed, with the system call itself, since
 * opendir() allocates. Closing while reading may skip entries, hence again until none is left. */
IN_CHILD static void close_listed(int first) {
  _Alignas(struct entry) char buffer[2048];
  int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return; /* all that we open is close-on-exec anyway */
  for (int closed = 1; closed > 0;) {
    closed = 0;
    (void)lseek(directory, 0, SEEK_SET);
    long size;
    while ((size = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0)
      for (long at = 0; at < size;) {
        const struct entry *entry = (const struct entry *)(buffer + at);
        int fd = number_of(entry->name);
        if (fd >= first && fd != directory && close(fd) == 0) closed++;
        at += entry->size;
      }
  }
  close(directory);
}

IN_CHILD static void close_the_rest(struct child *child) {
  int first = REPORT_FD;
  if (child->report >= 0) {
    if (child->report != REPORT_FD && dup3(child->report, REPORT_FD, O_CLOEXEC) < 0)
      give_up(child, LAUNCH_STDIO, errno, 3);
    child->report = REPORT_FD;
    first++;
  }
  if (syscall(SYS_close_range, first, ~0U, 0) != 0) close_listed(first);
}

/* Ignored signals survive an exec, and so does the mask. Handled ones go back, too, before they can come:
 * a handler of ours must not run in a child that shares our memory. By the system call, since glibc hides
 * two (32 and 33) that GNU make, for one, hands down ignored. The real-time signals are as they should be:
 * see launch_begin(). */
IN_CHILD static void reset_signals(const struct child *child) {
  static const uint64_t by_default[8] = {0}; /* the kernel's struct sigaction, SIG_DFL */
  const int end = SIGRTMIN;
  for (int number = 1; number < end; number++)
    if (child->signals & SIGNAL(number))
      (void)syscall(SYS_rt_sigaction, number, by_default, NULL, MASK_SIZE);
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The search of execvp(3), but through the job's PATH, and without its fallback to /bin/sh. */
IN_CHILD static _Noreturn void run(struct child *child) {
  const struct launch *plan = child->plan;
  int code = ENOENT, which = -1;
  for (int i = 0; plan->candidates[i]; i++) {
    (void)execve(plan->candidates[i], plan->argv, plan->envp);
    if (errno == ENOENT || errno == ENOTDIR) {
      if (plan->candidates[1] == NULL) code = errno; /* nothing was searched: say it as it is */
      continue;
    }
    if (errno == EACCES && code == EACCES) continue; /* the first one found is the one to name */
    code = errno;
    which = i;
    if (errno != EACCES) break; /* one without permission may hide a good one further on */
  }
  give_up(child, LAUNCH_EXEC, code, which);
}

IN_CHILD static void enter(struct child *child, enum launch_stage stage) {
  if (child->watch) child->watch->stage = (int)stage;
}

IN_CHILD static int child_main(void *argument) {
  struct child *child = argument;
  const struct launch *plan = child->plan;
  child->here = true;
  enter_cgroups(child); /* it only writes, to descriptors that may stand high */
  leave_table(child);
  if (setsid() < 0) give_up(child, LAUNCH_SESSION, errno, 0);
  set_oom_score_adj(child);
  set_stdio(child);
  close_the_rest(child);
  set_limits(child); /* not earlier: a low nofile would forbid the above */
  become(child);
  if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    give_up(child, LAUNCH_NO_NEW_PRIVS, errno, 0);
  enter(child, LAUNCH_CWD);
  if (plan->cwd && chdir(plan->cwd) != 0) give_up(child, LAUNCH_CWD, errno, 0);
  enter(child, LAUNCH_EXEC);
  if (plan->umask >= 0) (void)umask((mode_t)plan->umask);
  reset_signals(child);
  run(child);
}

/* --- in the parent ----------------------------------------------------------------------- */

/* No signal may be handled in the child while it shares our memory. */
static pid_t make_child(int (*body)(void *), void *argument, char *stack, int more_flags,
                        int *pidfd) {
  const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | more_flags;
  sigset_t all, old;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  pid_t pid = clone(body, stack + LAUNCH_STACK, flags, argument, pidfd);
  int error = errno;
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = error;
  return pid;
}

static void reap(pid_t pid) {
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

static void bury(pid_t pid, int pidfd) {
  close(pidfd);
  reap(pid);
}

/* Waits until the child has given up, or has closed the pipe by becoming the program. */
static void read_report(int fd, struct child *child) {
  ssize_t size;
  do size = read(fd, &child->said, sizeof child->said);
  while (size < 0 && errno == EINTR);
  child->failed = size == (ssize_t)sizeof child->said;
}

/* The way that works everywhere. */
static pid_t make_piped_child(struct child *child, char *stack, int *pidfd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  child->report = ends[1];
  pid_t pid = make_child(child_main, child, stack, 0, pidfd);
  int error = errno;
  close(ends[1]);
  if (pid > 0 && !child->here) read_report(ends[0], child);
  close(ends[0]);
  errno = error;
  return pid;
}

static pid_t make_first_child(struct child *child, int *pidfd) {
  pid_t pid = make_piped_child(child, main_stack, pidfd);
  if (pid > 0 && child->here) shares_memory = true;
  return pid;
}

/* --- may the table be shared? ------------------------------------------------------------ */

/* Kernels before 5.9 do not know the call. Some before 6.11 (CVE-2024-45025) copy the marks of full
 * words with it, although the words are empty then: the program would find no descriptor to open
 * long before its limit. */
IN_CHILD static int leave_full_word(void *argument) {
  bool *clean = argument;
  if (syscall(SYS_close_range, WORD, ~0U, CLOSE_RANGE_UNSHARE) == 0)
    *clean = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, WORD) == WORD;
  _exit(0);
}

/* Tries it, with the second word full. */
static bool table_can_be_left(void) {
  int fillers[WORD], count = 0, pidfd;
  bool clean = false;
  for (; count < WORD; count++) {
    fillers[count] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, WORD);
    if (fillers[count] < 0 || fillers[count] >= 2 * WORD) break;
  }
  bool full = count == WORD || fillers[count] >= 0;
  pid_t pid = full ? make_child(leave_full_word, &clean, main_stack, CLONE_FILES, &pidfd) : -1;
  if (pid > 0) bury(pid, pidfd);
  for (int i = 0; i <= count && i < WORD; i++)
    if (fillers[i] >= 0) close(fillers[i]);
  return clean;
}

/* --- the deed ---------------------------------------------------------------------------- */

static int read_loads(struct dl_phdr_info *object, size_t size, void *loads) {
  (void)size;
  *(unsigned long long *)loads = object->dlpi_adds;
  return 1;
}

static unsigned long long count_loads(void) {
  unsigned long long loads = 0;
  (void)dl_iterate_phdr(read_loads, &loads);
  return loads;
}

/* Whoever started us may have ignored them; nobody in here ever does. So it is ended once, for us too,
 * instead of in every child. */
void launch_begin(void) {
  static bool begun;
  struct sigaction action;
  if (begun) return;
  begun = true;
  signals.loads = count_loads();
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
      (void)signal(number, SIG_DFL);
}

static bool is_changed(int number) {
  static const uint64_t by_default[8] = {0};
  struct sigaction action;
  uint64_t hidden[8] = {0};
  if (sigaction(number, NULL, &action) == 0) return action.sa_handler != SIG_DFL;
  if (syscall(SYS_rt_sigaction, number, NULL, hidden, MASK_SIZE) != 0) return true;
  return memcmp(hidden, by_default, sizeof hidden) != 0;
}

static uint64_t changed_signals(void) {
  if (signals.foreign || count_loads() != signals.loads) return ALL_SIGNALS;
  if (signals.known) return signals.changed;
  signals.known = true;
  signals.changed = 0;
  for (int number = 1; number < SIGRTMIN; number++)
    if ((ALL_SIGNALS & SIGNAL(number)) && is_changed(number)) signals.changed |= SIGNAL(number);
  return signals.changed;
}

void launch_look_again(void) {
  signals.known = false;
}

void launch_distrust(void) {
  signals.foreign = true;
}

static pid_t make_next_child(struct child *child, int *pidfd) {
  if (table == UNKNOWN) table = table_can_be_left() ? SHARED : COPIED;
  child->shares_table = table == SHARED;
  return make_child(child_main, child, main_stack, child->shares_table ? CLONE_FILES : 0, pidfd);
}

pid_t launch(const struct launch *plan, int *pidfd, struct launch_report *report) {
  launch_begin();
  struct child child = {.plan = plan, .signals = changed_signals(), .report = -1};
  pid_t pid = shares_memory ? make_next_child(&child, pidfd) : make_first_child(&child, pidfd);
  if (pid < 0) child.said = (struct launch_report){LAUNCH_FORK, errno, 0};
  if (pid > 0 && !child.failed) return pid;
  if (pid > 0) bury(pid, *pidfd);
  *report = child.said;
  return -1;
}

/* The kernel writes the descriptor before the child runs, so that who looks can kill it from then on. */
pid_t launch_apart(const struct launch *plan, char *stack, struct launch_watch *watch,
                   struct launch_report *report) {
  struct child child = {.plan = plan, .watch = watch, .signals = ALL_SIGNALS, .report = -1};
  pid_t pid = make_piped_child(&child, stack, (int *)&watch->pidfd);
  if (pid < 0) child.said = (struct launch_report){LAUNCH_FORK, errno, 0};
  if (pid > 0 && !child.failed) return pid;
  if (pid > 0) reap(pid);
  *report = child.said;
  return -1;
}
