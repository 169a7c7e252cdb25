#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed.h"
#include "notify.h"

#define FIRST_QUESTION (NANOSECONDS / 1000)
#define LAST_QUESTION NANOSECONDS
#define FAR_AWAY (INT64_MAX - 1)

#define PROC_OF(member, pointer) ((struct proc *)((char *)(pointer)-offsetof(struct proc, member)))

enum state { RUNNING, ENDING, GONE };

/* One of its two streams, for the callback to know which. */
struct outlet {
  struct proc *proc;
  struct stream *stream; /* NULL = none, or ended, or given up */
};

struct procs {
  struct loop *loop;
  struct handle_table *handles;
  struct output *output;
  struct guardian_page *page; /* NULL = no guardian */
  struct spawn_base base;     /* owned */
  struct proc *first;         /* all that are not freed, cancelled ones too */
};

struct proc {
  struct handle handle; /* .id is 0 once it has left the table; `id` stays */
  uint64_t id;
  struct procs *procs;
  struct proc *next, *previous;

  pid_t pid; /* the leader's, and the number of the group and the session */
  enum state state;
  bool cancelled; /* nobody listens any more */
  bool told;      /* group_gone was taken */

  struct watcher exited; /* the pidfd; closed when the leader is reaped */
  struct timer
      question;  /* is anybody left? In the heap all the time, so that setting it cannot fail */
  int64_t pause; /* until the next question */
  struct proc_exit exit;
  struct event group_gone;

  uint64_t sent; /* signals that the whole group was sent, as bits */
  int end_signal;
  bool lines; /* its streams go to a sink */
  bool capture;

  struct outlet outlets[2];
  struct feed feed;
  struct notify *notify; /* NULL = not asked for, or over */
  struct cgroup cgroup;  /* .count 0 = none */
};

/* --- signals ----------------------------------------------------------------------------- */

/* While the leader is not reaped, its number cannot be anybody else's. Afterwards it is the group's
 * as long as somebody is in the group, and then no process can have it: one that does is a
 * stranger, who got the number because our group is gone. */
static bool group_lives(const struct proc *proc) {
  if (proc->state == RUNNING) return true;
  if (proc->state == GONE) return false;
  if (kill(-proc->pid, 0) != 0 && errno == ESRCH) return false;
  return kill(proc->pid, 0) != 0 && errno == ESRCH;
}

/* Returns 0 or an errno. */
static int signal_group(struct proc *proc, int number) {
  int code = ESRCH;
  if (group_lives(proc)) code = kill(-proc->pid, number) == 0 ? 0 : errno;
  if (cgroup_signal(&proc->cgroup, number, proc->pid)) code = 0;
  if (code == 0) proc->sent |= UINT64_C(1) << (number - 1);
  return code;
}

static int signal_leader(const struct proc *proc, int number) {
  if (proc->state != RUNNING) return ESRCH;
  if (syscall(SYS_pidfd_send_signal, proc->exited.fd, number, NULL, 0) == 0) return 0;
  if (errno != ENOSYS) return errno;
  return kill(proc->pid, number) == 0 ? 0 : errno; /* not reaped, so still its number (valgrind) */
}

/* Asks soon whether the group is gone; there is a reason to think so. */
static void ask_soon(struct proc *proc) {
  if (proc->state != ENDING) return;
  proc->pause = FIRST_QUESTION;
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now() + proc->pause);
}

int proc_kill(struct proc *proc, int number, enum proc_target target) {
  if (proc->told) return EBADF;
  if (target == PROC_LEADER) return signal_leader(proc, number);
  int code = signal_group(proc, number);
  if (code == 0) ask_soon(proc);
  return code;
}

/* --- the end ----------------------------------------------------------------------------- */

static void unlink_proc(struct proc *proc) {
  if (proc->next) proc->next->previous = proc->previous;
  if (proc->previous)
    proc->previous->next = proc->next;
  else
    proc->procs->first = proc->next;
}

static void destroy(struct proc *proc) {
  handle_remove(proc->procs->handles, &proc->handle);
  loop_untimer(proc->procs->loop, &proc->question);
  feed_stop(&proc->feed);
  notify_free(proc->notify);
  unlink_proc(proc);
  free(proc);
}

static void give_up_streams(struct proc *proc) {
  for (int i = 0; i < 2; i++) {
    struct stream *stream = proc->outlets[i].stream;
    proc->outlets[i].stream = NULL;
    if (stream) stream_abandon(stream);
  }
}

/* The handle stays for what the captured streams still hold. */
static void finish(struct proc *proc) {
  if (proc->told && !proc->outlets[0].stream && !proc->outlets[1].stream) destroy(proc);
}

static void stream_ended(void *context) {
  struct outlet *outlet = context;
  outlet->stream = NULL;
  ask_soon(outlet->proc); /* who closes the pipes has often just died */
  finish(outlet->proc);
}

