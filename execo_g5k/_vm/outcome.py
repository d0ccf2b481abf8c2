"""What became of each virtual machine: from the blocks that a script printed.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ERROR = re.compile(r"^(?:error|qemu-img):\s*(.*)$", re.MULTILINE)
LONGEST_REASON = 300


@dataclass(frozen=True)
class VMResult:
    """The outcome for one VM (or host): a value, never an exception."""

    id: str
    host: str
    """Address of the host that was to do it."""
    reason: str | None
    """Why it failed; None: it did not."""
    output: str = ""
    """What its commands printed, on both streams."""

    @property
    def ok(self) -> bool:
        return self.reason is None

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True)
class Block:
    """What was printed for one name."""

    status: str | None
    """Exit code, or "-"; None: it did not come to its end."""
    output: str


def parse_blocks(stdout: str, nonce: str) -> tuple[dict[str, Block], str]:
    """{name: block}, and what was printed outside of them; of a name that comes twice, the first failure or else the last."""
    blocks: dict[str, Block] = {}
    outside: list[str] = []
    name: str | None = None
    lines: list[str] = []
    begin, end = f"@{nonce} > ", f"@{nonce} < "

    def close(status: str | None) -> None:
        if name is not None and not (name in blocks and _failed(blocks[name])):
            blocks[name] = Block(status, "\n".join(lines).strip("\n"))

    for line in stdout.split("\n"):
        if line.startswith(begin):
            close(None)
            name, lines = line[len(begin):], []
        elif line.startswith(end) and name is not None and line[len(end):].partition(" ")[2] == name:
            close(line[len(end):].partition(" ")[0])
            name, lines = None, []
        elif name is not None:
            lines.append(line)
        elif line:
            outside.append(line)
    close(None)
    return blocks, "\n".join(outside)


def _failed(block: Block) -> bool:
    return reason_of(block) is not None


def reason_of(block: Block, ignored: Sequence[str] = ()) -> str | None:
    """Why what printed this has failed; None: it did not.

    :param ignored: parts of virsh's errors that are none.
    """
    if block.status is None:
        return f"it did not come to an end{_said(block.output)}"
    if block.status == "-":
        errors = virsh_errors(block.output)
        harmless = all(any(text in error for text in ignored) for error in errors)
        return None if harmless else shortened("; ".join(errors))
    if block.status == "0":
        return None
    errors = virsh_errors(block.output)
    return shortened("; ".join(errors) if errors else f"exit code {block.status}{_said(block.output)}")


def _said(output: str) -> str:
    last = [line.strip() for line in output.split("\n") if line.strip()]
    return f": {shortened(last[-1])}" if last else ""


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


def virsh_errors(output: str) -> list[str]:
    """What virsh said behind "error:", or qemu-img behind its name."""
    return [found.strip() for found in _ERROR.findall(output) if found.strip()]


def attribute(host: str, names: Iterable[str] | None, stdout: str, nonce: str, problem: str | None,
              ignored: Sequence[str] = ()) -> dict[str, VMResult]:
    """The outcome of each name that a host was to do.

    :param names: None: those that it told of.
    :param problem: what is known of the whole process, for those that it told nothing of; None: it ended as it should.
    """
    blocks, outside = parse_blocks(stdout, nonce)
    found = {}
    for name in blocks if names is None else names:
        block = blocks.get(name)
        if block is None:
            found[name] = VMResult(name, host, problem or f"the host told nothing of it{_errors_or_last(outside)}")
            continue
        reason = reason_of(block, ignored)
        if block.status is None and problem:
            reason = f"{problem}, while it was at it{_said(block.output)}"
        found[name] = VMResult(name, host, reason, block.output)
    return found


def _errors_or_last(outside: str) -> str:
    errors = virsh_errors(outside)
    return f": {shortened('; '.join(errors))}" if errors else _said(outside)


def summary(what: str, results: Mapping[str, VMResult], most: int = 5) -> str:
    """A line about the failures."""
    failed = [result for result in results.values() if not result.ok]
    told = "; ".join(f"{result.id} on {result.host}: {result.reason}" for result in failed[:most])
    more = f"; and {len(failed) - most} more" if len(failed) > most else ""
    return f"{what}: {len(failed)} of {len(results)} failed: {told}{more}"
