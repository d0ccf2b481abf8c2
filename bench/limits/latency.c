/* The least time from the last words of a child to the return of waitpid in its parent.
 * usage: latency N STAMP    runs STAMP (stamp.c) N times, one after another; prints one latency in ns per line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    for (int i = 0; argc > 2 && i < atoi(argv[1]); i++) {
        int ends[2], status;
        char text[64], *command[] = {argv[2], NULL};
        pid_t pid;
        struct timespec t;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        if (pipe2(ends, O_CLOEXEC)) return perror("pipe2"), 1;
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (posix_spawn(&pid, argv[2], &actions, NULL, command, environ)) return perror("posix_spawn"), 1;
        waitpid(pid, &status, 0);
        clock_gettime(CLOCK_MONOTONIC, &t);
        close(ends[1]);
        text[read(ends[0], text, sizeof text - 1)] = 0;
        close(ends[0]);
        posix_spawn_file_actions_destroy(&actions);
        printf("%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec - atoll(text));
    }
    return argc < 3;
}
