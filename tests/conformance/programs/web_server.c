/*
 * Stands in for nginx and httpd: answers each request with 200 and one page, one process per connection.
 *
 * WEB_SERVER_PORT     the port, on IPv6 and IPv4
 * WEB_SERVER_PROGRAM  the path that its title shows: "<name>: master process <path> -g daemon off;"
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char PAGE[] =
    "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>It works!</h1></body></html>\n";

static void leave(int signal_number) {
  (void)signal_number;
  _exit(0);
}

static int listen_on(int port) {
  const int yes = 1, no = 0;
  const struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  const struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (const struct sockaddr *)&any6, sizeof any6) == 0 && listen(fd, 128) == 0) return fd;
    close(fd);
  }
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (const struct sockaddr *)&any4, sizeof any4) == 0 && listen(fd, 128) == 0) return fd;
  return -1;
}

static void answer(int connection) {
  char bytes[8192];
  alarm(60);
  if (read(connection, bytes, sizeof bytes) <= 0) return;
  int length = snprintf(bytes, sizeof bytes,
                        "HTTP/1.1 200 OK\r\nServer: stand-in\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n%s",
                        strlen(PAGE), PAGE);
  for (int done = 0; done < length;) {
    ssize_t written = write(connection, bytes + done, length - done);
    if (written <= 0) return;
    done += written;
  }
  /* Closing with bytes unread would reset the connection before the client has the page. */
  shutdown(connection, SHUT_WR);
  while (read(connection, bytes, sizeof bytes) > 0) {
  }
}

int main(int count, char **arguments) {
  const char *program = getenv("WEB_SERVER_PROGRAM");
  const char *port = getenv("WEB_SERVER_PORT");
  if (program == NULL || port == NULL) return 2;
  if (count != 1 || strstr(arguments[0], ": master process ") == NULL) {
    char title[256];
    const char *slash = strrchr(program, '/');
    snprintf(title, sizeof title, "%s: master process %s -g daemon off;", slash == NULL ? program : slash + 1, program);
    char *titled[] = {title, NULL};
    /* Not /proc/self/exe: pidof finds a process by the name of its file. */
    execv(program, titled);
    perror("exec");
    return 1;
  }
  signal(SIGTERM, leave);
  signal(SIGQUIT, leave);
  signal(SIGINT, leave);
  signal(SIGCHLD, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  int listener = listen_on(atoi(port));
  if (listener < 0) {
    perror("listen");
    return 1;
  }
  FILE *pid_file = fopen("/var/run/nginx.pid", "w");
  if (pid_file != NULL) {
    fprintf(pid_file, "%d\n", getpid());
    fclose(pid_file);
  }
  fprintf(stderr, "%s listens on port %s\n", arguments[0], port);
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) continue;
    if (fork() == 0) {
      close(listener);
      answer(connection);
      _exit(0);
    }
    close(connection);
  }
}
