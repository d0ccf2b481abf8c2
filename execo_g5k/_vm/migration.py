"""Live migrations."""

from __future__ import annotations

import math

from execo.host import Host

from .actions import _disks, _of, checked_seconds
from .description import by_host, checked_vms
from .moves import STORAGE, MigrationResult, check_bandwidth, check_destination, migration_script, moves_to, read_migration, waves, where_to
from .remote import HostScript, VMAction, VMSequence, new_nonce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from execo.time_utils import Duration

    from .description import VM
    from .domain import Hypervisor
    from .moves import Move
    from .outcome import VMResult

DESTINATION = "qemu+ssh://{host}/system"
ABORT_SECONDS = 60
"""That an abort may take."""


def migrate_vms(moves: Iterable[Move], mode: str = "parallel", bandwidth: int | None = None, timeout: Duration = 600,
                destination: str = DESTINATION, storage: str | None = "inc", create_disks: bool = True, options: Sequence[str] = (),
                hypervisor: Hypervisor | None = None, connection_params: Mapping[str, Any] | None = None) -> VMSequence:
    """Live migrations, not started; see `moves_to`, `crossed_moves`, `circular_moves`, `split_moves` for the moves.

    The results are `MigrationResult`; the `host` of a VM that has moved is set.

    :param moves: pairs (VM, host).
    :param mode: "parallel": all at once; "sequential": one after the other, in this order.
    :param bandwidth: MiB/s at most for each; None: no limit is set.
    :param timeout: for each; one that does not converge is then aborted, and its VM goes on where it was.
    :param destination: URI of libvirt on the other host, as the first one reaches it; ``{host}`` stands for its address.
    :param storage: "inc": copy what the disk has beyond its image, which is there already; "all": copy all; None: the disk is shared.
    :param create_disks: make the disk on the other host first, if it is not there.
    :param options: more words for `virsh migrate`.  Without ``--migrateuri``, the memory is sent to the address of the host.
    :raises ValueError: for a VM that moves twice, or to where it is; for options that cannot be.
    """
    wanted = [(vm, Host(to)) for vm, to in moves]
    checked_vms(vm for vm, _to in wanted)
    if idle := [vm["id"] for vm, to in wanted if Host(vm["host"]) == to]:
        raise ValueError(f"VMs that are where they should go: {', '.join(idle)}")
    if storage not in STORAGE:
        raise ValueError(f"storage: expected 'inc', 'all' or None, found {storage!r}")
    check_bandwidth(bandwidth)
    seconds = checked_seconds(timeout)
    check_destination(destination)
    chosen = _of(hypervisor)
    words = ["--live", "--persistent", *STORAGE[storage], *options]
    parts: list[VMAction] = []
    if create_disks and storage is not None and wanted:
        on_target: dict[str, list[VM]] = {}
        for vm, to in wanted:
            on_target.setdefault(to.address, []).append(vm)
        targets = {to.address: to for _vm, to in wanted}
        parts.append(_disks("create disks", [(targets[address], theirs) for address, theirs in on_target.items()], chosen,
                            connection_params, "qcow2", keep=True))
    for wave in waves(wanted, mode):
        parts.append(_wave(wave, chosen.uri, words, bandwidth, math.ceil(seconds), destination, mode == "parallel", connection_params))
    return VMSequence(parts, name="migrate")


def migrate_vm(vm: VM, host: Host | str, **options: Any) -> VMSequence:
    """One live migration, not started; options as for `migrate_vms`."""
    return migrate_vms(moves_to([vm], host), **options)


def _wave(moves: list[Move], uri: str, words: Sequence[str], cap: int | None, seconds: int, destination: str, parallel: bool,
          connection_params: Any) -> VMAction:
    nonce = new_nonce()
    to = {vm["id"]: target for vm, target in moves}
    scripts = []
    for source, theirs in by_host(vm for vm, _target in moves):
        targets = [(vm["id"], where_to(to[vm["id"]].address, destination, words)) for vm in theirs]
        scripts.append(HostScript(source, tuple(vm["id"] for vm in theirs),
                                  migration_script(nonce, uri, targets, words, cap, seconds, parallel)))
    turns = 1 if parallel else len(moves)

    def moved(results: Mapping[str, VMResult]) -> None:
        for vm, target in moves:
            if results[vm["id"]].ok:
                vm["host"] = target.address

    wrap: Callable[[VMResult], MigrationResult] = lambda result: read_migration(result, to[result.id].address)  # noqa: E731
    return VMAction("migrate", scripts, nonce, connection_params, turns * (seconds + ABORT_SECONDS), then=moved, wrap=wrap)
