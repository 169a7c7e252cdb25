#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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

/* Where the report's pipe sits in the child; everything above is closed. */
#define REPORT_FD 3

#define STACK_SIZE (64 * 1024)

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

struct child {
  const struct launch *plan;
  int report; /* the writing end of the pipe */
};

/* One stack is enough: we stand still while a child uses it. */
static _Alignas(16) char stack[STACK_SIZE];

/* --- in the child ------------------------------------------------------------------------ */

IN_CHILD static _Noreturn void give_up(const struct child *child, enum launch_stage stage, int code,
                                       int which) {
  struct launch_report report = {stage, code, which};
  ssize_t written = write(child->report, &report, sizeof report);
  _exit(written == (ssize_t)sizeof report ? 127 : 126);
}

IN_CHILD static void enter_cgroups(const struct child *child) {
  const struct launch *plan = child->plan;
  for (size_t i = 0; i < plan->cgroup_count; i++)
    if (write(plan->cgroups[i], "0", 1) != 1) /* 0 = whoever writes */
      give_up(child, LAUNCH_CGROUP, errno, (int)i);
}

/* Before the identity changes: lowering it takes a privilege. */
IN_CHILD static void set_oom_score_adj(const struct child *child) {
  const char *text = child->plan->oom_score_adj;
  if (text == NULL) return;
  ssize_t size = (ssize_t)strlen(text);
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, (size_t)size) != size)
    give_up(child, LAUNCH_OOM_SCORE_ADJ, errno, 0);
  close(fd);
}

/* Before the identity changes: raising a hard limit takes a privilege. */
IN_CHILD static void set_limits(const struct child *child) {
  const struct launch *plan = child->plan;
  for (size_t i = 0; i < plan->limit_count; i++) {
    const struct launch_limit *limit = &plan->limits[i];
    if (setrlimit((__rlimit_resource_t)limit->resource, &limit->value) != 0)
      give_up(child, LAUNCH_LIMIT, errno, (int)i);
  }
}

/* Groups first: after setuid we may not any more. */
IN_CHILD static void become(const struct child *child) {
  const struct launch *plan = child->plan;
  if (!plan->become) return;
  if (syscall(CALL_SETGROUPS, plan->group_count, plan->groups) != 0 ||
      syscall(CALL_SETRESGID, plan->gid, plan->gid, plan->gid) != 0)
    give_up(child, LAUNCH_GROUP, errno, 0);
  if (syscall(CALL_SETRESUID, plan->uid, plan->uid, plan->uid) != 0)
    give_up(child, LAUNCH_USER, errno, 0);
}

IN_CHILD static void set_stdio(const struct child *child) {
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
IN_CHILD static void close_listed(void) {
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
        if (fd > REPORT_FD && fd != directory && close(fd) == 0) closed++;
        at += entry->size;
      }
  }
  close(directory);
}

IN_CHILD static void close_the_rest(struct child *child) {
  if (child->report != REPORT_FD) {
    if (dup3(child->report, REPORT_FD, O_CLOEXEC) < 0) give_up(child, LAUNCH_STDIO, errno, 3);
    child->report = REPORT_FD;
  }
  if (syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) != 0) close_listed();
}

/* Ignored signals survive an exec, and so does the mask. All of them go back, not only those that we
 * know to have changed: a handler of ours must not run in a child that shares our memory. By the
 * system call, since glibc hides two (32 and 33) that GNU make, for one, hands down ignored. */
IN_CHILD static void reset_signals(void) {
  static const uint64_t by_default[8] = {0}; /* the kernel's struct sigaction, SIG_DFL */
  for (int number = 1; number < NSIG; number++)
    (void)syscall(SYS_rt_sigaction, number, by_default, NULL, (size_t)(NSIG / 8));
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The search of execvp(3), but through the job's PATH, and without its fallback to /bin/sh. */
IN_CHILD static _Noreturn void run(const struct child *child) {
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

IN_CHILD static int child_main(void *argument) {
  struct child *child = argument;
  const struct launch *plan = child->plan;
  if (setsid() < 0) give_up(child, LAUNCH_SESSION, errno, 0);
  enter_cgroups(child);
  set_oom_score_adj(child);
  set_stdio(child);
  close_the_rest(child);
  set_limits(child); /* not earlier: a low nofile would forbid the above */
  become(child);
  if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    give_up(child, LAUNCH_NO_NEW_PRIVS, errno, 0);
  if (plan->cwd && chdir(plan->cwd) != 0) give_up(child, LAUNCH_CWD, errno, 0);
  if (plan->umask >= 0) (void)umask((mode_t)plan->umask);
  reset_signals();
  run(child);
}

/* --- in the parent ----------------------------------------------------------------------- */

/* No signal may be handled in the child while it shares our memory. */
static pid_t make_child(struct child *child, int *pidfd) {
  const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  sigset_t all, old;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  pid_t pid = clone(child_main, stack + sizeof stack, flags, child, pidfd);
  int error = errno;
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = error;
  return pid;
}

/* True when the child reported a failure instead of becoming the program. */
static bool read_report(int fd, struct launch_report *report) {
  ssize_t size;
  do size = read(fd, report, sizeof *report);
  while (size < 0 && errno == EINTR);
  return size == (ssize_t)sizeof *report;
}

static pid_t refused(struct launch_report *report, int code) {
  *report = (struct launch_report){LAUNCH_FORK, code, 0};
  return -1;
}

pid_t launch(const struct launch *plan, int *pidfd, struct launch_report *report) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return refused(report, errno);
  struct child child = {plan, ends[1]};
  pid_t pid = make_child(&child, pidfd);
  int error = errno;
  close(ends[1]);
  bool failed = pid > 0 && read_report(ends[0], report);
  close(ends[0]);
  if (pid < 0) return refused(report, error);
  if (!failed) return pid;
  close(*pidfd);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  return -1;
}
