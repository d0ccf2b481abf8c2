"""The commands and their arguments."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys

from execo.exception import ProcessesFailed
from execo.log import logger

from ..api_utils import APIException
from . import act, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code: 1 if what it was asked for is not to be had, 2 if it could not be done."""
    args = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = args.run
    with _log_on_stderr("INFO" if args.verbose else "WARNING"):
        return _run(args, run)


@contextlib.contextmanager
def _log_on_stderr(level: str) -> Iterator[None]:
    """Standard output is for the answer."""
    handlers, before = logger.handlers[:], logger.level
    here = logging.StreamHandler(sys.stderr)
    here.setFormatter(handlers[0].formatter if handlers else None)
    logger.handlers[:] = [here]
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(before)


def _run(args: argparse.Namespace, run: Callable[[argparse.Namespace], int]) -> int:
    try:
        return run(args)
    except BrokenPipeError:             # `| head`
        # Python would complain at exit that the rest cannot be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, LookupError, ImportError, RuntimeError, APIException, ProcessesFailed) as error:
        print(f"execo_g5k {args.command}: {_line(error)}", file=sys.stderr)
        return 2


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m execo_g5k", description="Look at Grid'5000, reserve, and tidy up.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=help, description=help)
        found.set_defaults(run=run)
        found.add_argument("--json", action="store_true", help="for programs: dates are Unix seconds, lengths seconds")
        found.add_argument("-v", "--verbose", action="store_true", help="say on standard error what is done")
        return found

    def elements(found: argparse.ArgumentParser) -> None:
        found.add_argument("elements", metavar="ELEMENT", nargs="*", help="sites, clusters or hosts. Default = all")

    def where(found: argparse.ArgumentParser) -> None:
        found.add_argument("--where", metavar="CONDITION", help="only hosts like that: 'cores >= 8 and memory >= 32GB'")

    def queue(found: argparse.ArgumentParser) -> None:
        found.add_argument("-q", "--queue", default="default", help="of the clusters; 'all' for all. Default = default")

    def walltime(found: argparse.ArgumentParser, default: str | None = "1:00:00") -> None:
        found.add_argument("-w", "--walltime", default=default, required=default is None, metavar="H:MM:SS",
                           help="duration" + (f". Default = {default}" if default else ""))

    found = command("hosts", look.hosts, "Hosts by their hardware; 1 if there is none.")
    where(found)
    queue(found)
    found.add_argument("--site", help="only there")
    found.add_argument("-n", "--number", type=_positive, help="so many")
    found.add_argument("--same", choices=("switch", "cluster", "site"), help="all on the same one")
    found.add_argument("--names", action="store_true", help="only the names, one a line")
    found = command("free", look.free, "How many hosts are free now, for a while; 1 if none is.")
    elements(found)
    where(found)
    queue(found)
    walltime(found)
    found = command("slots", look.slots, "When so many hosts are free; 1 if never in the next four weeks.")
    found.add_argument("resources", metavar="NAME[=NUMBER]", nargs="+", help="hosts of a site, a cluster, or grid5000: lyon=2")
    where(found)
    queue(found)
    walltime(found)
    found.add_argument("--nights", action="store_true", help="only in nights, at week-ends and on holidays")
    found.add_argument("-n", "--number", type=_positive, default=10, help="so many slots. Default = 10")
    found = command("gantt", look.gantt, "When hosts are busy, as a figure or as JSON.")
    elements(found)
    where(found)
    queue(found)
    found.add_argument("-o", "--output", metavar="FILE", help="image: its suffix says which kind")
    found = command("reserve", act.reserve, "Reserve hosts at the first slot that the charter allows, on all sites at once.")
    found.add_argument("resources", metavar="NAME=NUMBER", nargs="+", help="hosts of a site, a cluster, or grid5000: lyon=2")
    where(found)
    found.add_argument("-q", "--queue", help="of the jobs. Default = that of clusters that are named, else default")
    walltime(found, None)
    found.add_argument("--nights", action="store_true", help="only in nights, at week-ends and on holidays")
    found.add_argument("--no-charter", action="store_true", help="also where the charter would be broken")
    found.add_argument("-t", "--type", action="append", default=[], help="type of the jobs, such as deploy; may be repeated")
    found.add_argument("--name", default="execo", help="of the jobs. Default = execo")
    found.add_argument("--exclude", metavar="ELEMENT", action="append", default=[], help="not that site, cluster or host; may be repeated")
    found.add_argument("--wait", action="store_true", help="until they run, and print the hosts")
    found.add_argument("--dry-run", action="store_true", help="only print when and where; 1 if never")
    found = command("jobs", act.jobs, "Own jobs that have not ended; 1 if a site does not answer.")
    found.add_argument("sites", metavar="SITE", nargs="*", help="Default = all")
    found = command("del", act.delete_jobs, "Delete jobs; 1 if one is not.")
    found.add_argument("jobs", metavar="ID@SITE", nargs="*")
    found.add_argument("--grid", type=_positive, action="append", default=[], metavar="ID", help="a whole reservation; may be repeated")
    found.add_argument("--all-grids", action="store_true", help="all reservations that were made from this machine")
    found = command("charter", look.charter, "What the usage policy leaves of a day; 1 if it is exceeded, or a job would break it.")
    found.add_argument("sites", metavar="SITE", nargs="*", help="Default = all")
    found.add_argument("--day", metavar="YYYY-MM-DD", help="Default = today")
    found.add_argument("-u", "--user", help="Default = you")
    found.add_argument("--cores", metavar="CLUSTER=NUMBER", action="append", default=[], help="would a job with these cores be allowed?")
    found.add_argument("--at", metavar="DATE", help="start of that job, in Paris: 'YYYY-MM-DD HH:MM:SS'. Default = now")
    walltime(found)
    found.add_argument("--rules", action="store_true", help="print the rules, and since when they are known")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text!r}")
    return number
