"""``python -m execo.localcluster``: keep a cluster up for other terminals and scripts."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence

from execo._localcluster.cluster import LocalCluster
from execo._localcluster.params import SSH_CONFIG

USAGE = """\
{cluster!r}
hosts: {hosts}

In a shell:
    {ssh} {first}

In Python:
    from execo import Remote
    from execo.localcluster import LocalCluster
    cluster = LocalCluster.attach({directory!r})
    Remote("uname -a", cluster.hosts, cluster.connection_params).run()

{end} ends it."""


class _Stop(BaseException):
    """A signal asks us to end."""


def format_usage(cluster: LocalCluster, terminal: bool) -> str:
    assert cluster.directory is not None
    first, last = cluster.hosts[0].address, cluster.hosts[-1].address
    return USAGE.format(
        cluster=cluster,
        hosts=first if len(cluster.hosts) == 1 else f"{first} to {last} (node-1 to {cluster.names[-1]})",
        ssh=f"ssh -F {shlex.quote(str(cluster.directory / SSH_CONFIG))}",
        first=cluster.names[0],
        directory=str(cluster.directory),
        end="Ctrl-C or Ctrl-D" if terminal else "SIGTERM or SIGINT",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m execo.localcluster", description="Throw-away ssh hosts on this machine, until Ctrl-C."
    )
    parser.add_argument("n", type=int, help="number of hosts")
    parser.add_argument("--isolation", choices=["namespaces"], help="each host its own network and processes (root)")
    parser.add_argument("--server", choices=["sshd", "paramiko"], help="default: sshd if it is installed")
    options = parser.parse_args(arguments)

    def stop(*_: object) -> None:
        for sig in handled:
            signal.signal(sig, lambda *_: None)  # the second Ctrl-C must not cut short the end of the cluster
        raise _Stop

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for sig in handled:
        signal.signal(sig, stop)
    try:
        with LocalCluster(options.n, options.isolation, options.server) as cluster:
            print(format_usage(cluster, sys.stdin.isatty()), flush=True)
            if sys.stdin.isatty():
                for _ in sys.stdin:  # until Ctrl-D
                    pass
            else:
                signal.pause()
    except _Stop:
        pass
    except (OSError, ImportError, KeyError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0
