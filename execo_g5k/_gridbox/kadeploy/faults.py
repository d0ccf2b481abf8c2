"""How deployments of the box behave: how long they take, and what fails.  For tests and rehearsals; pure."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from .standin import MACROS, MICROS, TRIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MESSAGES = {"reboot": "The node did not reboot", "wait_reboot": "Unreachable after the reboot",
            "reboot_from_deploy_env": "The node did not reboot", "send_environment": "Problem with the broadcast",
            "set_vlan": "The node did not change its VLAN", "power": "The power operation failed"}
"""What Kadeploy says of a failure in these steps, unless it is told otherwise."""


@dataclass
class _Fault:
    macro: str
    micro: str
    left: int | None
    message: str


class Behaviour:
    """`GridBox.deployments`: seconds and faults of deployments.  Any thread may call the methods, and set the attributes."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.step_seconds = 0.01
        """Of each micro-step."""
        self.seconds: dict[str, float] = {}
        """{micro-step: seconds}, instead."""
        self.polling = 0.1
        """kadeploy3 shows so rarely what there is to be shown; the real one each second."""
        self.failure_rate = 0.0
        """Part of the nodes that a deployment loses, each in a step by chance."""
        self.random = random.Random()
        """Where chance comes from: give it a seed."""
        self.down: set[str] = set()
        """Sites whose Kadeploy does not answer."""
        self._nodes = frozenset(nodes)
        self._lock = threading.Lock()
        self._faults: dict[str, list[_Fault]] = {}

    def fail(self, node: str, step: str, times: int | None = None, message: str | None = None) -> None:
        """Have a step fail on a node: kadeploy3 says so, and the node stays off, until it is deployed again or its job ends.

        :param node: its name in full.
        :param step: a micro-step, ``wait_reboot``, or one of a macro-step, ``BootNewEnvClassical-wait_reboot``.  The former also fails
          in kareboot3; ``power`` is that of kapower3.
        :param times: so often, where kadeploy3 tries twice; None: until `mend`.
        :param message: what Kadeploy says of it.
        :raises ValueError: for a node or a step that there is not.
        """
        macro, _, micro = step.rpartition("-")
        if node not in self._nodes:
            raise ValueError(f"deployments: there is no node {node!r} in the box")
        if micro not in MICROS or (macro and macro not in dict(MACROS)):
            raise ValueError(f"deployments: there is no step {step!r}; steps are {', '.join(sorted(MICROS))}, "
                             f"also after {', '.join(f'{name}-' for name, _ in MACROS)}")
        fault = _Fault(macro, micro, times, message or MESSAGES.get(micro, f"The step {micro} failed"))
        with self._lock:
            self._faults.setdefault(node, []).append(fault)

    def mend(self, node: str | None = None) -> None:
        """No more faults, of a node or of all."""
        with self._lock:
            for name in list(self._faults) if node is None else [node]:
                self._faults.pop(name, None)

    def next_failure(self, node: str, macro: str, micro: str) -> str | None:
        """What Kadeploy says if this step fails now; a fault is used up."""
        with self._lock:
            for fault in self._faults.get(node, ()):
                if fault.micro == micro and fault.macro in ("", macro) and fault.left != 0:
                    if fault.left is not None:
                        fault.left -= 1
                    return fault.message
        return None

    def draw(self, nodes: Iterable[str]) -> dict[str, tuple[str, str, int]]:
        """{node that will be lost: (macro-step, micro-step, times)} by chance."""
        steps = [(macro, micro) for macro, micros in MACROS for micro in micros]
        with self._lock:
            return {node: (*self.random.choice(steps), TRIES) for node in nodes if self.random.random() < self.failure_rate}

    def seconds_of(self, micro: str) -> float:
        """How long a step takes."""
        return self.seconds.get(micro, self.step_seconds)
