/* notify: what a job and strangers send to a NOTIFY_SOCKET, under libFuzzer, with an oracle.
 *
 * An input is a small play: datagrams of any bytes and size come, with and without descriptors,
 * from the job, from its descendants, from processes of it that are gone, and from strangers; Lua
 * takes an event; a call is interrupted; the job ends; the process is given up. Socket, loop and
 * descriptors are real. That many processes send is played: recvmsg() tells, and getsid() knows,
 * the one that the input names (--wrap).
 *
 * Every datagram of the job must come out once, whole, in order, and as the fields that a second
 * reading of the protocol finds in it; no datagram of a stranger; one at a time; all that was sent
 * before the job's end before its end is told. One message in the log says that something was
 * ignored. No descriptor is left open. */
#include "process/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "loop/thread.h"

#define ID 42
#define SENDS 512 /* less than process/notify.c reads at the end */
#define LARGEST (NOTIFY_SIZE + 256)
#define PASSED 253     /* SCM_MAX_FD */
#define DESCRIPTORS 64 /* that can be open without one that is passed; those come above */
#define SESSION 4000000
#define UID 1234

static int passed_along; /* a descriptor to send */

/* --- who sends --------------------------------------------------------------------------- */

struct sender {
  pid_t pid;
  uid_t uid;
  pid_t session; /* -1: it is gone */
  bool heard;
  bool credentials;
};

static const struct sender senders[] = {
    {SESSION, UID, SESSION, true, true},         /* the job */
    {SESSION + 7, UID, SESSION, true, true},     /* its child */
    {SESSION + 8, UID + 1, SESSION, true, true}, /* which may have another user */
    {SESSION + 9, UID, -1, true, true},          /* and may be gone already */
    {0, UID, -1, true, true},                    /* in a pid namespace that we do not see */
    {77, UID, 77, false, true},                  /* another job of the same user */
    {1, 0, 1, false, true},
    {SESSION + 9, UID + 1, -1, false, true}, /* nobody knows whose it was */
    {0, 0, -1, false, true},
    {0, (uid_t)-1, -1, false, false}, /* the kernel does not say */
};

#define FLOOD (sizeof play.others.flood / sizeof *play.others.flood)
#define SENDERS (sizeof senders / sizeof *senders)
#define STRANGERS 5 /* the first of them */

struct datagram {
  const struct sender *from;
  size_t size;
  char *data; /* owned */
};

/* --- the play ---------------------------------------------------------------------------- */

/* What else happens, so that events wait for each other: one together with a datagram, or so many that
 * the loop looks at its descriptors again before the last. */
struct others {
  struct watcher bell;
  struct event rung, flood[3 * LOOP_BATCH];
};

static struct {
  struct loop *loop;
  struct others others;
  struct notify *notify;
  int socket; /* of all senders */
  struct sockaddr_un address;
  socklen_t address_size;
  struct datagram sent[SENDS];
  size_t sent_count, read_count;  /* of them, what is read is in front */
  const struct datagram *unheard; /* read, and to come as an event */
  const struct datagram *ignored; /* the first */
  const struct sender *known;     /* to getsid(), while a datagram of its is read */
  bool interrupted;
  bool started, finished, drained;
  unsigned messages;
  char message[256];
} play;

static bool must_be_heard(const struct datagram *datagram) {
  return datagram->from->heard && datagram->size <= NOTIFY_SIZE;
}

/* --- what process/notify.c sees ---------------------------------------------------------- */

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
pid_t __wrap_getsid(pid_t pid);

static void tell_sender(struct msghdr *message, const struct sender *sender) {
  bool told = false;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    struct ucred credentials = {.pid = sender->pid, .uid = sender->uid, .gid = 0};
    memcpy(CMSG_DATA(header), &credentials, sizeof credentials);
    if (!sender->credentials) header->cmsg_type = -1;
    told = true;
  }
  if (!told) wrong("the socket was not asked to tell who sends");
}

