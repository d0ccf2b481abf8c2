"""How long a VM is silent: ping, many times a second."""

from __future__ import annotations

import shlex

from execo.host import Host

from .description import by_host, checked_vms
from .remote import HostScript, VMAction, new_nonce
from .script import begin_line, end_line
from .virsh import PingLog, parse_ping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

    from .description import VM


def ping_script(nonce: str, addresses: Sequence[tuple[str, str]], interval: float) -> str:
    """Script that sends pings to each (name, address) until it gets SIGTERM, and then tells what came back."""
    starts = "".join(f"ping -D -O -n -i {interval:g} {shlex.quote(address)} > {number}.log 2>&1 &\npids=\"$pids $!\"\n"
                     for number, (_name, address) in enumerate(addresses))
    tell = "".join(begin_line(nonce, name) + f"cat {number}.log\n" + end_line(nonce, name)
                   for number, (name, _address) in enumerate(addresses))
    # One ping that ends has said why; the others go on.  A trap is done when `wait` is interrupted.
    return ("pids=; over=\ntrap 'over=1' TERM\n" + starts + "echo ready\n"
            "while [ -z \"$over\" ]; do sleep 3600 & pause=$!; wait $pause; kill $pause 2>/dev/null; done\n"
            "kill -INT $pids 2>/dev/null\nwait\n" + tell + "exit 0\n")


class PingProbes(VMAction):
    """Pings to VMs; between `start` and `stop`, or in a ``with`` block::

        with PingProbes(vms, "controller") as probes:
            migrate_vms(moves_to(vms, there)).run()
        probes.logs["vm-1"].downtime

    :param host: that sends them; None: the host of each VM, so that it moves away from where it is probed.
    :param interval: seconds; less than 0.2 needs root.
    :raises ValueError: for a VM without ip.
    """

    def __init__(self, vms: Iterable[VM], host: Host | str | None = None, interval: float = 0.2,
                 connection_params: Mapping[str, Any] | None = None) -> None:
        guests = checked_vms(vms, placed=host is None)
        if homeless := [vm["id"] for vm in guests if vm.get("ip") is None]:
            raise ValueError(f"VMs without ip: {', '.join(homeless)}")
        given: object = interval
        if not isinstance(given, (int, float)) or not 0.01 <= given <= 60:        # nor a NaN
            raise ValueError(f"interval: expected 0.01 to 60 seconds, found {interval!r}")
        self.interval = interval
        groups = by_host(guests) if host is None else [(Host(host), guests)]
        nonce = new_nonce()
        super().__init__("ping", [HostScript(asking, tuple(vm["id"] for vm in theirs),
                                             ping_script(nonce, [(vm["id"], str(vm["ip"])) for vm in theirs], interval))
                                  for asking, theirs in groups], nonce, connection_params)

    def __enter__(self) -> Self:
        """Started, and all its pings are on their way."""
        if not self.started:
            self.start()
        self.expect(r"^ready$", timeout=60)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> Self:
        """End it, and wait until all is told."""
        self.kill()
        self.wait()
        return self

    @property
    def logs(self) -> dict[str, PingLog]:
        """{id: what came back}, after `stop`; also of a VM that never answered."""
        return {name: parse_ping(result.output, self.interval) for name, result in self.results.items()}
