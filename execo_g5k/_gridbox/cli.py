"""``python -m execo_g5k.gridbox``: keep a box up for other programs, or run one program in it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from execo.log import logger

from .box import ISOLATIONS, OARS, GridBox
from .clock import BoxClock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

USAGE = """\
{box!r}
{sites}

Run a script in it, from another terminal:
    {environment} python campaign.py
Log in on a frontend, on a node:
    {ssh} {frontend}
    {ssh} {node}
The API:
    curl {api}sites

{end} ends it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """A signal asks us to end.

    :param number: which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m execo_g5k.gridbox", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A small Grid'5000 on this machine: kept up until Ctrl-C, or as long as one program runs.",
        epilog="examples:\n  python -m execo_g5k.gridbox\n  python -m execo_g5k.gridbox --nodes-per-cluster 2 run campaign.py --verbose\n"
               "  python -m execo_g5k.gridbox --start '2026-03-20 18:55' --rate 60 --charter run campaign.py")
    parser.add_argument("--oar", choices=OARS, default="auto", help="OAR itself, or a small scheduler behind its commands")
    parser.add_argument("--isolation", choices=[str(kind).lower() for kind in ISOLATIONS], default="auto", help="of the nodes")
    parser.add_argument("--nodes-per-cluster", type=int, metavar="N", help="at most so many of each cluster")
    parser.add_argument("--sites", help="some of lyon,nancy,rennes")
    parser.add_argument("--start", metavar="DATE", help="the date when it begins, 'YYYY-MM-DD hh:mm:ss' in Paris")
    parser.add_argument("--rate", type=float, default=1.0, help="seconds of its clock for each second")
    parser.add_argument("--charter", action="store_true", help="refuse jobs that break the usage policy")
    parser.add_argument("--guests", action="store_true", help="with a guest for virtual machines on deployed nodes; needs root")
    parser.add_argument("--directory", metavar="DIR", help="where the .execo.conf.py is written; default: a new folder")
    parser.add_argument("--json", action="store_true", help="say how it is used as one line of JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="run SCRIPT [ARGUMENT...]", help="a Python script, or any command")
    return parser


def describe(box: GridBox, environment: Mapping[str, str]) -> dict[str, Any]:
    """How it is used, for programs."""
    return {"pid": os.getpid(), "oar": box.oar_kind, "api_uri": box.api_uri, "directory": str(box.directory),
            "ssh_config": str(box.ssh_config), "environment": dict(environment),
            "sites": {site: {"frontend": site, "nodes": box.reference.hosts(site)} for site in box.sites}}


def format_usage(box: GridBox, environment: Mapping[str, str], terminal: bool) -> str:
    commands = environment["PATH"].partition(os.pathsep)[0]
    words = [f"{name}={shlex.quote(value)}" for name, value in environment.items() if name != "PATH"]
    words.append(f"PATH={shlex.quote(commands)}:$PATH")
    sites = [f"{site}: " + ", ".join(f"{name} ({len(nodes)})" for name, nodes in box.reference.sites[site]["nodes"].items())
             for site in box.sites]
    return USAGE.format(box=box, sites="\n".join(sites), environment=" ".join(words), api=box.api_uri,
                        ssh=f"ssh -F {shlex.quote(str(box.ssh_config))}", frontend=box.sites[0], node=box.reference.hosts()[0],
                        end="Ctrl-C or Ctrl-D" if terminal else "SIGTERM or SIGINT")


def run_in(box: GridBox, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit code of a command that uses the box; a ``.py`` is run by this interpreter."""
    words = [sys.executable, *command] if command[0].endswith(".py") else list(command)
    if box.host_table is not None:          # names of nodes mean something to the script itself too
        words = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(box.host_table), *words]
    process = subprocess.Popen(words, env={**os.environ, **environment})
    try:
        code = process.wait()
    except BaseException:
        # a Ctrl-C at a terminal has reached it already; SIGTERM was meant for us
        process.terminate()
        process.wait()
        raise
    return code if code >= 0 else 128 - code


def keep_up(box: GridBox, environment: Mapping[str, str], as_json: bool) -> None:
    """Say how it is used, and wait for a signal or the end of a terminal's input."""
    terminal = sys.stdin is not None and sys.stdin.isatty()
    print(json.dumps(describe(box, environment)) if as_json else format_usage(box, environment, terminal), flush=True)
    if terminal:
        for _ in sys.stdin:
            pass
    else:
        while True:
            signal.pause()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    command = options.command
    if command and (command[0] != "run" or len(command) < 2):
        parser.error(f"expected nothing or 'run SCRIPT', found {shlex.join(command)!r}")
    if options.directory and not os.path.isdir(options.directory):
        parser.error(f"--directory: there is no folder {options.directory!r}")
    if options.json:
        logger.setLevel("WARNING")          # the line of JSON is all that is on standard output

    def stop(number: int, _: object) -> None:
        for handled in SIGNALS:
            signal.signal(handled, lambda *_: None)         # the second Ctrl-C must not cut short the end
        raise _Stop(number)

    before = {handled: signal.signal(handled, stop) for handled in SIGNALS}
    try:
        with ExitStack() as stack:
            clock = BoxClock(options.start, options.rate) if options.start or options.rate != 1 else None
            box = stack.enter_context(GridBox(
                oar=options.oar, isolation=None if options.isolation == "none" else options.isolation, clock=clock, charter=options.charter,
                nodes_per_cluster=options.nodes_per_cluster, sites=options.sites.split(",") if options.sites else None,
                guests=options.guests, configure=False))
            home = Path(options.directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="execo-gridbox-home-"))).resolve()
            file = box.write_configuration(home)
            stack.callback(file.unlink, missing_ok=True)
            environment = box.environment(home)
            if command:
                return run_in(box, command[1:], environment)
            keep_up(box, environment, options.json)
    except _Stop as stopped:
        return 128 + stopped.number if command else 0
    except (OSError, ImportError, KeyError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    finally:
        for handled, handler in before.items():
            signal.signal(handled, handler)
    return 0


