/* What the kernel allows: N children with three pipes each, by posix_spawn and epoll.
 * usage: spawn N SECONDS COMMAND [ARGUMENT...]    SECONDS < 0: run to the end; else hold them so long, then SIGTERM. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double cpu(int who) {
    struct rusage u; getrusage(who, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    static char buffer[1 << 16];
    int n = argc > 3 ? atoi(argv[1]) : 0, epoll = epoll_create1(EPOLL_CLOEXEC), open_ends = 0, failed = 0, status;
    double hold = argc > 3 ? atof(argv[2]) : 0, begin = now(), idle_cpu = 0;
    if (n < 1) return fprintf(stderr, "usage: spawn N SECONDS COMMAND [ARGUMENT...]\n"), 2;
    pid_t *pids = calloc(n, sizeof *pids);
    for (int i = 0; i < n; i++) {
        int ends[3][2];
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        for (int k = 0; k < 3; k++) {
            if (pipe2(ends[k], O_CLOEXEC)) return perror("pipe2"), 1;
            posix_spawn_file_actions_adddup2(&actions, ends[k][k > 0], k);
        }
        if (posix_spawn(&pids[i], argv[3], &actions, NULL, argv + 3, environ)) return perror("posix_spawn"), 1;
        posix_spawn_file_actions_destroy(&actions);
        for (int k = 0; k < 3; k++) close(ends[k][k > 0]);
        for (int k = 1; k < 3; k++, open_ends++) {
            struct epoll_event event = {.events = EPOLLIN, .data.fd = ends[k][0]};
            epoll_ctl(epoll, EPOLL_CTL_ADD, ends[k][0], &event);
        }
    }
    double started = now(), kill_date = started;
    if (hold >= 0) {
        double before = cpu(RUSAGE_SELF);
        struct epoll_event event;
        while (now() < started + hold) epoll_wait(epoll, &event, 1, (int)((started + hold - now()) * 1000) + 1);
        idle_cpu = cpu(RUSAGE_SELF) - before;
        kill_date = now();
        for (int i = 0; i < n; i++) kill(pids[i], SIGTERM);
    }
    while (open_ends) {
        struct epoll_event events[256];
        for (int found = epoll_wait(epoll, events, 256, -1), i = 0; i < found; i++)
            if (read(events[i].data.fd, buffer, sizeof buffer) <= 0) {
                /* Not by close alone: a child in the middle of its exec still has a copy, which would keep it in the set. */
                epoll_ctl(epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
                close(events[i].data.fd), open_ends--;
            }
    }
    for (int i = 0; i < n; i++) waitpid(pids[i], &status, 0), failed += hold < 0 && status != 0;
    double end = now();
    printf("{\"wall\": %f, \"start\": %f, \"kill\": %f, \"idle_cpu\": %f, \"threads\": 1, \"cpu\": %f}\n", end - begin,
           started - begin, end - kill_date, idle_cpu, cpu(RUSAGE_SELF) + cpu(RUSAGE_CHILDREN));
    return failed > 0;
}
