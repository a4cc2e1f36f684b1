/* client.c: the other end of a benchmark's sockets.
 *
 *     client blast PORT FILE              send a file as fast as it is taken
 *     client pace PORT RATE SECONDS       send RATE readings a second, each in a packet of its own
 *     client round PORT OUT_PORT RATE SECONDS
 *                                         the same, and take the answers on OUT_PORT; print, as JSON, percentiles of
 *                                         the time from send to receipt in microseconds. `ts` carries the time sent.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, TRIES = 500, WARM_UP_SHARE = 10 };

static void die (const char *what) {
    perror (what);
    exit (1);
}

static int64_t now_ns (void) {
    struct timespec t;
    clock_gettime (CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static struct sockaddr_in loopback (const char *port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons ((uint16_t) atoi (port)),
                                .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
}

static int connect_to (const char *port) {
    struct sockaddr_in address = loopback (port);
    for (int i = 0; i < TRIES; i++) {
        int on = 1, fd = socket (AF_INET, SOCK_STREAM, 0);
        if (!connect (fd, (struct sockaddr *) &address, sizeof address)) {
            setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return fd;
        }
        close (fd);
        nanosleep (&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    die ("connect");
    return -1;
}

static void send_all (int fd, const char *data, size_t size) {
    while (size) {
        ssize_t count = send (fd, data, size, MSG_NOSIGNAL);
        if (count <= 0)
            die ("send");
        data += count;
        size -= (size_t) count;
    }
}

static void blast (int fd, const char *path) {
    static char chunk[CHUNK];
    int file = open (path, O_RDONLY);
    ssize_t count;
    if (file < 0)
        die (path);
    while ((count = read (file, chunk, sizeof chunk)) > 0)
        send_all (fd, chunk, (size_t) count);
}

/* `unit_ns`: what `ts` counts. */
static void pace (int fd, long rate, long seconds, int64_t unit_ns) {
    char line[160];
    prctl (PR_SET_TIMERSLACK, 1000ul); /* else a sleep ends up to 50 µs late */
    int64_t start = now_ns();
    for (long i = 0; i < rate * seconds; i++) {
        int64_t due = start + i * 1000000000ll / rate;
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int size =
            snprintf (line, sizeof line,
                      "{\"device\":\"d%04ld\",\"ts\":%lld,\"temp\":21.37,\"hum\":40.1,\"status\":\"ok\"}\n",
                      i % 1000, (long long) (now_ns() / unit_ns));
        send_all (fd, line, (size_t) size);
    }
}

typedef struct answers {
    int listener;
    size_t expected, count;
    int64_t *waits_ns;
} answers_t;

/* Until all have come or the other side closes. */
static void *take_answers (void *context) {
    static char text[CHUNK + 1];
    answers_t *self = context;
    int fd = accept (self->listener, NULL, NULL);
    size_t held = 0;
    ssize_t size;
    while (self->count < self->expected && (size = recv (fd, text + held, CHUNK - held, 0)) > 0) {
        int64_t now = now_ns();
        char *p = text, *end = text + held + size;
        for (char *newline; (newline = memchr (p, '\n', (size_t) (end - p))); p = newline + 1) {
            *newline = 0;
            const char *ts = strstr (p, "\"ts\":");
            if (ts && self->count < self->expected)
                self->waits_ns[self->count++] = now - strtoll (ts + 5, NULL, 10);
        }
        held = (size_t) (end - p);
        memmove (text, p, held);
    }
    return NULL;
}

static int is_longer (const void *a, const void *b) {
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return (x > y) - (x < y);
}

static void print_percentiles (answers_t *answers) {
    static const double shares[] = {0.5, 0.95, 0.99, 0.999, 0.9999};
    static const char *names[] = {"p50", "p95", "p99", "p99_9", "p99_99"};
    size_t first = answers->count / WARM_UP_SHARE, count = answers->count - first;
    qsort (answers->waits_ns + first, count, sizeof (int64_t), is_longer);
    printf ("{\"count\":%zu", answers->count);
    for (int i = 0; i < 5 && count; i++)
        printf (",\"%s_us\":%.2f", names[i],
                (double) answers->waits_ns[first + (size_t) (shares[i] * (double) (count - 1))] / 1000);
    puts ("}");
}

static void round_trip (const char *port, const char *out_port, long rate, long seconds) {
    int on = 1;
    struct sockaddr_in address = loopback (out_port);
    answers_t answers = {.listener = socket (AF_INET, SOCK_STREAM, 0), .expected = (size_t) (rate * seconds)};
    answers.waits_ns = calloc (answers.expected, sizeof (int64_t));
    setsockopt (answers.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind (answers.listener, (struct sockaddr *) &address, sizeof address) || listen (answers.listener, 1))
        die ("listen");
    pthread_t taker;
    pthread_create (&taker, NULL, take_answers, &answers);
    int fd = connect_to (port);
    pace (fd, rate, seconds, 1);
    pthread_join (taker, NULL);
    print_percentiles (&answers);
}

int main (int argc, char **argv) {
    if (argc == 4 && !strcmp (argv[1], "blast"))
        blast (connect_to (argv[2]), argv[3]);
    else if (argc == 5 && !strcmp (argv[1], "pace"))
        pace (connect_to (argv[2]), atol (argv[3]), atol (argv[4]), 1000000);
    else if (argc == 6 && !strcmp (argv[1], "round"))
        round_trip (argv[2], argv[3], atol (argv[4]), atol (argv[5]));
    else {
        fputs ("usage: client blast PORT FILE | pace PORT RATE SECONDS | round PORT OUT_PORT RATE SECONDS\n",
               stderr);
        return 2;
    }
    return 0;
}