static void group_gone_taken(struct event *event) {
  struct proc *proc = PROC_OF(group_gone, event);
  proc->told = true;
  if (!proc->capture) give_up_streams(proc); /* they live on by themselves */
  finish(proc);
}

static void end_streams(struct proc *proc) {
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_group_gone(proc->outlets[i].stream);
}

static void announce(void *context) {
  struct proc *proc = context;
  notify_free(proc->notify);
  proc->notify = NULL;
  loop_publish(proc->procs->loop, &proc->group_gone);
  end_streams(proc);
}

static void group_has_gone(struct proc *proc) {
  proc->state = GONE;
  guardian_note(proc->procs->page, proc->pid, 0, 0);
  loop_untimer(proc->procs->loop, &proc->question);
  feed_stop(&proc->feed);
  if (proc->cancelled)
    destroy(proc);
  else if (proc->notify)
    notify_finish(proc->notify, announce, proc);
  else
    announce(proc);
}

/* --- is anybody left? -------------------------------------------------------------------- */

/* What calls setsid in a control group is not in the process group any more, but it still counts;
 * removing the control group is the same question. */
static bool anybody_left(struct proc *proc) {
  if (group_lives(proc)) return true;
  if (proc->cgroup.count == 0 || cgroup_remove(&proc->cgroup)) return false;
  if (proc->cancelled) (void)cgroup_signal(&proc->cgroup, SIGKILL, proc->pid);
  return true;
}

static void ask(struct proc *proc) {
  if (!anybody_left(proc)) {
    group_has_gone(proc);
    return;
  }
  (void)loop_timer(proc->procs->loop, &proc->question, loop_now() + proc->pause);
  proc->pause = proc->pause * 2 < LAST_QUESTION ? proc->pause * 2 : LAST_QUESTION;
}

static void question_is_due(struct timer *timer) {
  struct proc *proc = PROC_OF(question, timer);
  if (proc->state == ENDING)
    ask(proc);
  else /* the year is over, and nobody has exited */
    (void)loop_timer(proc->procs->loop, timer, FAR_AWAY);
}

/* --- the leader's exit ------------------------------------------------------------------- */

