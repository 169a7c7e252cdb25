#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/descriptors.h"

/* From here on process/launch.c would have much to copy: see lower(). */
#define LOW 64

static int no_memory(struct failure *failure) {
  return fail(failure, "fork", ENOMEM, "cannot start a process: out of memory");
}

/* --- what all starts share --------------------------------------------------------------- */

int spawn_open(struct spawn_base *base) {
  base->null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (base->null < 0) return -1;
  base->raised = descriptors_raise(&base->nofile);
  for (int i = 0; i < 3; i++) base->low[i] = fcntl(base->null, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return 0;
}

void spawn_close(struct spawn_base *base) {
  close(base->null);
  for (int i = 0; i < 3; i++)
    if (base->low[i] >= 0) close(base->low[i]);
  if (base->raised) (void)setrlimit(RLIMIT_NOFILE, &base->nofile);
}

/* Without a low place it works as well, only slower. */
static void lower(struct spawn *spawn, int index) {
  int *fd = &spawn->plan.stdio[index], place = spawn->base ? spawn->base->low[index] : -1;
  if (*fd >= LOW && place >= 0 && dup3(*fd, place, O_CLOEXEC) >= 0) *fd = place;
}

/* The last copy of a pipe's end must not stay there. */
static void empty_place(const struct spawn *spawn, int index) {
  int place = spawn->base->low[index];
  if (place >= 0 && spawn->plan.stdio[index] == place)
    (void)dup3(spawn->base->null, place, O_CLOEXEC);
}

/* The limit that we had ourselves, where no other one was asked for. */
void spawn_inherit(const struct spawn_base *base, struct spawn_options *options) {
  for (size_t i = 0; i < options->limit_count; i++)
    if (options->limits[i].resource == RLIMIT_NOFILE) return;
  if (base->raised)
    options->limits[options->limit_count++] = (struct launch_limit){RLIMIT_NOFILE, base->nofile};
}

/* --- preparation ------------------------------------------------------------------------- */

static int open_pipe(struct spawn *spawn, int index, struct failure *failure) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    char text[TEXT_SIZE];
    return fail(failure, "output", errno, "cannot make a pipe: %s", error_text(errno, text));
  }
  spawn->child[index] = ends[index != 0];
  spawn->ours[index] = ends[index == 0];
  (void)fcntl(spawn->ours[index], F_SETFL, O_NONBLOCK);
  return 0;
}

int spawn_pipes(struct spawn *spawn, const struct spawn_options *options, struct failure *failure) {
  for (int i = 0; i < 3; i++)
    if (options->stdio[i] == SPAWN_PIPE && open_pipe(spawn, i, failure) != 0) return -1;
  return 0;
}

/* Is it a pipe without a name? A terminal, a file, a FIFO has one, by which others could come. */
static bool is_nameless(int fd) {
  struct statfs system;
  return fstatfs(fd, &system) == 0 && system.f_type == PIPEFS_MAGIC;
}

/* The job must be able to open /dev/stdout by its name, and a pipe belongs to whoever made it. One of ours is
 * given to its user. Where the program is root, and may become somebody else, and where the pipe is not
 * ours (raw output), all may open it for writing: only who has it already, or may look into such a
 * process, can name it, so nobody gets what he had not. */
static void let_open(const struct spawn *spawn, int index, bool is_ours) {
  int fd = spawn->plan.stdio[index];
  bool is_null = fd < 0 || (spawn->base && fd == spawn->base->null);
  if (is_ours && spawn->account.become && spawn->account.uid != 0)
    (void)fchown(fd, spawn->account.uid, (gid_t)-1);
  else if (index > 0 && !is_null && (is_ours ? spawn->account.uid == 0 : is_nameless(fd)))
    (void)fchmod(fd, 0622);
}

static int prepare_stdio(struct spawn *spawn, const struct spawn_options *options,
                         struct failure *failure) {
  if (spawn_pipes(spawn, options, failure) != 0) return -1;
  for (int i = 0; i < 3; i++) {
    spawn->plan.stdio[i] = spawn->child[i] >= 0 ? spawn->child[i] : options->stdio[i];
    let_open(spawn, i, options->is_pipe[i] || spawn->child[i] >= 0);
    lower(spawn, i);
  }
  if (options->stdio[2] == SPAWN_MERGED) spawn->plan.stdio[2] = spawn->plan.stdio[1];
  return 0;
}

static size_t count_of(char *const *list) {
  size_t count = 0;
  while (list[count]) count++;
  return count;
}

/* Is there another value for the name of `variable`? A first letter tells most apart. */
static bool is_replaced(const char *variable, char *const *by) {
  for (; *by; by++)
    if (**by == *variable && strncmp(*by, variable, strcspn(variable, "=") + 1) == 0) return true;
  return false;
}

static bool asks_for_user(const struct spawn_options *options) {
  return options->user.name != NULL || options->user.number >= 0;
}