/* What a thread does is done at once, so that an input has one story. */
int thread_start(void *(*body)(void *argument), void *argument) {
  (void)body(argument);
  return 0;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags) {
  if (play.unheard) wrong("a datagram was read while another is on its way");
  if (play.interrupted) {
    play.interrupted = false;
    errno = EINTR;
    return -1;
  }
  ssize_t size = __real_recvmsg(fd, message, flags);
  if (size < 0) return size;
  if (play.read_count == play.sent_count) wrong("a datagram that nobody sent");
  const struct datagram *datagram = &play.sent[play.read_count++];
  if (!(flags & MSG_PEEK)) wrong("the loop takes what a datagram may carry");
  tell_sender(message, datagram->from);
  play.known = datagram->from;
  if (must_be_heard(datagram))
    play.unheard = datagram;
  else if (play.ignored == NULL)
    play.ignored = datagram;
  return size;
}

pid_t __wrap_getsid(pid_t pid) {
  if (pid <= 0) wrong("getsid(%d) is about ourselves", (int)pid);
  if (play.known == NULL || pid != play.known->pid) wrong("getsid() of somebody else");
  if (play.known->session < 0) errno = ESRCH;
  return play.known->session;
}

void output_say(struct output *output, enum log_level level, const char *event, const char *format,
                ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(play.message, sizeof play.message, format, arguments);
  va_end(arguments);
  if (output != NULL || level != LOG_LEVEL_WARN || strcmp(event, "notify_ignored") != 0)
    wrong("not a warning to our output");
  play.messages++;
}

/* --- the oracle: fields ------------------------------------------------------------------ */

/* Read from the back, byte by byte, so as not to be the same program again: where is the last line
 * but `skip` that has a name in front of its first "="? */
static bool field_from_back(const struct datagram *datagram, size_t skip,
                            struct notify_field *field) {
  size_t end = datagram->size;
  for (;;) {
    size_t start = end, equals = end;
    for (; start > 0 && datagram->data[start - 1] != '\n'; start--)
      if (datagram->data[start - 1] == '=') equals = start - 1;
    if (equals < end && equals > start && skip-- == 0) {
      *field = (struct notify_field){datagram->data + start, datagram->data + equals + 1,
                                     equals - start, end - equals - 1};
      return true;
    }
    if (start == 0) return false;
    end = start - 1;
  }
}

static size_t count_fields(const struct datagram *datagram) {
  struct notify_field field;
  size_t count = 0;
  while (field_from_back(datagram, count, &field)) count++;
  return count;
}

static bool same(const char *one, size_t size, const char *other, size_t other_size) {
  return size == other_size && memcmp(one, other, size) == 0;
}

static void check_fields(const struct notify_event *event, const struct datagram *datagram) {
  struct notify_field field, expected;
  size_t at = 0, left = count_fields(datagram);
  while (notify_next(event, &at, &field)) {
    if (left == 0) wrong("a field too many: %.*s", (int)field.name_size, field.name);
    (void)field_from_back(datagram, --left, &expected);
    if (!same(field.name, field.name_size, expected.name, expected.name_size) ||
        !same(field.value, field.value_size, expected.value, expected.value_size))
      wrong("%.*s=%.*s came as %.*s=%.*s", (int)expected.name_size, expected.name,
            (int)expected.value_size, expected.value, (int)field.name_size, field.name,
            (int)field.value_size, field.value);
  }
  if (left > 0) wrong("%zu fields were not found", left);
}

/* --- what happens ------------------------------------------------------------------------ */

static void send_bytes(const struct sender *from, const char *data, size_t size, size_t passed) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * PASSED)];
  } ancillary = {0};
  struct iovec part = {(char *)data, size};
  struct msghdr message = {.msg_name = &play.address,
                           .msg_namelen = play.address_size,
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  if (passed > 0) {
    message.msg_control = &ancillary;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * passed);
    ancillary.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * passed),
                                        .cmsg_level = SOL_SOCKET,
                                        .cmsg_type = SCM_RIGHTS};
    for (size_t i = 0; i < passed; i++)
      memcpy(CMSG_DATA(&ancillary.header) + i * sizeof(int), &passed_along, sizeof(int));
  }
  if (play.sent_count == SENDS || sendmsg(play.socket, &message, MSG_DONTWAIT) < 0) return;
  struct datagram *datagram = &play.sent[play.sent_count++];
  *datagram = (struct datagram){from, size, malloc(size + 1)};
  if (datagram->data == NULL) abort();
  memcpy(datagram->data, data, size);
}

