"""The command line: `bench/run.sh [--quick] [--only NAME] [--reps N]`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from execobench import environments, machine, registry, runner, store, tables

RESULTS = environments.BENCH / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run.sh", description="Measure execo against limits, peers and execo 2.8.2; see bench/README.md."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, twice each: about 1 minute; no figures to keep")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a workload or a family; repeatable")
    parser.add_argument("--reps", type=int, metavar="N", help="repetitions, of all implementations")
    parser.add_argument("--list", action="store_true", help="list the workloads and end")
    parser.add_argument("--python", default=sys.executable, metavar="PYTHON", help="interpreter to measure with")
    parser.add_argument("--installed", action="store_true", help="measure the execo that PYTHON has installed, not the source tree")
    parser.add_argument("--patience", type=float, metavar="S", help="wait at most S seconds for an idle machine before each measurement")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: bench/results, or bench/results/quick")
    parser.add_argument("--verbose", action="store_true", help="print each measurement")
    parser.add_argument("--render", action="store_true", help="measure nothing; write tables and charts anew")
    arguments = parser.parse_args()
    if arguments.reps is not None and arguments.reps < 1:
        parser.error(f"--reps: expected 1 or more, found {arguments.reps}")
    return arguments


def _version(made: environments.Environments) -> str:
    """:raises CalledProcessError: if there is no execo to measure."""
    paths = {**os.environ, "PYTHONPATH": made.python_path(registry.OURS)}
    script = "import execo; print(execo.__version__)"
    done = subprocess.run([made.ours, "-c", script], check=True, stdout=subprocess.PIPE, text=True, env=paths, cwd="/")
    return done.stdout.strip()


def _render(made: environments.Environments, folder: Path) -> None:
    campaigns = store.load(folder)
    workloads = registry.load_workloads()
    if python := made.pythons.get(environments.CHARTS):
        paths = {**os.environ, "PYTHONPATH": str(environments.BENCH)}
        subprocess.run([python, "-m", "execobench.charts", str(folder)], check=True, env=paths)
    charts = [file.name for file in folder.glob("*.png")]
    (folder / "RESULTS.md").write_text(tables.report(workloads, campaigns, charts), encoding="utf-8")
    print(f"\n{tables.overview(workloads, campaigns)}")
    print(f"tables, charts and raw numbers: {os.path.relpath(folder)}")


def main() -> None:
    arguments = _arguments()
    try:
        workloads = registry.choose(registry.load_workloads(), arguments.only)
    except KeyError as error:
        sys.exit(f"--only: {error.args[0]}")
    if arguments.list:
        for workload in workloads if arguments.only else registry.load_workloads():
            print(f"{workload.name:16} {workload.title}")
        return
    folder = (arguments.results or (RESULTS / "quick" if arguments.quick else RESULTS)).resolve()
    wanted = {i.python for w in workloads for i in w.implementations} | {environments.CHARTS}
    made = environments.make(arguments.python, arguments.installed, wanted if not arguments.render else {environments.CHARTS})
    if arguments.render:
        _render(made, folder)
        return
    patience = arguments.patience if arguments.patience is not None else 0.0 if arguments.quick else 2.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is being measured is ended too
    begin = time.monotonic()
    for workload in workloads:
        sizes = workload.quick_sizes if arguments.quick else workload.sizes
        reps = arguments.reps or (2 if arguments.quick else workload.reps)
        print(f"{time.monotonic() - begin:4.0f} s  {workload.name} {', '.join(map(str, sizes))}", flush=True)
        results, missing = runner.run(made, workload, sizes, reps, patience, arguments.verbose)
        date = time.strftime("%Y-%m-%d %H:%M")
        store.save(folder, tables.Campaign(workload.name, date, machine.describe(made.ours), _version(made), results, missing))
    print(f"{time.monotonic() - begin:4.0f} s  done", flush=True)
    _render(made, folder)


if __name__ == "__main__":
    main()
