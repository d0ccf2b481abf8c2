#!/usr/bin/env python3
"""A campaign that survives: its jobs end while it works, its program is killed, and nothing is lost or done twice.

How near is pi, when darts are thrown at random, or one into each cell of a grid?  Three parameters, 24 combinations, three hosts.
"""

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from execo import Remote, format_duration
from execo.log import style
from execo_engine import Results, SweepEngine
from execo_engine.sweep import SweepDirectory
from execo_engine.testbeds import ClusterTestbed

DARTS = """sleep {pause}; awk -v seed={seed} -v side={side} -v grid={grid} 'BEGIN {{
    srand(seed)
    for (i = 0; i < side; i++) for (j = 0; j < side; j++) {{
        x = grid ? (i + rand()) / side : rand(); y = grid ? (j + rand()) / side : rand(); hits += x * x + y * y < 1 }}
    printf "%.9f", 4 * hits / (side * side) }}'"""


class Pi(SweepEngine):
    parameters = {"method": ["random", "grid"], "side": [10, 40, 160, 640], "repetition": [1, 2, 3]}
    testbed = ClusterTestbed(3, walltime=6)
    max_attempts = 10                   # on a slow machine, 6 s are not much

    def duration(self, combination):
        return 0.5                      # far too little: the end of each job will find some at work

    def run_combination(self, combination, hosts, directory):
        seed = self.combination_seed(combination) % 10**6
        command = DARTS.format(pause=1 + seed / 10**6, seed=seed, side=combination["side"], grid=int(combination["method"] == "grid"))
        throw = Remote(command, hosts, self.connection_params).run()
        if not throw.ok:
            raise RuntimeError("no answer")
        pi = float(throw.processes[0].stdout)
        return {"pi": pi, "error": abs(pi - math.pi)}


def say(text):
    print(f"\n{style.emph('==')} {style.user1(text)}", flush=True)


def run_until(folder, done):
    """Run the campaign in a program of its own until so many combinations are done, and then kill it; or until it ends."""
    campaign = subprocess.Popen([sys.executable, __file__, "-c", folder])
    while campaign.poll() is None:
        time.sleep(0.05)
        if (folder / "sweep" / "journal").exists():
            with SweepDirectory(folder / "sweep") as sweep:
                if len(sweep.records("done")) >= done:
                    campaign.kill()
                    return campaign.wait()
    return campaign.returncode


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
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install 'execo-engine[plot]'")
        return
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
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="execo-demo-")) / "pi"
    say("A campaign of 24 combinations, on 3 hosts, in jobs of 6 s")
    run_until(folder, done=13)
    say("kill -9: the program is gone; this is what it leaves")
    subprocess.run([sys.executable, "-m", "execo_engine", "status", folder], check=True)
    say("The same command again: it goes on")
    run_until(folder, done=1000)
    say("What came of it")
    subprocess.run([sys.executable, "-m", "execo_engine", "verify", folder], check=True)
    rows = Results(folder).rows()
    errors = table(rows)
    picture(errors, folder / "pi.png")
    print(f"{len(rows)} results in {folder}, after {format_duration(time.monotonic() - begin)}")


if __name__ == "__main__":
    if "-c" in sys.argv:
        Pi().start()
    else:
        main()
