/* A child that says when it is: prints CLOCK_MONOTONIC in nanoseconds and exits.
 * With an argument: for each line that it reads, waits 2 ms (so that the reader sleeps) and prints "READY " and the date. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void stamp(const char *prefix) {
    char text[64];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int length = snprintf(text, sizeof text, "%s%lld\n", prefix, t.tv_sec * 1000000000LL + t.tv_nsec);
    if (write(1, text, length) != length) _exit(1);
}

int main(int argc, char **argv) {
    char c;
    (void)argv;
    if (argc < 2) stamp("");
    else while (read(0, &c, 1) == 1) if (c == '\n') {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
        stamp("READY ");
    }
    _exit(0);
}
