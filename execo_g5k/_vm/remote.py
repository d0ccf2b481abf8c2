"""Scripts on hosts through one TakTuk tree, and what became of each VM: the edge of the pure parts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from execo.action import ActionLifecycleHandler, SequentialActions, TaktukRemote
from execo.host import Host
from execo.log import logger

from .outcome import VMResult, attribute, summary
from .script import COMMAND, head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

    from execo.time_utils import Duration


def new_nonce() -> str:
    """A word that nothing else prints."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class HostScript:
    """What one host is to do."""

    host: Host
    names: tuple[str, ...] | None
    """Of what it does it for; None: it will tell."""
    body: str


class _Ended(ActionLifecycleHandler):
    def end(self, action: VMAction) -> None:
        action._on_all_told()


class VMAction(TaktukRemote):
    """Commands for many VMs: all hosts through one TakTuk tree, all commands of a host in one remote process.

    It is not started when it is returned: ``.run()`` does it.  It raises nothing for a VM that fails: see `results` and `failures`.
    """

    def __init__(self, what: str, scripts: Iterable[HostScript], nonce: str, connection_params: Mapping[str, Any] | None = None,
                 timeout: Duration | None = None, ignored: Sequence[str] = (),
                 then: Callable[[Mapping[str, VMResult]], None] | None = None, wrap: Callable[[VMResult], VMResult] | None = None) -> None:
        self._what, self._nonce, self._ignored, self._then, self._wrap = what, nonce, tuple(ignored), then, wrap
        self._scripts = list(scripts)
        self._told: dict[str, VMResult] | None = None
        quiet = {"timeout": timeout, "nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "nolog_write_error": True}
        super().__init__(COMMAND, [script.host for script in self._scripts], connection_params, quiet, name=what)
        self.lifecycle_handlers.append(_Ended())

    def start(self) -> Self:
        super().start()
        for script, process in zip(self._scripts, self.processes, strict=True):
            process.write(head() + script.body)
            process.close_stdin()
        return self

    @property
    def results(self) -> dict[str, VMResult]:
        """{id of a VM: its outcome}; before the end, of those of which something is known."""
        if self._told is not None:
            return dict(self._told)
        return self._read(final=False)

    @property
    def failures(self) -> dict[str, str]:
        """{id of a VM: why it failed}."""
        return {name: result.reason for name, result in self.results.items() if result.reason is not None}

    @property
    def failed_hosts(self) -> dict[str, str]:
        """{address: why} of the hosts whose process failed as a whole: not reached, dead, too late."""
        return {script.host.address: problem for script, process in zip(self._scripts, self.processes, strict=True)
                if process.ended and (problem := _problem(process)) is not None}

    @property
    def ok(self) -> bool:
        """Nothing has failed, so far."""
        return not self.failures and not self.failed_hosts

    def reset(self) -> Self:
        super().reset()
        self._told = None
        return self

    def _read(self, final: bool) -> dict[str, VMResult]:
        found: dict[str, VMResult] = {}
        for script, process in zip(self._scripts, self.processes, strict=True):
            read = attribute(script.host.address, script.names, process.stdout, self._nonce, _problem(process), self._ignored)
            for name, result in read.items():
                if final or process.ended or (result.output or result.ok):
                    wrapped = result if self._wrap is None else self._wrap(result)
                    if name not in found or found[name].ok:       # a name may be another's on another host
                        found[name] = wrapped
        return found

    def _on_all_told(self) -> None:
        self._told = self._read(final=True)
        if self._then is not None:
            self._then(self._told)
        if any(not result.ok for result in self._told.values()):
            logger.warning("%s", summary(self._what, self._told))
        elif self.failed_hosts:
            logger.warning("%s: %s", self._what, "; ".join(f"{address}: {why}" for address, why in self.failed_hosts.items()))

    def _args(self) -> list[str]:
        return [repr(self._what), repr(self._hosts)]


def _problem(process: Any) -> str | None:
    """Why the process of a host failed, in one line; None: it did not."""
    if not process.ended:
        return "it has not ended"
    if process.timeouted:
        return f"no end within {process.timeout} s"
    if process.error:
        return f"{process.error_reason}"
    if process.killed and process.exit_code != 0:
        return "it was killed"
    if process.exit_code != 0:
        said = [line for line in process.stderr.split("\n") if line.strip()]
        return f"exit code {process.exit_code}{': ' + said[-1] if said else ''}"
    return None


class VMSequence(SequentialActions):
    """Several `VMAction`, one after the other; what has failed in one may fail again in the next ones."""

    @property
    def results(self) -> dict[str, VMResult]:
        """{id of a VM: its first failure, or else its last outcome}."""
        found: dict[str, VMResult] = {}
        for action in self.actions:
            assert isinstance(action, VMAction)
            for name, result in action.results.items():
                if name not in found or found[name].ok:
                    found[name] = result
        return found

    @property
    def failures(self) -> dict[str, str]:
        """{id of a VM: why it failed}."""
        return {name: result.reason for name, result in self.results.items() if result.reason is not None}

    @property
    def failed_hosts(self) -> dict[str, str]:
        """{address: why} of the hosts whose process failed as a whole in one of them; the first reason."""
        found: dict[str, str] = {}
        for action in self.actions:
            assert isinstance(action, VMAction)
            found = {**action.failed_hosts, **found}
        return found

    @property
    def ok(self) -> bool:
        return all(action.ok for action in self.actions)
