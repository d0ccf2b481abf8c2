"""What could not be read, copied to a file of its own before it is passed over."""

from __future__ import annotations

import json
from binascii import b2a_base64

from execo_engine._sweep import files
from execo_engine._sweep.say import WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from execo_engine._sweep.journal import Damage
    from execo_engine._sweep.store import Transaction

__all__ = ["QUARANTINE", "keep", "set_aside"]

QUARANTINE = "quarantine"


def keep(directory: int, facts: Mapping[str, object], content: bytes) -> None:
    """Add a line: what is known of it, and in base64 the bytes themselves."""
    line = {**facts, "base64": b2a_base64(content, newline=False).decode()}
    files.append_line(directory, QUARANTINE, json.dumps(line).encode() + b"\n")


def set_aside(directory: int, path: str, damages: Iterable[Damage], transaction: Transaction) -> None:
    """Damages of the journal: said, noted, and kept."""
    for damage in damages:
        facts = {"date": transaction.now, "offset": damage.offset, "length": len(damage.content), "reason": damage.reason,
                 "by": str(transaction.me)}
        try:
            keep(directory, facts, damage.content)
        except OSError as error:            # the bytes are still in the journal
            say(WARNING, "%s: cannot write %s: %s", path, QUARANTINE, str(error))
        transaction.note("quarantined", facts)
        say(WARNING, "%s: %i damaged bytes of the journal at %i (%s) were set aside; all other records are kept",
                       path, len(damage.content), damage.offset, damage.reason)
