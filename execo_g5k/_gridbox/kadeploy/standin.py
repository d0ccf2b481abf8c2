"""What kadeploy3 prints, and how it is called; and a program that does just that, for tests of its callers.

Run as a program, its settings are the file of JSON that KADEPLOY3_SETTINGS names; `install` writes both.  All settings:

nodes           names that exist; absent: any
environments    names that exist; absent: any
step            seconds of each micro-step (0.01)
fail            {node: [micro-step, message, times]}: it fails there so often; the macro-step is tried twice
silent          nodes of which the lists at the end say nothing
busy            nodes that another deployment has
error           [number, text]: the server refuses
down            the server does not answer
hang            micro-step that never ends
deaf            an interruption is ignored
log             file to which each call, and each cancelled deployment, is appended
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from execo.hostset import fold

from .options import LEVELS, Failure, check_environment, kadeploy_parser, named_nodes, output_files, server_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

MACROS = (
    ("SetDeploymentEnvUntrusted", ("switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env", "create_partition_table",
                                   "format_deploy_part", "mount_deploy_part", "format_swap_part")),
    ("BroadcastEnvChain", ("send_environment", "manage_user_post_install", "check_kernel_files", "send_key", "install_bootloader", "sync")),
    ("BootNewEnvClassical", ("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "wait_reboot")),
)
MICROS = {micro for _, micros in MACROS for micro in micros} | {"set_vlan", "power"}
TRIES = 2


@dataclass(frozen=True)
class Kind:
    """What can be done to nodes, in the words of Kadeploy."""

    letter: str
    """That its ids begin with."""
    verb: str
    name: str
    tries: int
    """Of each macro-step."""


DEPLOY = Kind("D", "Deploy", "deployment", TRIES)
REBOOT = Kind("R", "Reboot", "reboot operation", 1)
POWER = Kind("P", "Power", "power operation", 1)


def new_id(letter: str = DEPLOY.letter) -> str:
    """Of a workflow."""
    return f"{letter}-{uuid.uuid4()}"


def final_lists(ok: Iterable[str], ko: Mapping[str, str], kind: Kind = DEPLOY) -> list[str]:
    """The blocks at the end."""
    lines: list[str] = []
    for word, named in (("is successful", list(ok)), ("failed", [f"{node} ({reason})" for node, reason in ko.items()])):
        if named:
            lines += [f"The {kind.name} {word} on nodes", *named]
    return lines


class Run:
    """The steps of one deployment, as they are printed.

    :param level: verbosity, 1 to 5.
    """

    kind = DEPLOY

    def __init__(self, settings: dict[str, Any], level: int) -> None:
        self.settings = settings
        self.level = level
        self.ok: list[str] = []
        self.ko: dict[str, str] = {}
        self._lock = threading.Lock()
        self._nodesets = 0

    def say(self, prefix: str, text: str) -> None:
        """Print lines."""
        with self._lock:
            print(prefix + text, flush=True)

    def fails(self, node: str, macro: str, micro: str) -> str | None:
        """Why a step fails on a node, once it is over."""
        fault = self.settings.get("fail", {}).get(node)
        if fault is None or fault[0] != micro or fault[2] <= 0:
            return None
        fault[2] -= 1
        return str(fault[1])

    def macros(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(macro-step, its micro-steps)."""
        return MACROS

    def go(self, nodes: list[str], prefix: str, macro_number: int, micro_number: int, attempt: int, start: float) -> None:
        """Deploy them from a step on."""
        macros = self.macros()
        while macro_number < len(macros):
            macro, micros = macros[macro_number]
            began = time.time()
            if micro_number == 0:
                self.say(prefix, f"Performing a {self.kind.verb}[{macro}] step")
            bad: dict[str, str] = {}
            while micro_number < len(micros):
                micro = micros[micro_number]
                micro_number += 1
                self.micro(prefix, nodes, macro, micro, attempt)
                bad = {node: f"{macro}-{micro}: {message}" for node in nodes if (message := self.fails(node, macro, micro)) is not None}
                if bad:
                    self.say(prefix, f"!!! The nodes {fold(bad)} failed on step {micro}")
                    self.say(prefix, f"Step {self.kind.verb}[{macro}] failed for {fold(bad)} after {int(time.time() - began)}s")
                    break
            if not bad:
                self.say(prefix, f"End of step {self.kind.verb}[{macro}] after {int(time.time() - began)}s")
                macro_number, micro_number, attempt = macro_number + 1, 0, 0
                continue
            good = [node for node in nodes if node not in bad]
            if attempt + 1 < self.kind.tries:
                self.split(good, list(bad), prefix, (macro_number, micro_number), attempt, start)
                return
            with self._lock:
                self.ko.update(bad)
            nodes = good
            if not nodes:
                return
        self.say(prefix, f"End of {self.kind.name} for {fold(nodes)} after {int(time.time() - start)}s")
        with self._lock:
            self.ok += nodes

    def split(self, good: list[str], bad: list[str], prefix: str, reached: tuple[int, int], attempt: int, start: float) -> None:
        """Go on with those that have not failed, and try the others again."""
        if not good:
            self.go(bad, prefix, reached[0], 0, attempt + 1, start)
            return
        with self._lock:
            self._nodesets += 2
            one, two = f"[{self._nodesets - 1}] ", f"[{self._nodesets}] "
        lines = ["---", f"Nodeset {prefix.strip() or '[0]'} split into :", f"  {one}{fold(good)}", f"  {two}{fold(bad)}", "---"]
        for line in lines:
            self.say(prefix, line)
        parts = [threading.Thread(target=self.go, args=arguments) for arguments in (
            (good, one, *reached, attempt, start), (bad, two, reached[0], 0, attempt + 1, start))]
        for part in parts:
            part.start()
        for part in parts:
            part.join()

    def micro(self, prefix: str, nodes: list[str], macro: str, micro: str, attempt: int) -> None:
        """One micro-step."""
        self.say(prefix, f"  {micro}")
        if micro == "reboot":
            self.say(prefix, f"   * Performing a {self.reboot_level(attempt)} reboot on {fold(nodes)}")
        self.work(nodes, macro, micro)
        if micro == "send_environment":
            self.say(prefix, "   * Broadcast time: 3s")
        if self.level >= 4:
            self.say(prefix, f"   ~ Time in {micro}: 0s")

    def reboot_level(self, attempt: int) -> str:
        """How hard nodes are made to boot."""
        return LEVELS[min(attempt, 1)]

    def work(self, nodes: list[str], macro: str, micro: str) -> None:
        """What a step does."""
        while self.settings.get("hang") == micro:
            time.sleep(3600)
        time.sleep(self.settings.get("step", 0.01))