static double seconds(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* The zombie still holds the number of the group: now, not later, is the time for the end signal. */
static void end_group(struct proc *proc) {
  int number = proc->cancelled ? SIGKILL : proc->end_signal;
  if (!(proc->sent & (UINT64_C(1) << (number - 1)))) (void)signal_group(proc, number);
}

/* By its descriptor, never by its number: should somebody else have reaped it, that may be the number
 * of a younger child of ours by now. glibc's waitid() has no room for the usage. */
static void reap(struct proc *proc) {
  struct rusage usage = {0};
  siginfo_t info; /* not used, but valgrind wants one */
  while (syscall(SYS_waitid, P_PIDFD, proc->exited.fd, &info, WEXITED, &usage) < 0 &&
         errno == EINTR)
    continue;
  loop_unwatch(proc->procs->loop, &proc->exited); /* it would stay readable for ever */
  close(proc->exited.fd);
  proc->exit.user = seconds(usage.ru_utime);
  proc->exit.system = seconds(usage.ru_stime);
  proc->exit.maxrss = (int64_t)usage.ru_maxrss * 1024;
}

/* Somebody who waits for any child in this process has taken the status, and the number may be a
 * stranger's already: from now on it is used with the care that ENDING takes. */
static bool lost_status(struct proc *proc) {
  output_say(proc->procs->output, LOG_LEVEL_ERROR, "exit_status_lost",
             "the exit status of process %d is lost: something else in this program waited for it",
             (int)proc->pid);
  proc->exit.code = 255;
  proc->state = ENDING;
  return true;
}

/* False: it has not exited. */
static bool read_status(struct proc *proc) {
  siginfo_t info = {0};
  if (waitid(P_PIDFD, (id_t)proc->exited.fd, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return errno == ECHILD && lost_status(proc);
  if (info.si_pid == 0) return false;
  if (info.si_code == CLD_EXITED)
    proc->exit.code = info.si_status;
  else
    proc->exit.signal = info.si_status;
  return true;
}

static void exit_taken(struct event *event) {
  (void)event; /* group_gone is still to come */
}

static void leader_exited(struct watcher *watcher, uint32_t events) {
  (void)events;
  struct proc *proc = PROC_OF(exited, watcher);
  if (!read_status(proc)) return;
  end_group(proc);
  reap(proc);
  proc->state = ENDING;
  if (!proc->cancelled) loop_publish(proc->procs->loop, &proc->exit.event);
  proc->pause = FIRST_QUESTION;
  ask(proc);
}

/* --- cancelling -------------------------------------------------------------------------- */

static void cancel(struct handle *handle) {
  struct proc *proc = PROC_OF(handle, handle);
  proc->cancelled = true;
  loop_unpublish(proc->procs->loop, &proc->exit.event);
  loop_unpublish(proc->procs->loop, &proc->group_gone);
  handle_remove(proc->procs->handles, handle);
  give_up_streams(proc);
  notify_free(proc->notify);
  proc->notify = NULL;
  feed_stop(&proc->feed);
  if (proc->state == GONE) {
    destroy(proc);
    return;
  }
  (void)signal_group(proc, SIGKILL);
  ask_soon(proc);
}

struct proc *proc_of(struct handle *handle) {
  return PROC_OF(handle, handle);
}

int proc_capture(struct proc *proc, bool on) {
  if (!proc->lines) return EINVAL;
  proc->capture = on;
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_capture(proc->outlets[i].stream, on);
  if (on && proc->state == GONE) end_streams(proc);
  if (!on && proc->told) give_up_streams(proc);
  finish(proc);
  return 0;
}

int proc_hold(struct proc *proc, bool on) {
  if (!proc->capture) return EINVAL;
  for (int i = 0; i < 2; i++)
    if (proc->outlets[i].stream) stream_hold(proc->outlets[i].stream, on);
  return 0;
}

/* --- the beginning ----------------------------------------------------------------------- */

static struct proc *new_proc(struct procs *procs, const struct proc_options *options) {
  struct proc *proc = calloc(1, sizeof *proc);
  if (proc == NULL) return NULL;
  proc->handle = (struct handle){.kind = HANDLE_PROC, .cancel = cancel};
  proc->procs = procs;
  proc->end_signal = options->end_signal;
  proc->lines = options->output && !options->output->raw;
  proc->capture = options->capture;
  proc->exited = (struct watcher){.fd = -1, .ready = leader_exited};
  proc->question.fire = question_is_due;
  if (handle_add(procs->handles, &proc->handle) != 0) {
    free(proc);
    return NULL;
  }
  proc->id = proc->handle.id;
  proc->exit.event = (struct event){.type = EVENT_EXIT, .id = proc->id, .taken = exit_taken};
  proc->group_gone =
      (struct event){.type = EVENT_GROUP_GONE, .id = proc->id, .taken = group_gone_taken};
  proc->next = procs->first;
  if (proc->next) proc->next->previous = proc;
  procs->first = proc;
  return proc;
}

static int failed(struct failure *failure, const char *stage, const char *what, int code) {
  char text[TEXT_SIZE];
  return fail(failure, stage, code, "%s: %s", what, error_text(code, text));
}

/* Where lines go: NULL with `failure`. Files are counted: released by open_streams(). */
static struct sink *find_sink(struct procs *procs, const struct proc_output *output,
                              struct failure *failure) {
  if (output->file == NULL) return output_main(procs->output);
  struct failure why;
  struct sink *sink = output_file(procs->output, output->file, &why);
  if (sink == NULL) (void)fail(failure, "output", why.code, "log file: %s", why.message);
  return sink;
}

static void choose_descriptors(struct procs *procs, const struct proc_options *options,
                               struct sink *sink, int chosen[2]) {
  bool raw = sink && options->output->raw;
  bool pipes = !raw && (options->output || options->capture);
  for (int i = 0; i < 2; i++) {
    chosen[i] = pipes ? SPAWN_PIPE : procs->base.null;
    if (raw) chosen[i] = output_descriptor(sink, i == 0 ? "stdout" : "stderr");
  }
  if (pipes && options->output && options->output->merge) chosen[1] = SPAWN_MERGED;
}

/* The streams take over our ends of the pipes, on failure too. */
static int open_streams(struct proc *proc, const struct proc_options *options, struct sink *sink,
                        struct spawn *spawn, struct failure *failure) {
  static const char *const names[2] = {"stdout", "stderr"};
  const struct output_style *style = sink ? &options->output->style : NULL;
  for (int i = 0; i < 2; i++) {
    int fd = spawn->ours[i + 1];
    if (fd < 0) continue;
    struct outlet *outlet = &proc->outlets[i];
    spawn->ours[i + 1] = -1;
    outlet->proc = proc;
    outlet->stream =
        stream_new(proc->procs->output, fd, names[i], sink, style, proc->id, stream_ended, outlet);
    if (outlet->stream == NULL) return failed(failure, "output", "cannot read its output", errno);
    if (sink && options->capture) stream_capture(outlet->stream, true);
  }
  return 0;
}

static int open_notify(struct proc *proc, char variable[NOTIFY_NAME], struct failure *failure) {
  proc->notify = notify_new(proc->procs->loop, proc->procs->output, proc->id, variable);
  if (proc->notify) return 0;
  return failed(failure, "notify", "cannot open a notify socket", errno);
}

/* From here on it runs. What can still fail is being told of its exit (no memory); then it must not
 * run. */
static int follow(struct proc *proc, struct spawn *spawn, struct failure *failure) {
  struct loop *loop = proc->procs->loop;
  if (loop_watch(loop, &proc->exited, EPOLLIN) == 0 &&
      (!proc->notify || notify_start(proc->notify, proc->pid, spawn->account.uid) == 0))
    return 0;
  int code = errno;
  loop_unwatch(loop, &proc->exited);
  close(proc->exited.fd);
  (void)kill(-proc->pid, SIGKILL);
  while (waitpid(proc->pid, NULL, 0) < 0 && errno == EINTR) continue;
  return failed(failure, "fork", "cannot follow a new process", code);
}

/* Everything between the options and a process that is followed. */
static int start(struct proc *proc, struct spawn *spawn, struct spawn_options *options,
                 const struct proc_options *wanted, struct sink *sink, struct failure *failure) {
  if (spawn_prepare(spawn, options, &proc->procs->base, failure) != 0) return -1;
  if (open_streams(proc, wanted, wanted->output ? sink : NULL, spawn, failure) != 0) return -1;
  if (loop_timer(proc->procs->loop, &proc->question, FAR_AWAY) != 0)
    return failed(failure, "fork", "cannot follow a new process", ENOMEM);
  proc->pid = spawn_run(spawn, options, &proc->exited.fd, failure);
  if (proc->pid < 0) return -1;
  if (follow(proc, spawn, failure) != 0) return -1;
  if (wanted->text) {
    feed_start(&proc->feed, proc->procs->loop, spawn->ours[0]);
    spawn->ours[0] = -1;
  }
  proc->cgroup = spawn->cgroup;
  spawn->cgroup = (struct cgroup){0};
  guardian_note(proc->procs->page, proc->pid, wanted->stop_signal, wanted->grace);
  return 0;
}

uint64_t proc_spawn(struct procs *procs, const struct proc_options *wanted, pid_t *pid,
                    struct failure *failure) {
  struct spawn_options options = wanted->spawn;
  struct spawn spawn = {.child = {-1, -1, -1}, .ours = {-1, -1, -1}};
  char variable[NOTIFY_NAME];
  struct sink *sink = NULL;
  struct proc *proc = new_proc(procs, wanted);
  if (proc == NULL || (wanted->text && feed_keep(&proc->feed, wanted->text, wanted->text_size))) {
    fail(failure, "fork", ENOMEM, "cannot start a process: out of memory");
    goto fail;
  }
  if (wanted->output && (sink = find_sink(procs, wanted->output, failure)) == NULL) goto fail;
  if (wanted->notify && open_notify(proc, variable, failure) != 0) goto fail;
  options.notify_socket = wanted->notify ? variable : NULL;
  options.feed = wanted->text != NULL;
  choose_descriptors(procs, wanted, sink, options.output);
  if (start(proc, &spawn, &options, wanted, sink, failure) != 0) goto fail;
  if (sink && wanted->output->file) output_release(sink); /* the streams count for themselves */
  spawn_clean(&spawn);
  *pid = proc->pid;
  return proc->id;
fail:
  if (sink && wanted->output->file) output_release(sink);
  spawn_clean(&spawn);
  if (proc) {
    give_up_streams(proc);
    destroy(proc);
  }
  return 0;
}

/* --- all of them ------------------------------------------------------------------------- */

/* Old kernels do not know this way to wait for a process: EINVAL. */
static bool can_follow(void) {
  siginfo_t info;
  return waitid(P_PIDFD, INT_MAX, &info, WEXITED | WNOHANG) == 0 || errno != EINVAL;
}

struct procs *procs_new(struct loop *loop, struct handle_table *handles, struct output *output,
                        struct guardian_page *page) {
  if (!can_follow()) {
    errno = ENOSYS;
    return NULL;
  }
  struct procs *procs = calloc(1, sizeof *procs);
  if (procs == NULL) return NULL;
  *procs = (struct procs){.loop = loop, .handles = handles, .output = output, .page = page};
  if (spawn_open(&procs->base) == 0) return procs;
  free(procs);
  return NULL;
}

void procs_free(struct procs *procs) {
  if (procs == NULL) return;
  for (struct proc *proc = procs->first, *next; proc; proc = next) {
    next = proc->next;
    if (proc->state != GONE) (void)signal_group(proc, SIGKILL);
    if (proc->state == RUNNING) reap(proc);
    if (!cgroup_remove(&proc->cgroup)) cgroup_forget(&proc->cgroup);
    give_up_streams(proc);
    loop_unpublish(procs->loop, &proc->exit.event);
    loop_unpublish(procs->loop, &proc->group_gone);
    destroy(proc);
  }
  spawn_close(&procs->base);
  free(procs);
}
