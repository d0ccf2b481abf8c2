"""The directory of a sweep of execo 2.8: read as data, and written.

Files: `done`, pickles one after another; `inprogress` and `sweeps`, one pickled set each.  A pickle is a program: this reader builds plain
values and `HashableDict`, whatever the pickle asks for.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import NamedTuple

from execo_engine._sweep.combinations import HashableDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["Damaged", "FILES", "dump_done", "dump_set", "read_pickles"]

FILES = ("done", "inprogress", "sweeps")
PROTOCOL = 2        # execo 2.8 under any Python reads it


class Damaged(NamedTuple):
    """Bytes of a file that give no value."""

    offset: int
    content: bytes
    reason: str


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 calls to make bytes."""
    return text.encode(encoding if encoding in ("latin1", "latin-1") else "latin1")


def _reconstruct(cls: type, base: type, state: Any) -> Any:
    """What protocols 0 and 1 call to make an object of a subclass."""
    if cls is HashableDict and base is dict:
        return HashableDict(state or {})
    raise pickle.UnpicklingError(f"{cls!r} in place of a HashableDict")


_SAFE: dict[tuple[str, str], Any] = {
    ("execo_engine.sweep", "HashableDict"): HashableDict, ("execo_engine", "HashableDict"): HashableDict,
    ("execo_engine.param_sweeper", "HashableDict"): HashableDict,
    ("_codecs", "encode"): _latin1, ("copy_reg", "_reconstructor"): _reconstruct, ("copyreg", "_reconstructor"): _reconstruct,
}
for _module in ("builtins", "__builtin__"):
    for _kind in (set, frozenset, bytearray, complex, list, tuple, dict):
        _SAFE[_module, _kind.__name__] = _kind


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _SAFE[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, and only plain values are read") from None


def _end_of_pickle(data: bytes, offset: int) -> int | None:
    """Where the pickle at offset ends, whatever it holds; None if it is none."""
    stream = io.BytesIO(data[offset:])
    try:
        for opcode, _, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return offset + stream.tell()
    except Exception:                   # genops raises what it wants for bytes that are no pickle
        return None
    return None


def read_pickles(data: bytes) -> tuple[list[Any], list[Damaged]]:
    """The values of a file, and what could not be read: that costs itself, not what comes after it."""
    values: list[Any] = []
    damaged: list[Damaged] = []
    stream = io.BytesIO(data)
    while (offset := stream.tell()) < len(data):
        try:
            value = _Unpickler(stream).load()
            hash(tuple(value) if isinstance(value, set) else value)
            values.append(value)
            continue
        except Exception as error:      # a pickle can make its reader raise anything
            reason = f"{type(error).__name__}: {error}"
        end = _end_of_pickle(data, offset) or _next_pickle(data, offset + 1)
        damaged.append(Damaged(offset, data[offset:end], reason))
        stream.seek(end)
    return values, damaged


def _next_pickle(data: bytes, offset: int) -> int:
    """Where the next readable pickle begins, or the end.  Protocols 2 to 5 begin with a byte that no text has."""
    while (offset := data.find(b"\x80", offset)) >= 0:
        if data[offset + 1:offset + 2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
            try:
                _Unpickler(io.BytesIO(data[offset:])).load()
            except Exception:           # as above
                pass
            else:
                return offset
        offset += 1
    return len(data)


def dump_done(values: Iterable[Any]) -> bytes:
    return b"".join(pickle.dumps(value, PROTOCOL) for value in values)


def dump_set(values: Iterable[Any]) -> bytes:
    return pickle.dumps(set(values), PROTOCOL)
