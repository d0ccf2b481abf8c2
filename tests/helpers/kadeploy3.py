"""A stand-in for kadeploy3: it prints what the real one prints, and takes the time that it is told to.

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

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, NoReturn

from execo.hostset import expand, fold

MACROS = (
    ("SetDeploymentEnvUntrusted", ("switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env", "create_partition_table",
                                   "format_deploy_part", "mount_deploy_part", "format_swap_part")),
    ("BroadcastEnvChain", ("send_environment", "manage_user_post_install", "check_kernel_files", "send_key", "install_bootloader", "sync")),
    ("BootNewEnvClassical", ("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "wait_reboot")),
)
TRIES = 2


def install(folder: Path, name: str = "kadeploy3", **settings: Any) -> Path:
    """Write the command, with these settings, into a folder that exists; its path."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"log": str(folder / f"{name}.log"), **settings}))
    path = folder / name
    words = (sys.executable, __file__)
    python_path = os.pathsep.join(part for part in sys.path if part)
    path.write_text(f"#!/bin/sh\nKADEPLOY3_SETTINGS={shlex.quote(str(file))} PYTHONPATH={shlex.quote(python_path)}"
                    f" exec {shlex.join(words)} \"$@\"\n")
    path.chmod(0o755)
    return path


def calls(command: Path) -> list[str]:
    """What it was called with, and what was cancelled."""
    log = command.with_name(f"{command.name}.log")
    return log.read_text().splitlines() if log.exists() else []


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(1, f"Option parsing error: {message}")


def fail(code: int, text: str) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    os._exit(code)


def options(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="kadeploy3")
    parser.add_argument("-d", "--debug-mode", action=argparse.BooleanOptionalAction)
    parser.add_argument("-m", "--machine", action="append", default=[])
    parser.add_argument("-f", "--file", action="append", default=[])
    parser.add_argument("-o", "--output-ok-nodes")
    parser.add_argument("-n", "--output-ko-nodes")
    parser.add_argument("-a", "--env-file")
    parser.add_argument("-e", "--env-name")
    parser.add_argument("-u", "--env-user")
    parser.add_argument("--env-version")
    parser.add_argument("-k", "--key", nargs="?", const="~/.ssh/authorized_keys")
    parser.add_argument("-V", "--verbose-level", type=int, default=3)
    parser.add_argument("--write-workflow-id")
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--force", action=argparse.BooleanOptionalAction)
    for option in ("-b/--block-device", "-p/--partition-number", "-r/--reformat-tmp", "-s/--script", "--vlan", "--force-steps",
                   "--reboot-classical-timeout", "--reboot-kexec-timeout"):
        parser.add_argument(*option.split("/"))
    return parser.parse_args(argv)


