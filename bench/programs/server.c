/* server FILE: listens on a free port of 127.0.0.1, writes its number into FILE, and answers: whoever sends
 * something gets an HTTP 200, whoever does not is closed in peace. One connection at a time; ends after ten
 * minutes. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

static int tell(const char *path, int port) {
  FILE *file = fopen(path, "w");
  if (file == NULL) return -1;
  (void)fprintf(file, "%d\n", port);
  return fclose(file);
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (argc != 2 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
      listen(listener, 1024) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
      tell(argv[1], ntohs(address.sin_port)) != 0)
    return 1;
  (void)alarm(600);
  for (;;) {
    char request[4096];
    int peer = accept(listener, NULL, NULL);
    if (peer < 0) continue;
    if (read(peer, request, sizeof request) > 0)
      (void)send(peer, answer, sizeof answer - 1, MSG_NOSIGNAL);
    (void)close(peer);
  }
}
