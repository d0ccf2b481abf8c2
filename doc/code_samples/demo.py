#!/usr/bin/env python3
"""A campaign on a Grid'5000 in a box: its jobs end while it works, a node dies, its program is killed, and nothing is lost or done twice.

How near is pi, when darts are thrown at random, or one into each cell of a grid?  Three parameters, 12 combinations, three nodes of two
sites; each combination has a virtual machine, which is booted for it.
"""

import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from execo import Process, Put, Remote, SequentialActions, format_duration
from execo.log import style
from execo_engine import Results, SweepEngine
from execo_engine.notebook import read_notebooks
from execo_g5k.gridbox import BoxClock, GridBox, build_guest
from execo_g5k.testbed import G5kTestbed

DARTS = """awk -v OFMT=%.9f -v seed={seed} -v side={side} -v grid={grid} 'BEGIN {{
    srand(seed)
    for (i = 0; i < side; i++) for (j = 0; j < side; j++) {{
        x = grid ? (i + rand()) / side : rand(); y = grid ? (j + rand()) / side : rand(); hits += x * x + y * y < 1 }}
    print 4 * hits / (side * side) }}'"""
# A machine without disk and network, emulated, for not every machine has KVM for all its users.
QEMU = "timeout 60 qemu-system-x86_64 -accel tcg -m 96 -nodefaults -display none -serial stdio -no-reboot -kernel {} -initrd {} -append {}"
KERNEL = "console=ttyS0 loglevel=0 panic=-1 nokaslr mitigations=off cryptomgr.notests rdinit=/bin/busybox"
SLOW = 10       # seconds: where virtual machines need more to boot, the demo would not end within three minutes
PATIENCE = 300  # seconds from one event to the next
QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True}


def in_guest(command, folder):
    """The command in a virtual machine: the kernel is told to run it, and what it prints is on the console."""
    line = f'{KERNEL} -- sh -c "/bin/busybox --install -s /bin; {command}; reboot -f"'
    return QEMU.format(*map(shlex.quote, (f"{folder}/vmlinuz", f"{folder}/initrd", line))) + " </dev/null"


class Pi(SweepEngine):
    parameters = {"method": ["random", "grid"], "side": [10, 40, 160], "repetition": [1, 2]}
    testbed = G5kTestbed({"lyon": 2, "nancy": 1}, walltime="1:00:00", lead=1, charter=False, environment="debian12-min")

    def __init__(self):
        super().__init__()
        self.args_parser.add_argument("--guest", metavar="DIR", help="with what a virtual machine boots, one for each combination")

    def prepare(self, hosts):
        if self.args.guest:
            folder, files = f"{self.args.guest}/copy", [f"{self.args.guest}/vmlinuz", f"{self.args.guest}/initrd"]
            copy = SequentialActions([Remote(f"mkdir -p {shlex.quote(folder)}", hosts, self.connection_params),
                                      Put(hosts, files, folder, self.connection_params)])
            if not copy.run().ok:
                raise RuntimeError("the nodes have no guest")

    def run_combination(self, combination, hosts, directory):
        seed = self.combination_seed(combination) % 10**6
        command = DARTS.format(seed=seed, side=combination["side"], grid=int(combination["method"] == "grid"))
        command = in_guest(command, f"{self.args.guest}/copy") if self.args.guest else f"sleep {1 + seed / 10**6}; {command}"
        (throw,) = Remote(command, hosts, self.connection_params, process_args=QUIET).run().processes
        if not throw.ok:
            raise RuntimeError(f"{throw.outcome} {throw.stderr.strip()[-200:]}")
        pi = float(throw.stdout.split()[0])
        return {"pi": pi, "error": abs(pi - math.pi)}


def say(text):
    print(f"\n{style.emph('==')} {style.user1(text)}\n", end="", flush=True)       # at once, for the campaign writes there too