/* After the job's end nobody is left but strangers. */
static const struct sender *choose_sender(unsigned choice) {
  if (play.finished) return &senders[STRANGERS + choice % (SENDERS - STRANGERS)];
  return &senders[choice % SENDERS];
}

static void send_some(const struct sender *from) {
  unsigned choice = input_byte();
  size_t size = choice, passed = 0;
  const char *bytes = (const char *)input_take(&size);
  if (choice % 8 == 7) passed = choice == 255 ? PASSED : 1 + choice / 64;
  send_bytes(from, bytes, size, passed);
}

/* About as long as it may be. */
static void send_long(const struct sender *from) {
  char bytes[LARGEST];
  size_t size = NOTIFY_SIZE - 128 + 2 * input_byte() % (LARGEST - NOTIFY_SIZE + 128);
  size_t step = input_byte() + 1, equals = input_byte() % step;
  for (size_t i = 0; i < size; i++) bytes[i] = "a\n="[i % step == equals ? 2 : i % step == 0];
  send_bytes(from, bytes, size, 0);
}

static void ring(void) {
  uint64_t one = 1;
  if (write(play.others.bell.fd, &one, sizeof one) != (ssize_t)sizeof one) abort();
}

static void rings(struct watcher *watcher, uint32_t events) {
  uint64_t count;
  (void)events;
  if (read(watcher->fd, &count, sizeof count) != (ssize_t)sizeof count) abort();
  loop_publish(play.loop, &play.others.rung);
}

static void other_taken(struct event *event) {
  (void)event;
}

static void take(struct event *event) {
  const struct notify_event *notify = (const struct notify_event *)event;
  const struct datagram *datagram = play.unheard;
  if (event->type != EVENT_NOTIFY || event->id != ID) wrong("not an event of this process");
  if (play.drained || play.notify == NULL) wrong("an event after the end");
  if (datagram == NULL) wrong("an event, and no datagram of the job");
  if (!same(notify->data, notify->size, datagram->data, datagram->size)) wrong("other bytes");
  check_fields(notify, datagram);
  play.unheard = NULL;
  event->taken(event);
}

static bool turn(void) {
  struct event *event = loop_wait(play.loop, false);
  if (event && event->taken == other_taken)
    event->taken(event);
  else if (event)
    take(event);
  return event != NULL;
}

/* Up to just before the last is taken. */
static void flood(void) {
  for (size_t i = 0; i < FLOOD; i++) loop_publish(play.loop, &play.others.flood[i]);
  for (size_t i = 1; i < FLOOD; i++) (void)turn();
}

/* One turn hears that a thread is done, the next one reads on. */
static void turn_until_quiet(void) {
  for (int quiet = 0; quiet < 3; quiet++) {
    size_t before = play.read_count;
    if (turn() || play.read_count > before) quiet = 0;
  }
}

static void drained(void *context) {
  if (context != &play || play.drained) wrong("its end was told twice");
  if (play.unheard) wrong("its end was told before its last message");
  if (play.read_count < play.sent_count) wrong("its end was told before all was read");
  play.drained = true;
  notify_free(play.notify);
  play.notify = NULL;
}

static void finish(void) {
  if (play.finished || !play.started || play.notify == NULL) return;
  play.finished = true;
  notify_finish(play.notify, drained, &play);
}

static void give_up(void) {
  notify_free(play.notify);
  play.notify = NULL;
  play.unheard = NULL;
}

