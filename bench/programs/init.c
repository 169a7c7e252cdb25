/* init PROGRAM ARGUMENT...: the least that PID 1 can be. Runs PROGRAM, reaps whatever comes, and ends with it. */
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  pid_t pid = fork(), gone;
  int status = 0;
  if (pid == 0) {
    (void)execv(argv[1], argv + 1);
    _exit(127);
  }
  while ((gone = wait(&status)) > 0 && gone != pid) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
