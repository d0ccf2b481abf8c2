"""Throw-away ssh hosts on this machine, for demos, tests and prototyping.

    with LocalCluster(20) as cluster:
        Remote("uname -a", cluster.hosts, cluster.connection_params).run()

The hosts answer to real OpenSSH clients (`ssh`, `scp`, TakTuk): nothing of it is simulated.
``python -m execo.localcluster 20`` keeps a cluster up until Ctrl-C and prints how to use it.

**Shape.**  Without isolation, which any user can have, the hosts are n addresses 127.x.y.z with one port, and one
server of the user behind all of them: OpenSSH's if it is installed, else one made with paramiko (extra
``execo[localcluster]``).  x, y and the port are free ones, so clusters side by side do not meet.  The hosts share
hostname, processes and files.  An sshd cannot listen on more than 16 addresses, so a small process listens and starts
an `sshd -i` for each connection.  With ``isolation="namespaces"``, as root on Linux, each host has its own network,
address, hostname and process numbers, and an sshd on port 22; they share files.  All network devices live in one
network namespace without a name, but a link to the machine: the kernel removes them with the last process.

**Guarantees.**

- Only the user who made the cluster can log in, with a key in a directory that only this user can read (0700), and only
  from this machine.  The user's own ssh configuration, keys, agent and known hosts are neither read nor changed.
- Nothing survives a cluster: when `stop()` returns, the servers, their sessions and whatever was started in them, also
  with `nohup`, `setsid`, a double fork or with signals ignored, have been killed, and the directory is removed.  So it
  is after an exception and `sys.exit`; after SIGKILL of the owner it takes a moment.  Two supervisors see to it:
  SIGKILL of one of them ends the cluster, and leaves nothing either.  The limits: SIGKILL of both at once; processes
  that became another user's (`sudo`, unless one is root); and what was handed to a daemon that runs already (`at`,
  `systemd-run`).  As root, /run/sshd is made if it is missing, and stays.
- A cluster belongs to the process that started it and ends with it; a forked child can use the hosts, not stop them.

- The hosts of a cluster with namespaces are `LocalHost` objects whose methods make faults: what a test of a program for
  many machines needs.

**Threads.**  `start()` and `stop()` may be called by any thread; the attributes are only read after `start()`.  No
thread of the owner lives while the cluster runs.
"""

from __future__ import annotations

import sys

from execo._localcluster.cluster import LocalCluster
from execo._localcluster.localhost import Fault, LocalHost

__all__ = ["Fault", "LocalCluster", "LocalHost"]

for _public in (LocalCluster, LocalHost, Fault):
    _public.__module__ = "execo.localcluster"

if __name__ == "__main__":
    from execo._localcluster.cli import main

    sys.exit(main())
