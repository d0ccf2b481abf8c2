/* Takes the command line of ssh, connects to nothing and runs the command here: what remains is the cost of the caller.
 * Options with a value are those of ssh(1); the first other word is the host. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char command[1 << 16];
    int i = 1;
    while (i < argc && argv[i][0] == '-')
        i += strlen(argv[i]) == 2 && strchr("BbcDEeFIiJLlmOoPpQRSWw", argv[i][1]) ? 2 : 1;
    for (i++; i < argc; i++) {
        if (strlen(command) + strlen(argv[i]) + 2 > sizeof command) return 255;
        if (command[0]) strcat(command, " ");
        strcat(command, argv[i]);
    }
    execl("/bin/sh", "sh", "-c", command, (char *)0);
    return 255;
}
