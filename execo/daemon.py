"""Daemons: commands that are started on hosts and go on when the script ends.

    start_daemon("server --port 8000", hosts, name="server")

and in another script, another day:

    daemons = find_daemon("server", hosts)
    print(daemons.statuses)
    daemons.stop()

On each host, a daemon has a directory in the home directory, readable by its user only, with its output, who it is, and its exit code
when it has ended.  A process is known by its pid, its start time and the boot of the host, so a pid that was given to another process is
never signalled.  The hosts need a POSIX shell, the /proc of Linux, and perl or setsid.
"""

from __future__ import annotations

from ._action.daemon import Daemons, find_daemon, start_daemon
from ._action.daemon_script import DaemonStatus

for _public in (DaemonStatus, Daemons, find_daemon, start_daemon):
    _public.__module__ = __name__

__all__ = ["DaemonStatus", "Daemons", "find_daemon", "start_daemon"]
