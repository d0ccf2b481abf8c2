"""Which VM migrates where, and the script that does it: pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace

from execo.host import Host

from .description import checked_vms
from .outcome import VMResult
from .script import checked_name, end_line, shell_block, virsh
from .virsh import JobInfo, parse_jobinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from .description import VM

    Move: TypeAlias = tuple[VM, Host]

MODES = ("parallel", "sequential")
STORAGE = {"inc": ("--copy-storage-inc",), "all": ("--copy-storage-all",), None: ()}


@dataclass(frozen=True)
class MigrationResult(VMResult):
    """A migration: how long, how much, how often."""

    destination: str = ""
    seconds: float | None = None
    """Of the whole command, start of the hypervisor on the other side included."""
    start_date: float | None = None
    """Unix seconds, on the clock of the host that the VM leaves."""
    job: JobInfo = field(default_factory=JobInfo)
    """Bytes, rounds and downtime: at the end, or when it was aborted."""
    aborted: bool = False
    """It had not converged in its time, and was ended; the VM goes on where it was."""
    still_runs: bool | None = None
    """After an abort: whether the VM does, on the host where it was."""


def moves_to(vms: Iterable[VM], destination: Host | str) -> list[Move]:
    """All VMs to one host, but those that are there."""
    to = Host(destination)
    return [(vm, to) for vm in checked_vms(vms) if Host(vm["host"]) != to]


def crossed_moves(vms: Iterable[VM], hosts: Sequence[Host | str]) -> list[Move]:
    """The VMs of two hosts change places, in turn from one and the other.

    :raises ValueError: unless there are two hosts, which have all the VMs.
    """
    return _between(vms, hosts, 2, 2)


def circular_moves(vms: Iterable[VM], hosts: Sequence[Host | str]) -> list[Move]:
    """The VMs of each host go to the next one, of the last to the first, in turn from each.

    :raises ValueError: unless there are three hosts or more, which have all the VMs.
    """
    return _between(vms, hosts, 3, None)


def split_moves(vms: Iterable[VM], hosts: Sequence[Host | str]) -> list[Move]:
    """The VMs go to these hosts in turn; those that are there already stay."""
    targets = [Host(host) for host in hosts]
    if not targets:
        raise ValueError("split_moves: no host")
    moves = [(vm, targets[index % len(targets)]) for index, vm in enumerate(checked_vms(vms))]
    return [(vm, to) for vm, to in moves if Host(vm["host"]) != to]


def _between(vms: Iterable[VM], hosts: Sequence[Host | str], least: int, most: int | None) -> list[Move]:
    circle = [Host(host) for host in hosts]
    if len({host.address for host in circle}) < len(circle) or len(circle) < least or (most is not None and len(circle) > most):
        wanted = f"{least}{' different' if most else ' or more different'} hosts"
        raise ValueError(f"expected {wanted}, found {[host.address for host in circle]}")
    queues: list[list[VM]] = [[] for _ in circle]
    addresses = [host.address for host in circle]
    for vm in checked_vms(vms):
        address = Host(vm["host"]).address
        if address not in addresses:
            raise ValueError(f"{vm['id']} is on {address}, which is none of {', '.join(addresses)}")
        queues[addresses.index(address)].append(vm)
    turns = max((len(queue) for queue in queues), default=0)
    return [(queue[turn], circle[(index + 1) % len(circle)]) for turn in range(turns) for index, queue in enumerate(queues)
            if turn < len(queue)]


def waves(moves: Sequence[Move], mode: str) -> list[list[Move]]:
    """What is done at once: all, or in order, as long as they leave the same host."""
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, found {mode!r}")
    if mode == "parallel":
        return [list(moves)] if moves else []
    found: list[list[Move]] = []
    for vm, to in moves:
        if found and Host(found[-1][-1][0]["host"]) == Host(vm["host"]):
            found[-1].append((vm, to))
        else:
            found.append([(vm, to)])
    return found


def check_bandwidth(bandwidth: object) -> None:
    """:raises ValueError: unless it is a number of MiB/s as virsh reads it, or None."""
    if bandwidth is not None and (isinstance(bandwidth, bool) or not isinstance(bandwidth, int) or bandwidth < 1):
        raise ValueError(f"bandwidth: expected a whole number of MiB/s, 1 or more, found {bandwidth!r}")


def check_destination(destination: str) -> None:
    """:raises ValueError: unless ``{host}`` is there, and nothing else is to be filled in."""
    try:
        if destination.format(host="one") != destination.format(host="other"):
            return
    except (AttributeError, IndexError, KeyError, ValueError):
        pass
    raise ValueError(f"destination: expected a URI with {{host}} and nothing else in braces, found {destination!r}")


def where_to(address: str, destination: str, options: Sequence[str]) -> list[str]:
    """Words for `virsh migrate`.  Left to itself, libvirt sends the memory to what the other host calls itself: in a VLAN, or under a name
    that only that host knows, in vain."""
    told = any(word.startswith("--migrateuri") for word in options)
    where = f"[{address}]" if ":" in address else address
    return [destination.format(host=address), *([] if told else ["--migrateuri", f"tcp://{where}"])]


# Arguments: number, VM, seconds that it has, MiB/s or nothing, then those of `virsh migrate`.
FUNCTION = """
migrate() {
    number=$1 vm=$2 limit=$3 cap=$4
    shift 4
    if [ -n "$cap" ]; then VIRSH migrate-setspeed "$vm" "$cap" || return 1; fi
    echo "@start $(date +%s.%N)"
    { VIRSH migrate "$vm" "$@"; echo "$? $(date +%s.%N)" > "$number.part"; mv "$number.part" "$number.done"; } &
    end=$(( $(date +%s) + limit ))
    aborted=
    while ! [ -e "$number.done" ]; do
        if [ -z "$aborted" ] && [ "$(date +%s)" -ge "$end" ]; then
            aborted=1
            echo @job
            VIRSH domjobinfo "$vm"
            echo "@abort"
            VIRSH domjobabort "$vm"
            [ -e "$number.done" ] || sleep 1
        fi
        [ -e "$number.done" ] || sleep 0.1
    done
    wait
    read -r status date < "$number.done"
    echo "@end $date"
    if [ "$status" = 0 ]; then
        echo @job
        VIRSH domjobinfo --completed "$vm"
    else
        echo "@state $(VIRSH domstate "$vm")"
    fi
    return "$status"
}
"""


def migration_script(nonce: str, uri: str, moves: Sequence[tuple[str, Sequence[str]]], options: Sequence[str], cap: int | None,
                     seconds: int, parallel: bool) -> str:
    """Script for the host that the VMs leave.

    :param moves: (name, words for `virsh migrate` that say where to).
    :param cap: MiB/s.
    :param seconds: that each migration has.
    """
    function = FUNCTION.replace("VIRSH", virsh(uri))
    calls = []
    for number, (name, to) in enumerate(moves):
        words = ["migrate", str(number), name, str(seconds), "" if cap is None else str(cap), *options, *to]
        calls.append((name, shlex.join(words)))
    if not parallel:
        return function + "".join(shell_block(nonce, name, [call]) for name, call in calls)
    # What those print at the same time is told at the end of each.
    parts = []
    for number, (name, call) in enumerate(calls):
        begin = shlex.quote(f"@{nonce} > {checked_name(name)}")
        end = end_line(nonce, name).replace("$?", '"$code"').strip()
        told = f"{{ printf '\\n%s\\n' {begin}; cat {number}.out; {end}; }} > {number}.told"
        parts.append(f"{{ ( {call} ) > {number}.out 2>&1; code=$?; {told}; }} &\n")
    tell = "".join(f"cat {number}.told\n" for number in range(len(calls)))
    return function + "".join(parts) + "wait\n" + tell


_MARK = re.compile(r"^@(start|end|job|abort|state)(?: (.*))?$")


def read_migration(result: VMResult, destination: str) -> MigrationResult:
    """What the script told of one VM."""
    dates: dict[str, float] = {}
    job: list[str] = []
    in_job = aborted = False
    state: str | None = None
    for line in result.output.split("\n"):
        mark = _MARK.match(line)
        if mark is None:
            if in_job:
                job.append(line)
            continue
        in_job = mark[1] == "job"
        if mark[1] in ("start", "end") and re.fullmatch(r"\d{1,12}(\.\d+)?", mark[2] or ""):
            dates[mark[1]] = float(mark[2])
        aborted = aborted or mark[1] == "abort"
        if mark[1] == "state":
            state = (mark[2] or "").strip()
    seconds = dates["end"] - dates["start"] if "start" in dates and "end" in dates else None
    info = parse_jobinfo("\n".join(job))
    aborted = aborted and not result.ok         # it may have come to its end just then
    still = None if not aborted or state is None else state == "running"
    told = MigrationResult(result.id, result.host, result.reason, result.output, destination, seconds, dates.get("start"), info, aborted,
                           still)
    if not aborted:
        return told
    rounds = "" if info.rounds is None else f", {info.rounds} rounds"
    sent = "" if info.data_bytes is None else f", {info.data_bytes / (1 << 20):.0f} MiB sent"
    then = "" if still is None else f"; the VM {'still runs' if still else 'is ' + str(state)} on {result.host}"
    spent = "" if seconds is None else f" after {seconds:.1f} s"
    return replace(told, reason=f"did not converge: aborted{spent}{rounds}{sent}{then}")
