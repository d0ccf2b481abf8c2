"""A directory of execo 2.8 that goes on here: its files are only read, and what they say goes into the journal."""

from __future__ import annotations

from execo_engine._sweep import legacy, quarantine
from execo_engine._sweep.say import INFO, WARNING, say
from execo_engine._sweep.state import LEGACY_OWNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from execo_engine._sweep.store import Transaction

__all__ = ["import_file", "saved_sweeps"]


def import_file(transaction: Transaction, directory: int, path: str, name: str, content: bytes, stamp: str,
                texts_of: Callable[[Any], tuple[bytes, bytes]]) -> None:
    """What it says is done, or in progress.

    :param name: of the file, "done" or "inprogress".
    :param stamp: what identifies this content.
    :param texts_of: (key, exact text or b"" if it is the key) of a combination.
    """
    values, damaged = legacy.read_pickles(content)
    if name == "inprogress":
        values = [value for one in values if isinstance(one, (set, frozenset)) for value in one]
    number = 0
    for value in values:
        try:
            key, text = texts_of(value)
        except TypeError as error:
            say(WARNING, "%s/%s: %r was left out: %s", path, name, value, error)
        else:
            number += _import_one(transaction, key, text, name)
    for one in damaged:
        facts = {"date": transaction.now, "file": name, "offset": one.offset, "length": len(one.content), "reason": one.reason}
        quarantine.keep(directory, facts, one.content)
        say(WARNING, "%s/%s: %i bytes at %i were set aside: %s", path, name, len(one.content), one.offset, one.reason)
    transaction.note("imported", {"date": transaction.now, "file": name, "stamp": stamp, "records": number, "damaged": len(damaged)})
    say(INFO, "%s: %i combinations read from %s of execo 2.8", path, number, name)


def _import_one(transaction: Transaction, key: bytes, text: bytes, name: str) -> bool:
    state = transaction.state
    if name == "done":
        entry = state.done(key, text, LEGACY_OWNER, transaction.now)
    else:
        entry = None if state.is_taken(key) else state.claim(key, text, LEGACY_OWNER, transaction.now)
    transaction.write(entry)
    return entry is not None


def saved_sweeps(content: bytes) -> list[Any] | None:
    """The combinations of a file `sweeps`; None if there are none."""
    values, _ = legacy.read_pickles(content)
    return list(values[0]) if values and isinstance(values[0], (set, frozenset)) else None
