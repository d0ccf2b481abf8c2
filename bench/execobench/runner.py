"""Runs measurements, each in a process of its own, those of one workload and size in turns and random order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from execobench.environments import Environments, last_line
from execobench.machine import wait_until_idle
from execobench.meter import CLUSTER, LIMITS, SCRATCH
from execobench.registry import Implementation, Workload
from execobench.rows import Result

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "SHELL", "LD_LIBRARY_PATH", "EXECOBENCH_HEAP_MB")
"""Environment variables that a measurement gets: all get the same."""


def plan(implementations: list[Implementation], reps: int, order: random.Random) -> list[tuple[int, Implementation]]:
    """(repetition, implementation) in the order in which they are measured: each repetition has an order of its own."""
    turns = []
    for repetition in range(reps):
        turn = [(repetition, i) for i in implementations if i.max_reps is None or repetition < i.max_reps]
        order.shuffle(turn)
        turns += turn
    return turns


def measure(
    environments: Environments, workload: Workload, implementation: Implementation, size: int,
    repetition: int = 0, cluster: Path | None = None,
) -> Result:
    """One measurement; one that fails, or takes too long, gives a Result with an error."""
    python = environments.python(implementation.python)
    if python is None:
        raise ValueError(f"{workload.name}: no interpreter for {implementation.name}, see Environments.lacks")
    scratch = tempfile.mkdtemp(prefix="execobench-")
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"PYTHONPATH": environments.python_path(implementation.python), SCRATCH: scratch}
    # The user's ~/.execo.conf.py must not change what is measured.
    environment["HOME"] = scratch
    if environments.limits:
        environment[LIMITS] = str(environments.limits)
    if cluster:
        environment[CLUSTER] = str(cluster)
    command = [python, "-m", "execobench.child", workload.name, implementation.name, str(size)]
    values: dict[str, float] = {}
    error = ""
    try:
        # Files, not pipes: whatever the measurement leaves behind could keep a pipe open.
        with open(f"{scratch}/.stdout", "w+b") as output, open(f"{scratch}/.stderr", "w+b") as errors:
            child = subprocess.Popen(
                command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                start_new_session=True,
            )
            try:
                code = child.wait(workload.timeout)
                output.seek(0)
                errors.seek(0)
                lines = [line for line in output.read().splitlines() if line.startswith(b"{")]
                if code == 0 and lines:
                    values = json.loads(lines[-1])
                else:
                    error = last_line(errors.read().decode(errors="replace")) or f"exit code {code}"
            except subprocess.TimeoutExpired:
                error = f"not done after {workload.timeout:g} s"
            finally:
                _end(child)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result(workload.name, implementation.name, size, repetition, values, error)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the session of a measurement: one that failed leaves children."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nothing of it is left
        pass
    child.wait()


@contextlib.contextmanager
def hosts_for(workload: Workload, size: int) -> Iterator[Path | None]:
    """Folder of a LocalCluster with `size` hosts, if the workload wants one."""
    if not workload.needs_cluster:
        yield None
        return
    from execo.localcluster import LocalCluster

    with LocalCluster(size) as cluster:
        yield cluster.directory


def run(
    environments: Environments, workload: Workload, sizes: tuple[int, ...], reps: int, patience: float,
    verbose: bool = False,
) -> tuple[list[Result], dict[str, str]]:
    """All measurements of a workload.

    :param patience: seconds to wait before each one for the machine to be idle.
    :returns: the results, and {implementation: why it is missing}.
    """
    missing = {}
    for implementation in workload.implementations:
        if reason := environments.lacks(implementation):
            missing[implementation.name] = reason
    results: list[Result] = []
    for size in sizes:
        present = [
            i for i in workload.implementations
            if i.name not in missing and (i.max_size is None or size <= i.max_size)
        ]
        failed: set[str] = set()
        with hosts_for(workload, size) as cluster:
            for repetition, implementation in plan(present, reps, random.Random()):
                if implementation.name in failed:  # it would fail again
                    continue
                wait_until_idle(patience)
                result = measure(environments, workload, implementation, size, repetition, cluster)
                results.append(result)
                seconds = result.values.get(workload.metrics[0].name)
                if verbose and seconds is not None:
                    main = workload.metrics[0]
                    print(f"    {implementation.name}, {size}: {seconds * main.scale:.4g} {main.unit}", flush=True)
                if result.error:
                    failed.add(implementation.name)
                    print(f"  {implementation.name}, {size}: {result.error}", flush=True)
    return results, missing