static bool refuses_login(const char *shell) {
  const char *slash = strrchr(shell, '/'), *name = slash ? slash + 1 : shell;
  return strcmp(name, "nologin") == 0 || strcmp(name, "false") == 0 || name[0] == '\0';
}

static const char *const login_names[SPAWN_LOGIN] = {"HOME=", "USER=", "LOGNAME=", "SHELL="};

static int prepare_login(struct spawn *spawn, const struct spawn_options *options,
                         struct failure *failure) {
  const struct account *account = &spawn->account;
  if (!asks_for_user(options)) return 0;
  const char *shell = account->shell && !refuses_login(account->shell) ? account->shell : NULL;
  const char *home = account->home && account->home[0] ? account->home : "/";
  const char *values[SPAWN_LOGIN] = {home, account->name, account->name, shell};
  size_t size = 0;
  for (int i = 0; i < SPAWN_LOGIN; i++)
    if (values[i]) size += strlen(login_names[i]) + strlen(values[i]) + 1;
  char *at = spawn->login_text = malloc(size);
  if (at == NULL) return no_memory(failure);
  for (int i = 0; i < SPAWN_LOGIN; i++) {
    if (values[i] == NULL) continue;
    spawn->login[i] = at;
    at = stpcpy(stpcpy(at, login_names[i]), values[i]) + 1;
  }
  return 0;
}

/* Ours says something of us there. */
static bool is_of_login(const char *variable) {
  if (strchr("HULS", variable[0]) == NULL) return false;
  for (int i = 0; i < SPAWN_LOGIN; i++)
    if (strncmp(variable, login_names[i], strlen(login_names[i])) == 0) return true;
  return false;
}

/* What is added takes the place of what has the same name; the socket, of both. */
static int prepare_environment(struct spawn *spawn, const struct spawn_options *options,
                               struct failure *failure) {
  static char *const none[] = {NULL};
  char *const *added = options->env_added ? options->env_added : none;
  char *const socket[] = {(char *)options->notify_socket, NULL};
  bool has_login = asks_for_user(options);
  char **to = malloc((count_of(options->envp) + count_of(added) + SPAWN_LOGIN + 2) * sizeof *to);
  if (to == NULL) return no_memory(failure);
  spawn->plan.envp = spawn->envp = to;
  for (char *const *from = options->envp; *from; from++)
    if (!is_replaced(*from, added) && !is_replaced(*from, socket) &&
        !(has_login && is_of_login(*from)))
      *to++ = *from;
  for (int i = 0; i < SPAWN_LOGIN; i++)
    if (spawn->login[i] && !is_replaced(spawn->login[i], added)) *to++ = spawn->login[i];
  for (char *const *from = added; *from; from++)
    if (!is_replaced(*from, socket)) *to++ = *from;
  if (socket[0]) *to++ = socket[0];
  *to = NULL;
  return 0;
}

static int prepare_cgroup(struct spawn *spawn, const struct spawn_options *options,
                          struct failure *failure) {
  if (options->cgroup == NULL) return 0;
  if (cgroup_make(&spawn->cgroup, options->cgroup, failure) != 0) return -1;
  if (cgroup_open(&spawn->cgroup, spawn->plan.cgroups, failure) != 0) return -1;
  spawn->plan.cgroup_count = spawn->cgroup.count;
  return 0;
}

static void prepare_plan(struct spawn *spawn, const struct spawn_options *options) {
  struct launch *plan = &spawn->plan;
  plan->argv = options->argv;
  plan->candidates = spawn->program.candidates;
  plan->become = spawn->account.become;
  plan->uid = spawn->account.uid;
  plan->gid = spawn->account.gid;
  plan->groups = spawn->account.groups;
  plan->group_count = spawn->account.group_count;
  memcpy(plan->limits, options->limits, sizeof plan->limits);
  plan->limit_count = options->limit_count;
  plan->no_new_privs = options->no_new_privs;
  plan->cwd = options->cwd;
  plan->umask = options->umask;
  if (!options->has_oom_score_adj) return;
  (void)snprintf(spawn->oom_text, sizeof spawn->oom_text, "%d", options->oom_score_adj);
  plan->oom_score_adj = spawn->oom_text;
}

int spawn_prepare(struct spawn *spawn, const struct spawn_options *options,
                  const struct spawn_base *base, struct failure *failure) {
  *spawn = (struct spawn){.base = base, .child = {-1, -1, -1}, .ours = {-1, -1, -1}};
  if (account_find(&spawn->account, options->user, options->group, failure) != 0) return -1;
  if (prepare_login(spawn, options, failure) != 0) return -1;
  if (prepare_environment(spawn, options, failure) != 0) return -1;
  if (program_find(&spawn->program, options->argv[0], spawn->envp) != 0) return no_memory(failure);
  if (prepare_stdio(spawn, options, failure) != 0) return -1;
  if (prepare_cgroup(spawn, options, failure) != 0) return -1;
  prepare_plan(spawn, options);
  return 0;
}