class Run:
    """One deployment."""

    def __init__(self, settings: dict[str, Any], level: int) -> None:
        self.settings = settings
        self.level = level
        self.ok: list[str] = []
        self.ko: dict[str, str] = {}
        self._lock = threading.Lock()
        self._nodesets = 0

    def say(self, prefix: str, text: str) -> None:
        with self._lock:
            print(prefix + text, flush=True)

    def fails(self, node: str, micro: str) -> str | None:
        fault = self.settings.get("fail", {}).get(node)
        if fault is None or fault[0] != micro or fault[2] <= 0:
            return None
        fault[2] -= 1
        return str(fault[1])

    def go(self, nodes: list[str], prefix: str, macro_number: int, micro_number: int, attempt: int, start: float) -> None:
        """Deploy them from a step on."""
        while macro_number < len(MACROS):
            macro, micros = MACROS[macro_number]
            began = time.time()
            if micro_number == 0:
                self.say(prefix, f"Performing a Deploy[{macro}] step")
            bad: dict[str, str] = {}
            while micro_number < len(micros):
                micro = micros[micro_number]
                micro_number += 1
                self.micro(prefix, nodes, micro, attempt)
                bad = {node: f"{macro}-{micro}: {message}" for node in nodes if (message := self.fails(node, micro)) is not None}
                if bad:
                    self.say(prefix, f"!!! The nodes {fold(bad)} failed on step {micro}")
                    self.say(prefix, f"Step Deploy[{macro}] failed for {fold(bad)} after {int(time.time() - began)}s")
                    break
            if not bad:
                self.say(prefix, f"End of step Deploy[{macro}] after {int(time.time() - began)}s")
                macro_number, micro_number, attempt = macro_number + 1, 0, 0
                continue
            good = [node for node in nodes if node not in bad]
            if attempt + 1 < TRIES:
                self.split(good, list(bad), prefix, (macro_number, micro_number), attempt, start)
                return
            with self._lock:
                self.ko.update(bad)
            nodes = good
            if not nodes:
                return
        self.say(prefix, f"End of deployment for {fold(nodes)} after {int(time.time() - start)}s")
        with self._lock:
            self.ok += nodes

    def split(self, good: list[str], bad: list[str], prefix: str, reached: tuple[int, int], attempt: int, start: float) -> None:
        if not good:
            self.go(bad, prefix, reached[0], 0, attempt + 1, start)
            return
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

    def micro(self, prefix: str, nodes: list[str], micro: str, attempt: int) -> None:
        self.say(prefix, f"  {micro}")
        if micro == "reboot":
            self.say(prefix, f"   * Performing a {'hard' if attempt else 'soft'} reboot on {fold(nodes)}")
        while self.settings.get("hang") == micro:
            time.sleep(3600)
        time.sleep(self.settings.get("step", 0.01))
        if micro == "send_environment":
            self.say(prefix, "   * Broadcast time: 3s")
        if self.level >= 4:
            self.say(prefix, f"   ~ Time in {micro}: 0s")


def main(argv: list[str], settings: dict[str, Any]) -> int:
    log = Path(settings["log"])

    def note(text: str) -> None:
        with log.open("a") as file:
            file.write(text + "\n")

    note(shlex.join(argv))
    given = options(argv)
    outputs = [file for file in (given.output_ok_nodes, given.output_ko_nodes) if file]
    if len(outputs) != len(set(outputs)) or (outputs and not given.wait):
        fail(1, "Option parsing error: invalid argument: the files of nodes")
    for file in outputs:
        Path(file).write_text("")
    nodes = list(dict.fromkeys(node for machine in given.machine for node in expand(machine)))
    for file in given.file:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        nodes += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not nodes:
        fail(1, "No node is chosen")
    if not given.env_name and not given.env_file:
        fail(1, "You must choose an environment")
    if settings.get("down"):
        fail(1, "The H server is unreachable")
    unknown = [node for node in nodes if node not in settings.get("nodes", nodes)]
    if unknown:
        fail(1, f"The nodes {fold(unknown)} does not belongs to any server")
    if given.env_name and given.env_name not in settings.get("environments", [given.env_name]):
        fail(1, "Resource not found /environments")
    if "error" in settings:
        number, text = settings["error"]
        fail(number, f"{text}\n[Kadeploy Error #{number}]")
    return deploy(given, nodes, settings, note)


def deploy(given: argparse.Namespace, nodes: list[str], settings: dict[str, Any], note: Any) -> int:
    workflow = f"D-{uuid.uuid4()}"
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
            fail(14, "Nothing modified -- all nodes have been discarded\n[Kadeploy Error #14]")
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
    ko = [node for node in nodes if node in run.ko and node not in silent]
    for word, named in (("is successful", ok), ("failed", [f"{node} ({run.ko[node]})" for node in ko])):
        if named:
            run.say("", "\n".join([f"The deployment {word} on nodes", *named]))
    for file, listed in ((given.output_ok_nodes, ok), (given.output_ko_nodes, ko)):
        if file:
            Path(file).write_text("".join(f"{node}\n" for node in listed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], json.loads(Path(os.environ["KADEPLOY3_SETTINGS"]).read_text())))
