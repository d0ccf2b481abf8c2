"""The notebook of one run: a JSON file, written at its begin, with each note, and at its end."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from execo.action import Remote
from execo.host import get_unique_hosts_list

from .._files import write_atomically
from .._plain_json import dumps, loads
from ..log import logger
from .environment import environment_facts
from .git import git_facts
from .hardware import COMMAND, local_hardware, parse_hardware
from .processes import ProcessLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    StrPath = str | os.PathLike[str]


class Notebook:
    """Made by `begin`.  Any thread may use it; processes are noted whoever starts them."""

    def __init__(self, path: Path, processes_path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.processes_path = processes_path
        self.facts = facts
        self._processes = ProcessLog(processes_path)
        self._lock = threading.Lock()       # of the facts and the file

    @classmethod
    def begin(cls, directory: StrPath, run_name: str, *, engine: str | None = None, script: str | None = None,
              arguments: Sequence[str] | None = None, options: dict[str, Any] | None = None, seed: Any = None) -> Notebook:
        """Write ``notebook.json`` in the directory, and note each process that ends from now on in ``processes.jsonl``.

        A directory that has a notebook, of a run that is continued here, keeps it: this one is ``notebook-2.json``, and so on.

        :param script: the file whose repository is looked at; by default the program.
        :raises OSError: if nothing can be written there.
        """
        if script is None:
            script = os.path.abspath(sys.argv[0]) if sys.argv and os.path.isfile(sys.argv[0]) else None
        folder = Path(directory).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        path, number = _claim(folder)
        host = local_hardware()
        facts = {
            "run_id": f"{run_name}-{os.urandom(4).hex()}",
            "run_name": run_name,
            "engine": engine,
            "result_dir": str(folder),
            "command_line": list(sys.argv),
            "arguments": None if arguments is None else list(arguments),
            "options": options,
            "script": script,
            "working_directory": os.getcwd(),
            "seed": seed,
            "start_date": time.time(),
            "end_date": None,
            "outcome": {"kind": "running", "exception": None},
            "pid": os.getpid(),
            "git": git_facts(os.path.dirname(script) if script else os.getcwd()),
            **environment_facts(),
            "host": {**host, "name": socket.gethostname()},
            "hosts": {},
        }
        notebook = cls(path, folder / _numbered("processes", number, ".jsonl"), facts)
        write_atomically(path, notebook._text())
        notebook._processes.begin()
        return notebook

    @property
    def run_id(self) -> str:
        """Tells this run from all others; results carry it."""
        return str(self.facts["run_id"])

    def note(self, **facts: Any) -> None:
        """Add facts, or replace them, and write them down at once.

        :raises TypeError: if a value has no form in JSON.
        """
        dumps(facts)
        self._add(facts)

    def describe_hosts(self, hosts: Any, connection_params: dict[str, Any] | None = None, timeout: Any = 20) -> None:
        """Note names and hardware of hosts, which are asked through ssh; a host that does not answer is noted with its error."""
        unique = get_unique_hosts_list(hosts)
        if not unique:
            return
        quiet = {"nolog_exit_code": True, "nolog_timeout": True, "nolog_error": True, "timeout": timeout}
        asked = Remote(COMMAND, unique, connection_params, name="describe hosts", process_args=quiet).run()
        self._add({}, {process.host.address: parse_hardware(process.stdout) if process.finished_ok else {"error": _why(process)}
                       for process in asked.processes})

    def end(self, exception: BaseException | None = None) -> None:
        """Note the end, and how it came: ``ok``, ``error``, ``interrupted``, or ``exit`` for a SystemExit."""
        self._processes.end()
        self._add({"end_date": time.time(), "outcome": _outcome(exception),
                   "processes": {"number": self._processes.number, "failed": self._processes.failed}})

    def _text(self) -> str:
        lines = (f"{dumps(name)}: {_laid_out(value)}" for name, value in self.facts.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def _add(self, facts: Mapping[str, Any], hosts: Mapping[str, Any] = MappingProxyType({})) -> None:
        with self._lock:
            self.facts.update(facts)
            self.facts["hosts"].update(hosts)
            try:
                write_atomically(self.path, self._text())
            except OSError as failed:       # the experiment matters more
                logger.warning("the notebook cannot be written: %s", failed)


def _laid_out(value: Any) -> str:
    """One line for each entry of a mapping, for human readers."""
    if not isinstance(value, dict) or not value:
        return _dumps_anything(value)
    return "{\n" + ",\n".join(f"  {dumps(str(name))}: {_dumps_anything(item)}" for name, item in value.items()) + "\n}"


def _dumps_anything(value: Any) -> str:
    try:
        return dumps(value)
    except (TypeError, ValueError):     # an option may have any type
        return dumps(repr(value))


def _outcome(exception: BaseException | None) -> dict[str, Any]:
    if exception is None:
        return {"kind": "ok", "exception": None}
    kind = "interrupted" if isinstance(exception, KeyboardInterrupt) else "exit" if isinstance(exception, SystemExit) else "error"
    return {"kind": kind, "exception": f"{type(exception).__name__}: {exception}"}


def _why(process: Any) -> str:
    if process.timeouted:
        return "timeout"
    said = process.stderr.strip().splitlines()
    return str(process.error_reason or (said[-1] if said else f"exit code {process.exit_code}"))


def _numbered(stem: str, number: int, suffix: str) -> str:
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"


def _claim(folder: Path) -> tuple[Path, int]:
    """The first name for a notebook that nobody has, and its number; it is there then, and empty."""
    number = 1
    while True:
        path = folder / _numbered("notebook", number, ".json")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            number += 1
            continue
        return path, number


def read_notebooks(directory: StrPath) -> list[dict[str, Any]]:
    """The notebooks of a directory, those of its first run first.  One that is empty, for its run died at once, is left out."""
    folder = Path(directory)
    found = []
    number = 1
    while (path := folder / _numbered("notebook", number, ".json")).exists():
        number += 1
        text = path.read_bytes()
        if text.strip():
            found.append({**_loads(path, text), "path": str(path)})
    return found


def read_notebook(run: StrPath) -> dict[str, Any]:
    """The notebook in this file, or the last one in this directory.

    :raises FileNotFoundError: if there is none.
    :raises ValueError: if it is not a notebook.
    """
    path = Path(run)
    if path.is_dir():
        found = read_notebooks(path)
        if not found:
            raise FileNotFoundError(f"no notebook in {path}: its engine has no `keep_notebook = True`")
        return found[-1]
    return {**_loads(path, path.read_bytes()), "path": str(path)}


def _loads(path: Path, text: bytes) -> dict[str, Any]:
    try:
        facts = loads(text)
    except ValueError as wrong:
        raise ValueError(f"{path} is not a notebook: {wrong}") from None
    if not isinstance(facts, dict) or "run_id" not in facts:
        raise ValueError(f"{path} is not a notebook: it has no run_id")
    return facts
