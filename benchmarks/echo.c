/* echo.c: socket to socket, hard-coded: reads readings, answers with those that are hot.
 *
 *     echo IN_PORT OUT_PORT
 *
 * Listens on IN_PORT of the loopback, takes one connection, connects to OUT_PORT, and writes what flows/echo.toml
 * writes for each reading with status "ok" and temp above 15: {"device":…,"ts":…,"temp":…}. It writes once for all
 * the lines that one read brought. Ends with the input. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reading.h"

enum { CHUNK = 256 * 1024, ANSWER_MAX = 256 };

static char in[CHUNK + READING_SLACK];
static char out[4 * CHUNK + ANSWER_MAX];
static size_t out_size;

static void die (const char *what) {
    perror (what);
    exit (1);
}

static struct sockaddr_in loopback (const char *port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons ((uint16_t) atoi (port)),
                                .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
}

static int accept_one (const char *port) {
    int on = 1, listener = socket (AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback (port);
    setsockopt (listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind (listener, (struct sockaddr *) &address, sizeof address) || listen (listener, 1))
        die ("listen");
    fputs ("ready\n", stderr);
    int fd = accept (listener, NULL, NULL);
    if (fd < 0)
        die ("accept");
    return fd;
}

static int connect_to (const char *port) {
    int on = 1, fd = socket (AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback (port);
    if (connect (fd, (struct sockaddr *) &address, sizeof address))
        die ("connect");
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void answer (const reading_t *reading) {
    if (reading->status.size != 2 || memcmp (reading->status.p, "ok", 2) || !(reading->temp > 15))
        return;
    out_size += (size_t) snprintf (
        out + out_size, ANSWER_MAX, "{\"device\":\"%.*s\",\"ts\":%lld,\"temp\":%.15g}\n",
        (int) reading->device.size, reading->device.p, (long long) reading->ts, reading->temp);
}

static char *answer_lines (char *p, char *end) {
    reading_t reading;
    for (char *newline; (newline = memchr (p, '\n', (size_t) (end - p))); p = newline + 1)
        if (reading_parse (&reading, p))
            answer (&reading);
    return p;
}

int main (int argc, char **argv) {
    if (argc != 3) {
        fputs ("usage: echo IN_PORT OUT_PORT\n", stderr);
        return 2;
    }
    int from = accept_one (argv[1]), to = connect_to (argv[2]), poller = epoll_create1 (0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl (poller, EPOLL_CTL_ADD, from, &event);
    size_t held = 0;
    for (;;) {
        epoll_wait (poller, &event, 1, -1);
        ssize_t count = recv (from, in + held, CHUNK - held, MSG_DONTWAIT);
        if (count <= 0)
            return count < 0;
        char *end = in + held + count, *rest = answer_lines (in, end);
        held = (size_t) (end - rest);
        memmove (in, rest, held);
        if (out_size && send (to, out, out_size, MSG_NOSIGNAL) != (ssize_t) out_size)
            die ("send");
        out_size = 0;
    }
}