static void act(void) {
  unsigned what = input_byte();
  const struct sender *from = choose_sender(what >> 4);
  switch (what & 15) {
  case 0:
  case 1:
  case 2:
  case 3:
  case 4: send_some(from); break;
  case 5: send_long(from); break;
  case 6: send_bytes(from, "READY=1", 7, 0); break;
  case 7: send_bytes(from, "BARRIER=1", 9, 1); break;
  case 8: play.interrupted = true; break;
  case 9: turn_until_quiet(); break;
  case 10:
    if (what >> 4 == 15) finish();
    break;
  case 11:
    if (what >> 4 == 15) give_up();
    break;
  case 12: what >> 4 == 15 ? flood() : ring(); break;
  default: (void)turn();
  }
}

/* --- from the beginning to the end ------------------------------------------------------- */

static void find_socket(const char *variable) {
  static const char start[] = "NOTIFY_SOCKET=@";
  size_t length = strnlen(variable, NOTIFY_NAME);
  if (length == NOTIFY_NAME || strncmp(variable, start, sizeof start - 1) != 0)
    wrong("not a variable of the environment: %.*s", NOTIFY_NAME, variable);
  size_t name = length - (sizeof start - 1);
  play.address.sun_family = AF_UNIX;
  memcpy(play.address.sun_path + 1, variable + sizeof start - 1, name);
  play.address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name);
}

static void open_others(void) {
  const struct event other = {.type = EVENT_TIMER, .id = ID, .taken = other_taken};
  play.others.bell = (struct watcher){.fd = eventfd(0, EFD_CLOEXEC), .ready = rings};
  play.others.rung = other;
  for (size_t i = 0; i < FLOOD; i++) play.others.flood[i] = other;
  if (play.others.bell.fd < 0) abort();
  if (loop_watch(play.loop, &play.others.bell, EPOLLIN) != 0) abort();
}

static void begin(void) {
  char variable[NOTIFY_NAME];
  memset(&play, 0, sizeof play);
  play.loop = loop_new();
  play.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (play.loop == NULL || play.socket < 0) abort();
  open_others();
  play.notify = notify_new(play.loop, NULL, ID, variable);
  if (play.notify == NULL) abort();
  find_socket(variable);
  for (unsigned early = input_byte() % 8; early > 0; early--) act(); /* it is not started yet */
  play.started = true;
  if (play.notify && notify_start(play.notify, SESSION, UID) != 0) abort();
}

static void check_message(void) {
  char pid[32];
  if (play.messages != (play.ignored != NULL)) wrong("%u messages", play.messages);
  if (play.ignored == NULL) return;
  (void)snprintf(pid, sizeof pid, "process %d", (int)play.ignored->from->pid);
  if (strstr(play.message, pid) == NULL) wrong("the message does not name %s", pid);
  bool too_long = strstr(play.message, "longer than 4096 bytes") != NULL;
  if (too_long != (play.ignored->size > NOTIFY_SIZE)) wrong("another reason: %s", play.message);
}

static void end(void) {
  turn_until_quiet();
  if (play.notify && play.read_count < play.sent_count) wrong("a datagram is never read");
  finish();
  turn_until_quiet();
  if (play.notify) wrong("its end is never told");
  check_message();
}

static void clean_up(void) {
  give_up();
  loop_unpublish(play.loop, &play.others.rung);
  for (size_t i = 0; i < FLOOD; i++) loop_unpublish(play.loop, &play.others.flood[i]);
  loop_unwatch(play.loop, &play.others.bell);
  close(play.others.bell.fd);
  loop_free(play.loop);
  close(play.socket);
  for (size_t i = 0; i < play.sent_count; i++) free(play.sent[i].data);
}

/* One byte for each descriptor that may be open. */
static unsigned open_descriptors(void) {
  unsigned count = 0;
  for (int fd = 0; fd < DESCRIPTORS + PASSED; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  passed_along = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return passed_along < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  unsigned before = open_descriptors();
  input_begin(data, size);
  begin();
  while (input_more()) act();
  end();
  clean_up();
  if (open_descriptors() != before) wrong("descriptors were left open");
  return 0;
}
