/* bare [-r] N PROGRAM ARGUMENT...: the limit of this machine. It starts N times PROGRAM with vfork and
 * exec, waits for children (with -r: starts each again at once), and on SIGTERM kills and reaps them all.
 * A supervisor that does anything besides cannot be faster. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t *children;
static volatile sig_atomic_t count, ending;

static void end_all(int number) {
  ending = 1;
  for (int i = 0; i < count; i++)
    if (children[i] > 0) (void)kill(children[i], number);
}

static pid_t start(char **argv) {
  pid_t pid = vfork();
  if (pid == 0) {
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execv(argv[0], argv);
    _exit(127);
  }
  return pid;
}

static void replace(pid_t gone, char **argv, bool again) {
  sigset_t term, old;
  (void)sigemptyset(&term);
  (void)sigaddset(&term, SIGTERM);
  (void)sigprocmask(SIG_BLOCK, &term, &old);
  int i = 0;
  while (i < count && children[i] != gone) i++;
  if (i < count) children[i] = again && !ending ? start(argv) : 0;
  (void)sigprocmask(SIG_SETMASK, &old, NULL);
}

int main(int argc, char **argv) {
  bool again = argc > 1 && strcmp(argv[1], "-r") == 0;
  char **words = argv + 1 + again;
  if (argc < 3 + again) return 2;
  int wanted = atoi(words[0]);
  children = calloc((size_t)wanted + 1, sizeof *children);
  if (children == NULL) return 1;
  struct sigaction action = {.sa_handler = end_all};
  (void)sigaction(SIGTERM, &action, NULL);
  while (count < wanted && !ending) {
    children[count] = start(words + 1);
    if (children[count] < 0) return perror("vfork"), end_all(SIGTERM), 1;
    count++;
  }
  pid_t gone;
  while ((gone = wait(NULL)) > 0 || errno == EINTR)
    if (gone > 0) replace(gone, words + 1, again);
  return 0;
}
