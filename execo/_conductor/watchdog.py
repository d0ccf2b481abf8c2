"""The process that ends our children when Python dies, in whatever way.

A shell leads the process group of all children and reads a pipe whose other end only we hold, so that our death, also by SIGKILL,
is an end of file.  Then it sends SIGTERM to the group, and SIGKILL two seconds later to what is left of it, itself included.
It is not Python: it needs no memory, and no signal or bug of ours reaches it.  The last line that it read says whether children are to be
ended or kept (`configuration['kill_childs_at_end']`).
"""

from __future__ import annotations

import os
import signal

# `sleep` and `grep` inherit that TERM is ignored, and are told from the children by their parent, the shell ($$).  The SIGKILL comes by
# the clock of the one `sleep 2`, however slow the machine is; looking at the group only serves to end earlier, in the usual case.
_SCRIPT = r"""
trap '' HUP INT QUIT TERM
order=end
while read -r line; do order=$line; done
[ "$order" = end ] || exit 0
kill -TERM 0
sleep 2 &
clock=$!
read -r stat < /proc/$$/stat
set -- ${stat##*) }
group=$3
IFS='
'
alone() {
  command -v grep >/dev/null || return 1
  for stat in $(grep -hsE "\) [^ZX] [0-9]+ $group " /proc/[0-9]*/stat); do
    IFS=' '; set -- ${stat##*) }; IFS='
'
    [ "$2" = $$ ] || [ "${stat%% *}" = $$ ] || return 1
  done
}
while kill -0 $clock 2>/dev/null; do
  if alone; then kill -KILL $clock; exit 0; fi
  sleep 0.05
done
kill -KILL 0
"""


def _inheritable() -> list[int]:
    """Descriptors that an exec would pass on: a shell started us with them, or the program made them so."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:             # the one that listed the folder
            pass
    return found


class Watchdog:
    """One watchdog process.  Owned by the I/O thread, but for `forget_after_fork`."""

    def __init__(self) -> None:
        self.pid = 0
        self.group = 0
        self._pipe = -1
        self._order = ""

    @property
    def fd(self) -> int:
        """Our end of its pipe: in error as soon as it has died."""
        return self._pipe

    def start(self, order: str) -> None:
        """Start it, as leader of a new group, or as a member of the group of a watchdog that died, whose children live on.

        Not to be called while it lives: the end of its pipe would be the order to end the children.

        :raises OSError: if no process or descriptor can be had.
        """
        died = self.pid
        read_end, write_end = os.pipe()
        try:
            for group in dict.fromkeys((self.group, 0)):
                try:
                    self.pid = os.posix_spawn(
                        "/bin/sh", ("execo-watchdog", "-c", _SCRIPT), {"PATH": "/usr/bin:/bin"}, setpgroup=group, setsigmask=(),
                        setsigdef=(signal.SIGPIPE,), file_actions=(
                            (os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_RDWR, 0),
                            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_RDWR, 0),
                            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable())))
                except PermissionError:         # nobody is left in that group
                    if group == 0:
                        raise
                else:
                    self.group = group or self.pid
                    break
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self.end()
        if died:
            try:
                os.waitpid(died, 0)         # not before: it kept the group in being
            except ChildProcessError:       # reaped by somebody else, or SIGCHLD is ignored
                pass
        self._pipe = write_end
        self._order = ""
        self.tell(order)

    def tell(self, order: str) -> None:
        """What to do with the children when we end: 'end' or 'keep'."""
        if order != self._order:
            try:
                os.write(self._pipe, order.encode() + b"\n")
            except OSError:             # it was killed; the next spawn replaces it
                return
            self._order = order

    def alive(self) -> bool:
        """Is it there?  Reaps it if not."""
        if self.pid == 0:
            return False
        try:
            reaped, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:       # reaped by somebody else, or SIGCHLD is ignored
            try:
                os.kill(self.pid, 0)
            except OSError:
                reaped = self.pid
            else:
                return True
        if reaped:
            self.pid = 0
        return self.pid != 0

    def end(self) -> None:
        """Let it do its order.  Nothing waits for it: it may need two seconds."""
        if self._pipe >= 0:
            pipe, self._pipe = self._pipe, -1
            os.close(pipe)

    def forget_after_fork(self) -> None:
        """In a forked child: give up our copy of the pipe, or the parent's death would go unseen."""
        self.end()
        self.pid = self.group = 0