# -- the program that only prints -------------------------------------------------------------------------------------------------------


def install(folder: Path, name: str = "kadeploy3", **settings: Any) -> Path:
    """Write the command, with these settings, into a folder that exists; its path."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"log": str(folder / f"{name}.log"), **settings}))
    path = folder / name
    words = (sys.executable, "-m", "execo_g5k._gridbox.kadeploy.standin")
    python_path = os.pathsep.join(os.path.abspath(part) for part in sys.path)
    path.write_text(f"#!/bin/sh\nKADEPLOY3_SETTINGS={shlex.quote(str(file))} PYTHONPATH={shlex.quote(python_path)}"
                    f" exec {shlex.join(words)} \"$@\"\n")
    path.chmod(0o755)
    return path


def calls(command: Path) -> list[str]:
    """What it was called with, and what was cancelled."""
    log = command.with_name(f"{command.name}.log")
    return log.read_text().splitlines() if log.exists() else []


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text()


def main(argv: list[str], settings: dict[str, Any]) -> int:
    log = Path(settings["log"])

    def note(text: str) -> None:
        with log.open("a") as file:
            file.write(text + "\n")

    note(shlex.join(argv))
    try:
        given = kadeploy_parser().parse_args(argv)
        for file in output_files(given):
            Path(file).write_text("")
        nodes = named_nodes(given, _read)
        check_environment(given)
        _refuse(given, nodes, settings)
        return _deploy(given, nodes, settings, note)
    except Failure as failure:
        print(failure.text, file=sys.stderr, flush=True)
        return failure.code


def _refuse(given: argparse.Namespace, nodes: list[str], settings: dict[str, Any]) -> None:
    if settings.get("down"):
        raise Failure(1, "The H server is unreachable")
    unknown = [node for node in nodes if node not in settings.get("nodes", nodes)]
    if unknown:
        raise Failure(1, f"The nodes {fold(unknown)} does not belongs to any server")
    if given.env_name and given.env_name not in settings.get("environments", [given.env_name]):
        raise Failure(1, "Resource not found /environments")
    if "error" in settings:
        raise server_error(*settings["error"])


def _deploy(given: argparse.Namespace, nodes: list[str], settings: dict[str, Any], note: Callable[[str], None]) -> int:
    workflow = new_id()
    if given.write_workflow_id:
        Path(given.write_workflow_id).write_text(workflow)
    if not given.wait:
        print(f"{workflow} http://localhost:25300/deployment/{workflow}")
        return 0

    def interrupted(*_: object) -> None:
        note(f"cancelled {workflow}")
        os.write(1, b"\nSIGINT trapped\n")
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN if settings.get("deaf") else interrupted)
    if settings.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run = Run(settings, given.verbose_level)
    run.say("", f"Deployment #{workflow} started")
    if given.key and given.verbose_level in (3, 4):
        run.say("", f"Grab the key file {Path(given.key).expanduser()}")
    run.say("", "Grab the tarball file server:///images/env.tgz")
    busy = [node for node in nodes if node in settings.get("busy", ())]
    if busy:
        run.say("", f"The nodes {fold(busy)} are already involved in deployment, let's discard them")
        nodes = [node for node in nodes if node not in busy]
        if not nodes:
            raise server_error(14, "Nothing modified -- all nodes have been discarded")
    run.say("", f"Launching a deployment on {fold(nodes)}")
    worker = threading.Thread(target=run.go, args=(nodes, "", 0, 0, 0, time.time()), daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.2)            # a signal is handled between two of these
    run.say("", f"End of deployment on cluster {nodes[0].rpartition('-')[0]} after 1s")
    run.say("", f"Deployment #{workflow} done")
    run.say("", "")
    silent = settings.get("silent", ())
    ok = [node for node in nodes if node in run.ok and node not in silent]
    ko = {node: run.ko[node] for node in nodes if node in run.ko and node not in silent}
    lines = final_lists(ok, ko)
    if lines:
        run.say("", "\n".join(lines))
    for file, listed in ((given.output_ok_nodes, ok), (given.output_ko_nodes, ko)):
        if file:
            Path(file).write_text("".join(f"{node}\n" for node in listed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], json.loads(Path(os.environ["KADEPLOY3_SETTINGS"]).read_text())))
