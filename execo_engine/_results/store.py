"""The results of a campaign, in its directory."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from execo.host import Host
from execo.time_utils import get_unixts

from .._files import LineFile, write_atomically
from .._plain_json import dumps, loads
from ..log import logger
from .lines import DamagedLine, Result, pack, parse, unpack
from .names import canonical, combination_name
from .table import as_csv, as_json, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from typing import Any, Protocol

    Date = int | float | str | datetime.datetime | None

    class Writer(Protocol):
        def write(self, text: str, /) -> object: ...

    Target = str | os.PathLike[str] | Writer | None


class Results:
    """What a campaign has measured: a line of ``results.jsonl`` for each result, and a folder for the files of each combination.

    Any number of threads, processes and hosts may share a directory, and each object sees what the others have appended.

    :param directory: made if it is not there, at the first result.
    :param run: identity of the run that appends.
    """

    def __init__(self, directory: str | os.PathLike[str], run: str | None = None) -> None:
        self.directory = Path(directory).absolute()     # the program may change the current one
        self.run = run
        self.damaged: list[DamagedLine] = []
        """Lines that the last reading has left out."""
        self._file = LineFile(self.directory / "results.jsonl", self.directory / "results.quarantine",
                              lambda line: unpack(line) is not None)

    def __repr__(self) -> str:
        return f"Results({str(self.directory)!r}, run={self.run!r})"

    def combination_dir(self, combination: object) -> Path:
        """The folder for the files of a combination, made if it is not there, with the combination in ``parameters.json``."""
        identity = canonical(combination)
        folder, mine = self._folder(combination, identity)
        if not mine:
            folder.mkdir(parents=True, exist_ok=True)
            parameters = {"parameters": as_parameters(combination), "identity": identity}
            write_atomically(folder / "parameters.json", dumps(parameters) + "\n")
        return folder

    def append(self, combination: object, metrics: Mapping[str, Any], *, start_date: Date = None, end_date: Date = None,
               attempt: int | None = None, host: Any = None) -> None:
        """Record what was measured; when it returns, the result is on the disk.

        :param metrics: {name: value}; values are what JSON has, dates, paths, sets, objects with a method ``for_json``, and numpy's scalars
          and arrays.  NaN and infinities become null.
        :param host: where it was measured, or several; by default this machine.
        :raises TypeError: if a value has no form in JSON; nothing is written then.
        :raises OSError: if it cannot be written; the file is what it was then.
        """
        if not isinstance(metrics, Mapping):
            raise TypeError(f"metrics must be a mapping of names to values, found a {type(metrics).__name__}: {metrics!r}")
        names: list[object] = list(metrics)
        if strange := [name for name in names if not isinstance(name, str)]:
            raise TypeError(f"names of metrics must be strings, found {strange[0]!r}")
        folder, mine = self._folder(combination, canonical(combination))
        line = pack(Result(
            parameters=as_parameters(combination), metrics=dict(metrics), start_date=get_unixts(start_date), end_date=get_unixts(end_date),
            attempt=attempt, host=_addresses(host), run=self.run, date=time.time(),
            directory=folder.relative_to(self.directory).as_posix() if mine else None))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._file.append(line)

    def read(self) -> list[Result]:
        """All results, in the order in which they were appended.  Damaged lines are left out, reported in the log, and in `damaged`."""
        results, self.damaged = parse(self._file.read())
        if self.damaged:
            numbers = ", ".join(str(line.number) for line in self.damaged[:10]) + (", ..." if len(self.damaged) > 10 else "")
            logger.warning("%s: %d of %d lines are damaged and left out: line %s",
                           self._file.path, len(self.damaged), len(self.damaged) + len(results), numbers)
        return results

    def rows(self) -> list[dict[str, Any]]:
        """The table: see `columns`."""
        return table(self.read())[1]

    def columns(self) -> list[str]:
        """Parameters, metrics, then ``run.start_date``, ``run.end_date``, ``run.duration``, ``run.attempt``, ``run.host``, ``run.name``,
        ``run.date`` and ``run.directory``.

        A metric that has the name of a parameter is in column ``metric.NAME``.
        """
        return table(self.read())[0]

    def to_csv(self, file: Target = None) -> str | None:
        """The table as CSV, with a header: the text if `file` is None, else into this file."""
        return _give(as_csv(*table(self.read())), file)

    def to_json(self, file: Target = None) -> str | None:
        """The table as a JSON list of objects: the text if `file` is None, else into this file."""
        return _give(as_json(table(self.read())[1]), file)

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame.

        :raises ImportError: without pandas.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ModuleNotFoundError as missing:
            if missing.name != "pandas":        # it is there, and lacks something itself
                raise
            raise ImportError("to_dataframe needs pandas: pip install 'execo-engine[pandas]'") from missing
        columns, rows = table(self.read())
        return pandas.DataFrame(rows, columns=columns)

    def _folder(self, combination: object, identity: str) -> tuple[Path, bool]:
        """The folder of a combination, and whether it is there."""
        for digits in (16, 64):
            folder = self.directory / "combinations" / combination_name(combination, digits)
            owner = _identity_in(folder)
            if owner in (None, identity):
                return folder, owner is not None
        raise RuntimeError(f"two combinations have the same name: {combination_name(combination, 64)}")


def as_parameters(combination: object) -> dict[str, Any]:
    """{name: value}, in values that JSON has; what has no form there is its text."""
    if not isinstance(combination, Mapping):
        combination = {"combination": combination}
    return {str(name): _as_value(value) for name, value in combination.items()}


def _as_value(value: Any) -> Any:
    try:
        return loads(dumps(value))
    except (TypeError, ValueError):
        return repr(value)


def _identity_in(folder: Path) -> str | None:
    try:
        found = loads((folder / "parameters.json").read_bytes())
        return str(found["identity"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):    # not there, or spoilt by someone's editor: written anew
        return None


def _addresses(host: Any) -> str | list[str]:
    if host is None:
        return socket.gethostname()
    if isinstance(host, (str, Host)):
        return _address(host)
    if isinstance(host, Iterable):
        return [_address(one) for one in host]
    raise TypeError(f"host must be an address, a Host, or several of them, found a {type(host).__name__}: {host!r}")


def _address(host: Any) -> str:
    return host if isinstance(host, str) else str(host.address)


def _give(text: str, file: Target) -> str | None:
    if file is None:
        return text
    if isinstance(file, (str, os.PathLike)):
        write_atomically(file, text)
    else:
        file.write(text)
    return None
