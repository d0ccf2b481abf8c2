"""A journal that says no more than the state.  Pure."""

from __future__ import annotations

from execo_engine._sweep.journal import frame, make_note, parse_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from execo_engine._sweep.state import State

__all__ = ["compacted"]


def compacted(state: State, format_note: bytes) -> Iterator[bytes]:
    """Its lines.

    :param format_note: the first one.
    """
    used = {entry.owner for entry in map(parse_entry, state.lines.values())}
    yield format_note
    for owner in state.owners.values():
        if owner.id in used:
            yield make_note("owner", owner.to_json())
    for note in state.notes:
        # The places of damages mean nothing in the new file; the bytes are in the quarantine.
        kind = "was-quarantined" if note["kind"] == "quarantined" else note["kind"]
        if kind != "format":
            yield make_note(kind, {name: value for name, value in note.items() if name != "kind"})
    yield from (line + b"\n" for line in state.lines.values())
    for key, text in state.checkpoints.items():
        yield frame(b'"checkpoint",%d,%s,%s' % (len(key), key, text))
