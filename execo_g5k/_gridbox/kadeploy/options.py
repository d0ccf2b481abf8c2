"""Options of kadeploy3, kareboot3, kapower3 and kanodes3, as OptionParser of Ruby takes them: also by unique abbreviations."""

from __future__ import annotations

import argparse

from execo.hostset import expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

DEFAULT_KEY = "~/.ssh/authorized_keys"
LEVELS = ("soft", "hard", "very_hard")
REBOOTS = ("simple", "set_pxe", "deploy_env", "recorded_env")


class Failure(Exception):
    """A command ends before its time.

    :param code: its exit status.
    :param text: what it says on stderr.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


def server_error(number: int, text: str) -> Failure:
    """The server refuses, with an error that has a number."""
    return Failure(number, f"{text}\n[Kadeploy Error #{number}]")


class Parser(argparse.ArgumentParser):
    """Its errors are `Failure`."""

    def error(self, message: str) -> NoReturn:
        raise Failure(1, f"Option parsing error: {message}")

    def add(self, *options: str) -> None:
        """Each ``-x/--long``: one with a value; ``--[no-]long`` can be switched off; one that ends with ``!`` has no value."""
        for option in options:
            if "[no-]" in option:
                self.add_argument(*option.replace("[no-]", "").split("/"), action=argparse.BooleanOptionalAction)
            elif option.endswith("!"):
                self.add_argument(*option[:-1].split("/"), action="store_true")
            else:
                self.add_argument(*option.split("/"))


def _parser(program: str) -> Parser:
    """What all clients take."""
    parser = Parser(prog=program, add_help=False)
    parser.add("-h/--help!", "-v/--version!", "-I/--server-info!", "-M/--multi-server!", "-H/--[no-]debug-http", "-S/--server",
               "--[no-]dry-run")
    parser.add_argument("--password", nargs="?")
    parser.add_argument("-m", "--machine", action="append", default=[])
    parser.add_argument("-f", "--file", action="append", default=[])
    return parser


def _workflow_parser(program: str) -> Parser:
    """What those take that have something done to nodes."""
    parser = _parser(program)
    parser.add("-d/--[no-]debug-mode", "-o/--output-ok-nodes", "-n/--output-ko-nodes", "-s/--script", "--write-workflow-id", "--[no-]force",
               "--breakpoint", "--custom-steps", "--[no-]hook")
    parser.add_argument("-V", "--verbose-level", type=int, default=3, choices=range(1, 6))
    parser.add_argument("--wait", action=argparse.BooleanOptionalAction, default=True)
    return parser


def _add_boot(parser: Parser) -> None:
    parser.add("-b/--block-device", "-e/--env-name", "-u/--env-user", "--env-version", "-p/--partition-number", "--vlan",
               "-w/--set-pxe-profile", "--set-pxe-pattern", "-x/--upload-pxe-files", "--reboot-classical-timeout")
    parser.add_argument("-k", "--key", nargs="?", const=DEFAULT_KEY)


def kadeploy_parser() -> Parser:
    """Of kadeploy3."""
    parser = _workflow_parser("kadeploy3")
    _add_boot(parser)
    parser.add("-a/--env-file", "-c/--boot-partition", "-r/--reformat-tmp", "--no-kexec!", "--disable-bootloader-install!",
               "--disable-disk-partitioning!", "--reboot-kexec-timeout", "--force-steps", "--[no-]secure")
    return parser


def kareboot_parser() -> Parser:
    """Of kareboot3."""
    parser = _workflow_parser("kareboot3")
    _add_boot(parser)
    parser.add_argument("-r", "--reboot-kind", choices=REBOOTS, default=REBOOTS[0])
    parser.add_argument("-l", "--reboot-level", choices=LEVELS, default=LEVELS[0])
    return parser


def kapower_parser() -> Parser:
    """Of kapower3."""
    parser = _workflow_parser("kapower3")
    parser.add_argument("-l", "--level", choices=LEVELS, default=LEVELS[0])
    for operation in ("on", "off", "status"):
        parser.add_argument(f"--{operation}", dest="operation", action="store_const", const=operation)
    return parser


def kanodes_parser() -> Parser:
    """Of kanodes3."""
    parser = _parser("kanodes3")
    parser.add("-s/--get-status!", "-d/--get-deployments!", "-r/--get-reboots!", "-p/--get-powers!", "-c/--get-consoles!", "-a/--get-all!",
               "-w/--workflow")
    return parser


def output_files(given: argparse.Namespace) -> list[str]:
    """Files for the lists of nodes, which are made when options are read.

    :raises Failure: for options that exclude each other.
    """
    outputs = [file for file in (given.output_ok_nodes, given.output_ko_nodes) if file]
    if len(outputs) != len(set(outputs)) or (outputs and not given.wait):
        raise Failure(1, "Option parsing error: invalid argument: the files of nodes")
    return outputs


def machines(given: argparse.Namespace, read: Callable[[str], str]) -> list[str]:
    """The nodes of ``-m`` and ``-f``, each once.

    :raises Failure: for what is no name.
    """
    try:
        nodes = [node for machine in given.machine for node in expand(machine)]
    except ValueError as error:
        raise Failure(1, f"Option parsing error: invalid argument: {error}") from None
    for file in given.file:
        nodes += [line.strip() for line in read(file).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return list(dict.fromkeys(nodes))


def named_nodes(given: argparse.Namespace, read: Callable[[str], str]) -> list[str]:
    """`machines`, of which there must be one.

    :raises Failure: if there is none.
    """
    nodes = machines(given, read)
    if not nodes:
        raise Failure(1, "No node is chosen")
    return nodes


def check_environment(given: argparse.Namespace) -> None:
    """:raises Failure: if none was chosen."""
    chosen: Sequence[str | None] = (given.env_name, getattr(given, "env_file", None))
    if not any(chosen):
        raise Failure(1, "You must choose an environment")
