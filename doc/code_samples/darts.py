#!/usr/bin/env python3
"""Twenty ssh hosts driven in parallel, from the first file to the final report.

They are throw-away hosts on this machine; put the names of your own in their place, and it is your experiment:
each host throws darts at a square, and the share that hits the circle gives pi.
"""

import sys
import tempfile
from pathlib import Path

from execo import Get, Put, Remote, Report, SshProcess, Timer, format_duration
from execo.localcluster import LocalCluster
from execo.log import style

DARTS = """\
case $1 in *[!0-9]*) echo "darts.sh: '$1' is not a number of darts" >&2; exit 3;; esac
sleep "$3"
awk -v n="$1" -v seed="$2" 'BEGIN {
    srand(seed); for (i = 0; i < n; i++) { x = rand(); y = rand(); hits += x * x + y * y < 1 }
    print n, hits }'
"""

N_HOSTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20


def say(text):
    print(f"\n{style.emph('==')} {style.user1(text)}", flush=True)


def experiment(hosts, connection_params, work):
    results = work / "results"
    results.mkdir()
    (work / "darts.sh").write_text(DARTS)
    # These hosts share the disk of this machine, so each gets a directory of its own there.
    there = [str(work / f"node-{i}") for i in range(len(hosts))]

    say(f"Put: one file to {len(hosts)} hosts, each to its own directory")
    prepare = Remote("mkdir {{there}}", hosts, connection_params, name="make directories").run()
    put = Put(hosts, work / "darts.sh", "{{there}}", connection_params).run()
    print(f"{len(put.finished_ok_processes)} of {len(hosts)} have it")

    say("Remote: the same command everywhere, other parameters on each host")
    darts = [str(20000 + 1000 * i) for i in range(len(hosts))]
    pauses = [0] * len(hosts)
    darts[len(hosts) // 3] = "many"         # this host will fail,
    pauses[len(hosts) // 2] = 60            # and this one will not end in time
    throw = Remote("cd {{there}} && sh darts.sh {{darts}} {{range(len(hosts))}} {{pauses}} > result.txt", hosts, connection_params,
                   name="throw darts", process_args={"timeout": 4, "nolog_exit_code": True, "nolog_timeout": True})
    throw.run()
    for process in throw.failed_processes:
        why = "timeout" if process.timeouted else f"exit code {process.exit_code}: {(process.stdout + process.stderr).strip()}"
        print(f"{style.host(process.host.address)} {style.report_error('failed')}, {why}")
    print(f"{len(throw.finished_ok_processes)} hosts are done, the slowest took",
          format_duration(max(process.end_date - process.start_date for process in throw.finished_ok_processes), True))

    say("expect: a dialogue with a command that asks questions")
    with SshProcess("printf 'your name? '; read name; echo \"hello $name, this is $(hostname)\"", hosts[0], connection_params,
                    name="dialogue").start() as dialogue:
        dialogue.expect(r"name\? ", timeout=10)
        print("researcher", file=dialogue)
        _, match = dialogue.expect(r"hello researcher, .*", timeout=10)
        print(f"{style.host(hosts[0].address)} says: {match.group().strip()}")
        dialogue.wait()

    say("Get: the results of the hosts that have one")
    good = [process.host for process in throw.finished_ok_processes]
    from_there = [there[hosts.index(host)] for host in good]
    get = Get(good, "{{from_there}}/result.txt", str(results) + "/{{{host}}}.txt", connection_params).run()
    counts = [tuple(map(int, file.read_text().split())) for file in results.iterdir()]
    thrown, hits = map(sum, zip(*counts, strict=True))
    print(f"{len(counts)} files, {thrown} darts, pi is about {style.user2(f'{4 * hits / thrown:.4f}')}")

    say("Report: what ran, how it went, how long it took")
    print(Report([prepare, put, throw, dialogue, get]).to_string(wide=False))


def main():
    timer = Timer()
    say(f"LocalCluster: {N_HOSTS} ssh hosts on this machine")
    with LocalCluster(N_HOSTS) as cluster, tempfile.TemporaryDirectory(prefix="execo-demo-") as work:
        print(f"{cluster.hosts[0].address} to {cluster.hosts[-1].address}, port {cluster.connection_params['port']}, "
              f"served by {cluster.server}, after {format_duration(timer.elapsed(), True)}")
        experiment(cluster.hosts, cluster.connection_params, Path(work))
    print(f"all in {format_duration(timer.elapsed(), True)}; the hosts are gone")


if __name__ == "__main__":
    main()