/* --- what went wrong --------------------------------------------------------------------- */

static const char *fork_advice(int code) {
  if (code == EAGAIN)
    return " (the limit on processes of the user, the control group or the machine is reached)";
  return "";
}

static const char *oom_advice(int code) {
  if (code == EACCES) return " (lowering it takes CAP_SYS_RESOURCE)";
  return code == ENOENT ? " (/proc/self/oom_score_adj: is /proc mounted?)" : "";
}

static int explain_limit(const struct launch_limit *limit, int code, struct failure *failure) {
  char text[TEXT_SIZE], bounds[96] = "";
  struct rlimit now;
  if (code == EPERM && getrlimit((__rlimit_resource_t)limit->resource, &now) == 0)
    (void)snprintf(bounds, sizeof bounds, " (its hard limit here is %lld: more takes privileges)",
                   (long long)now.rlim_max);
  return fail(failure, "limits", code, "limit %s = %lld, %lld: %s%s", limit_name(limit->resource),
              (long long)limit->value.rlim_cur, (long long)limit->value.rlim_max,
              error_text(code, text), bounds);
}

/* What is missing where another user or group is refused. */
static const char *identity_advice(int code) {
  return code == EPERM ? " (luapilot must run as root, or have CAP_SETUID and CAP_SETGID)" : "";
}

static int explain_cwd(const struct spawn *spawn, const char *user, int code,
                       struct failure *failure) {
  char text[TEXT_SIZE];
  const char *cwd = spawn->plan.cwd;
  if (code == EACCES && spawn->account.become)
    return fail(failure, "cwd", code, "working directory \"%s\": permission denied for user %s",
                cwd, user);
  return fail(failure, "cwd", code, "working directory \"%s\": %s", cwd, error_text(code, text));
}

static int explain(const struct spawn *spawn, const struct spawn_options *options,
                   const struct launch_report *report, struct failure *failure) {
  char user[128], text[TEXT_SIZE];
  int code = report->code;
  account_name(&spawn->account, options->user, user, sizeof user);
  error_text(code, text);
  switch (report->stage) {
  case LAUNCH_CGROUP:
    return fail(failure, "cgroup", code, "cannot enter the control group \"%s\": %s",
                spawn->cgroup.places[report->which], text);
  case LAUNCH_OOM_SCORE_ADJ:
    return fail(failure, "oom_score_adj", code, "oom_score_adj = %s: %s%s", spawn->oom_text, text,
                oom_advice(code));
  case LAUNCH_LIMIT: return explain_limit(&spawn->plan.limits[report->which], code, failure);
  case LAUNCH_GROUP:
    return fail(failure, "group", code, "cannot take the groups of user %s: %s%s", user, text,
                identity_advice(code));
  case LAUNCH_USER:
    return fail(failure, "user", code, "cannot become user %s: %s%s", user, text,
                identity_advice(code));
  case LAUNCH_NO_NEW_PRIVS:
    return fail(failure, "no_new_privs", code, "cannot give up new privileges: %s", text);
  case LAUNCH_CWD: return explain_cwd(spawn, user, code, failure);
  case LAUNCH_STDIO:
    return fail(failure, "output", code, "cannot connect its standard descriptors: %s", text);
  case LAUNCH_EXEC:
    return program_explain(&spawn->program, code, report->which, options->cwd,
                           spawn->account.become ? user : NULL, failure);
  case LAUNCH_FORK:
  case LAUNCH_SESSION:
  default:
    return fail(failure, "fork", code, "cannot start a process: %s%s", text, fork_advice(code));
  }
}

/* --- the deed ---------------------------------------------------------------------------- */

pid_t spawn_run(struct spawn *spawn, const struct spawn_options *options, int *pidfd,
                struct failure *failure) {
  struct launch_report report;
  pid_t pid = launch(&spawn->plan, pidfd, &report);
  return pid > 0 ? pid : explain(spawn, options, &report, failure);
}

pid_t spawn_run_apart(struct spawn *spawn, const struct spawn_options *options, char *stack,
                      struct launch_watch *watch, struct failure *failure) {
  struct launch_report report;
  pid_t pid = launch_apart(&spawn->plan, stack, watch, &report);
  return pid > 0 ? pid : explain(spawn, options, &report, failure);
}

void spawn_clean(struct spawn *spawn) {
  for (int i = 0; i < 3; i++) {
    if (spawn->base) empty_place(spawn, i);
    if (spawn->child[i] >= 0) close(spawn->child[i]);
    if (spawn->ours[i] >= 0) close(spawn->ours[i]);
  }
  for (size_t i = 0; i < spawn->plan.cgroup_count; i++) close(spawn->plan.cgroups[i]);
  if (!cgroup_remove(&spawn->cgroup)) cgroup_forget(&spawn->cgroup);
  program_free(&spawn->program);
  account_free(&spawn->account);
  free(spawn->login_text);
  free(spawn->envp);
}
