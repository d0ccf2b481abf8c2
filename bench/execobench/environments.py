"""Makes what the benchmarks need, under bench/.envs: environments of the original, the peers and the charts, C limits.

Whatever cannot be made is reported and left out; nothing is installed anywhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from execobench.registry import ORIGINAL, OURS, PLAIN, Implementation

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
CHARTS = "charts"

REQUIREMENTS = {
    ORIGINAL: "execo==2.8.2 requests",
    "clustershell": "clustershell",
    "asyncssh": "asyncssh",
    "parallel-ssh": "parallel-ssh",
    "fabric": "fabric",
    "paramiko": "paramiko",
    "pexpect": "pexpect",
    CHARTS: "matplotlib",
}
"""What is installed, by name of environment."""

COMPILERS = ("cc", "gcc", "clang")


@dataclass
class Environments:
    """What there is to measure with."""

    ours: str = sys.executable
    """Interpreter for this execo, and for all that needs no package."""
    installed: bool = False
    """Whether `ours` has execo installed; else it is taken from the source tree."""
    pythons: dict[str, str] = field(default_factory=dict)
    """Interpreters, by name of environment."""
    limits: Path | None = None
    """Folder of the compiled limits."""
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be made, and why."""

    def python(self, name: str) -> str | None:
        return self.ours if name in (OURS, PLAIN) else self.pythons.get(name)

    def python_path(self, name: str) -> str:
        """PYTHONPATH of a measurement; only ours may see the source tree, which holds an `execo`."""
        ours = [str(ROOT)] if name == OURS and not self.installed else []
        return os.pathsep.join([str(BENCH), *ours])

    def lacks(self, implementation: Implementation) -> str | None:
        """Why this cannot be measured here, or None."""
        if self.python(implementation.python) is None:
            return self.missing.get(implementation.python, f"no environment {implementation.python}")
        for need in implementation.needs:
            folder, _, program = need.rpartition("/")
            if folder and (self.limits is None or not (self.limits / program).exists()):
                return self.missing.get("limits", "the C limits are not compiled")
            if not folder and shutil.which(program) is None:
                return f"no {program} on this machine"
        return None


def last_line(text: str) -> str:
    """The last line that is not empty, shortened, with paths cut to their last part: results are published."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = (lines[-1] if lines else "").split(" ")
    return " ".join(word.rstrip("/").rsplit("/", 1)[-1] if "/" in word else word for word in words)[:200]


def _make(python: str, folder: Path, requirement: str) -> str:
    """Make an environment, unless it is there; returns its interpreter.

    :raises CalledProcessError: if that fails; what was begun is removed.
    """
    stamp, interpreter = folder / "installed", str(folder / "bin" / "python")
    if stamp.exists() and stamp.read_text() == requirement:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install", "-q", *requirement.split()]
    try:
        for command in ([python, "-m", "venv", str(folder)], pip):
            subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=BENCH)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    stamp.write_text(requirement)
    return interpreter


def compile_limits(folder: Path) -> None:
    """Compile the C limits into `folder`, unless they are there and newer than their sources.

    :raises FileNotFoundError: without compiler.
    :raises CalledProcessError: if it fails.
    """
    compiler = next((found for found in map(shutil.which, COMPILERS) if found), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc)")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((BENCH / "limits").glob("*.c")):
        target = folder / source.stem
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            command = [compiler, "-O2", "-Wall", "-o", str(target), str(source)]
            subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def make(ours: str, installed: bool, names: set[str]) -> Environments:
    """Make the environments of these names (see REQUIREMENTS) and the limits; says what it does and what failed."""
    tag = subprocess.run(
        [ours, "-c", "import sys; print('py%d%d' % sys.version_info[:2])"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    folder = BENCH / ".envs"
    made = Environments(ours, installed)
    for name, requirement in REQUIREMENTS.items():
        if name not in names:
            continue
        if not (folder / tag / name / "installed").exists():
            print(f"making an environment with {requirement}", flush=True)
        try:
            made.pythons[name] = _make(ours, folder / tag / name, requirement)
        except subprocess.CalledProcessError as error:
            made.missing[name] = f"{requirement} cannot be installed: {last_line(error.stdout or '')}"
    try:
        compile_limits(folder / "limits")
        made.limits = folder / "limits"
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        made.missing["limits"] = f"no C limits: {last_line(getattr(error, 'stdout', None) or str(error))}"
    for reason in made.missing.values():
        print(f"missing: {reason}", flush=True)
    return made