def try_guest(folder):
    """Arguments for the campaign: a virtual machine, if one can be made, and says what it should, and soon enough."""
    try:
        folder.mkdir()
        build_guest(folder)
        trial = Process(in_guest("echo hello", folder), shell=True, timeout=SLOW, **QUIET).run()
        if trial.stdout.split() != ["hello"]:
            raise OSError(f"the one that was tried: {trial.outcome}, {trial.stderr.strip()}")
    except OSError as why:
        print(f"processes on the nodes, not virtual machines: {why}")
        return []
    print(f"virtual machines of qemu on the nodes, one for each combination; here one boots in {trial.end_date - trial.start_date:.1f} s")
    return ["--guest", str(folder)]


def wait_for(campaign, folder, done):
    """Until so many combinations are done; returns where the first of them was done."""
    deadline = time.monotonic() + PATIENCE
    while len(results := Results(folder).read()) < done:
        if campaign.poll() is not None:
            sys.exit("the campaign has ended")
        if time.monotonic() > deadline:
            sys.exit(f"{len(results)} combinations are done after {PATIENCE} s, not {done}")
        time.sleep(0.05)
    return results[0].host


def table(rows):
    """{(method, side): median error}, also printed."""
    errors = {}
    for row in rows:
        errors.setdefault((row["method"], row["side"]), []).append(row["error"])
    print(f"{'method':8}{'darts':>8}  {'runs':>4}  median error")
    for (method, side), found in sorted(errors.items()):
        print(f"{method:8}{side * side:8}  {len(found):4}  {median(found):.6f}")
    return {case: median(found) for case, found in errors.items()}


def picture(errors, file):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="darts", ylabel="median error of pi")
    for method in ("random", "grid"):
        points = sorted((side * side, error) for (name, side), error in errors.items() if name == method)
        axes.plot(*zip(*points, strict=True), marker="o", label=method)
    axes.legend()
    figure.savefig(file)
    print(f"picture: {file}")


def main():
    begin = time.monotonic()
    top = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="execo-demo-")).absolute()
    folder, home, clock = top / "pi", top / "home", BoxClock()
    home.mkdir(parents=True)
    say("Grid'5000 in a box")
    arguments = [sys.executable, __file__, "-c", str(folder), *try_guest(top / "guest")]
    with GridBox(sites=["lyon", "nancy"], nodes_per_cluster=4, clock=clock, configure=False) as grid, ExitStack() as stack:
        grid.write_configuration(home)
        environment = {**os.environ, **grid.environment(home)}

        def start():
            process = subprocess.Popen(arguments, env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)        # before that
            return process

        say("A campaign of 12 combinations, on 3 nodes that are deployed for it, in jobs of an hour")
        campaign = start()
        node = wait_for(campaign, folder, done=2)
        say(f"{node} dies, with all that runs on it")
        grid.crash(node)
        wait_for(campaign, folder, done=5)
        say("An hour later, by the clock of the box: the job is over")
        clock.advance(3600)
        wait_for(campaign, folder, done=7)
        campaign.kill()
        campaign.wait()
        say("kill -9: the program is gone; this is what it leaves")
        subprocess.run([sys.executable, "-m", "execo_engine", "status", folder], check=True)
        say("The same command again: it goes on")
        campaign = start()
        wait_for(campaign, folder, done=10)
        say("An hour later: the jobs are over")
        clock.advance(3600)
        if campaign.wait(PATIENCE):
            sys.exit(campaign.returncode)
    say("What came of it")
    subprocess.run([sys.executable, "-m", "execo_engine", "verify", folder], check=True)
    rows = Results(folder).rows()
    picture(table(rows), folder / "pi.png")
    for book in read_notebooks(folder):
        print(f"notebook: {book['path']}: {book['outcome']['kind']}, {len(book['hosts'])} hosts, {len(book['packages'])} packages")
    print(f"{len(rows)} results in {folder}, after {format_duration(time.monotonic() - begin)}")


if __name__ == "__main__":
    if "-c" in sys.argv:
        Pi().start()
    else:
        main()
