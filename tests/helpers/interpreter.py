"""Scripts that run in an interpreter of their own, for what would spoil the interpreter of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import execo

SECONDS = 60.0


def environment() -> dict[str, str]:
    """That of the tests, in which the same execo is found."""
    folder = str(Path(str(execo.__file__)).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": folder if not path else folder + os.pathsep + path}


def arguments(script: str, *args: object) -> list[str]:
    """The command line of a fresh interpreter that runs the script."""
    return [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]


def popen(script: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Start the script; its standard output is a pipe of text."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, "env": environment(), **options}
    return subprocess.Popen(arguments(script, *args), **options)


def run_script(script: str, *args: object, **options: Any) -> str:
    """Run it to its end and return what it printed; fails the test if it does."""
    options = {"timeout": SECONDS, "stdin": subprocess.DEVNULL, "env": environment(), **options}
    done = subprocess.run(arguments(script, *args), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
