#include "port/port.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/names.h"
#include "port/shared.h"
#include "port/themes.h"
#include "process/launch.h"

void port_guardian(struct guardian_page *page) {
  port.page = page;
}

/* Nanoseconds, one at least; 0: nil. */
static int64_t span(lua_State *L, int index, const char *where) {
  if (lua_isnoneornil(L, index)) return 0;
  return 1 + (int64_t)(port_number(L, index, where, 0, 1e9) * (double)NANOSECONDS);
}

/* When, at the latest, the guardian ends us, and with which code. */
static int l_deadline(lua_State *L) {
  int64_t budget = span(L, 1, "deadline: seconds");
  int64_t orderly = span(L, 2, "deadline: orderly");
  int code = GUARDIAN_NO_CODE;
  if (!lua_isnoneornil(L, 3)) code = (int)port_integer(L, 3, "deadline: code", 0, 255);
  if (orderly != 0) port_contain_hurry(loop_now() + orderly);
  guardian_deadline(port.page, budget, code);
  return 0;
}

static int l_reached(lua_State *L) {
  const char *stage = port_word(L, 1, "reached: stage");
  if (strcmp(stage, "started") == 0) {
    guardian_reached(port.page, GUARDIAN_STARTED, port_word(L, 2, "reached: status"));
  } else {
    if (strcmp(stage, "over") != 0)
      luaL_error(L, "reached: stage: expected \"started\" or \"over\", got \"%s\"", stage);
    guardian_reached(port.page, GUARDIAN_OVER, NULL);
  }
  return 0;
}

static const luaL_Reg own_functions[] = {
    {"deadline", l_deadline}, {"reached", l_reached}, {NULL, NULL}};

static const luaL_Reg *const all_functions[] = {
    own_functions,      port_wait_functions,       port_proc_functions,  port_file_functions,
    port_net_functions, port_connection_functions, port_http_functions,  port_consul_functions,
    port_log_functions, port_contain_functions,    port_stack_functions,
};

/* --- the runtime ------------------------------------------------------------------------- */

/* Whoever starts us with 0, 1 or 2 closed would otherwise see a socket or a log file take the place
 * of the standard descriptors, here and in every job. */
static void fill_standard_descriptors(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= 2);
  if (fd > 2) close(fd);
}

/* Our own writes tell of a gone reader by EPIPE; an ignored SIGCHLD, which is inherited, would have
 * the kernel reap our children behind our back. */
static void settle_signals(void) {
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGCHLD, SIG_DFL);
  launch_begin();
}

/* Nothing that belongs to a file: the machine is short of something, or old. */
static bool has_no_object(int code) {
  return code == EMFILE || code == ENFILE || code == ENOMEM || code == ENOSYS;
}

/* False with errno; `object` is what it was about, where that has a name. */
static bool open_runtime(const char **object) {
  fill_standard_descriptors();
  settle_signals();
  port.loop = loop_new();
  if (port.loop == NULL) return false;
  if (port.page) loop_heartbeat(port.loop, &port.page->heartbeat);
  port.output = output_new(port.loop);
  if (port.output) port.procs = procs_new(port.loop, &port.handles, port.output, port.page);
  if (port.procs) port.http = http_new(port.loop, &port.handles);
  if (port.http) port.consul = consul_new(port.loop, &port.handles, port.http);
  if (port.consul) return true;
  int error = errno;
  if (port.output && !port.procs && !has_no_object(error)) *object = "/dev/null: ";
  port_close();
  errno = error;
  return false;
}

void port_close(void) {
  if (port.loop == NULL) return;
  port_contain_close();
  handle_close(&port.handles);
  consul_free(port.consul);
  http_free(port.http);
  procs_free(port.procs);
  port_wait_close();
  output_free(port.output);
  loop_free(port.loop);
  buffer_free(&port.scratch);
  port = (struct port){.page = port.page, .handles.last = port.handles.last};
}

void port_leave(void) {
  if (port.page == NULL)
    port_close();
  else if (port.output)
    (void)output_flush(port.output, 0);
}

static int cannot_start(lua_State *L, const char *object, int code) {
  char text[TEXT_SIZE];
  const char *hint = code == ENOSYS ? " (Linux 5.4 or later is needed)" : "";
  if (*object) hint = " (it comes with /dev, which containers are given)";
  return luaL_error(L, "the runtime cannot start: %s%s%s", object, error_text(code, text), hint);
}

int luaopen_luapilot_rt(lua_State *L) {
  const char *object = "";
  if (port.loop == NULL && !open_runtime(&object)) return cannot_start(L, object, errno);
  port_stack_open(L);
  lua_createtable(L, 0, 64);
  for (size_t i = 0; i < sizeof all_functions / sizeof *all_functions; i++)
    luaL_register(L, NULL, all_functions[i]);
  return 1;
}
