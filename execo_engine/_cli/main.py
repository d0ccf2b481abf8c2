"""The commands."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from execo.time_utils import format_duration
from execo_engine._cli.look import Item, items_of, sweep_folder, take_snapshot
from execo_engine._cli.status import status_json, status_text
from execo_engine._plain_json import dumps
from execo_engine._words import combination_words
from execo_engine.notebook import diff_runs, format_differences
from execo_engine.plot import plot_states
from execo_engine.results import Results
from execo_engine.sweep import STATES, SweepDirectory, export_execo2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_CLEAR = "\033[H\033[J"


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code: 1 if it found what it looks for (a problem, a difference), 2 if it could not be done."""
    args = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except BrokenPipeError:             # `| head`
        # Python would complain at exit that the rest cannot be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, LookupError, ImportError) as error:
        print(f"execo_engine {args.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m execo_engine", description="Look at campaigns and sweeps, and tend them.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, directory: bool = True) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=help, description=help)
        found.set_defaults(run=run)
        if directory:
            found.add_argument("directory", metavar="DIR", help="directory of a campaign (what -c was given), or of a ParamSweeper")
        return found

    def choice(found: argparse.ArgumentParser) -> None:
        found.add_argument("--where", metavar="NAME=VALUE", action="append", default=[],
                           help="only combinations with this value; may be repeated")

    found = command("status", _status, "How far it is, how fast it goes, and what has failed.")
    found.add_argument("--watch", action="store_true", help="show it again whenever it changes, until all is done")
    found.add_argument("--json", action="store_true", help="for programs")
    found = command("list", _list, "The combinations, one a line.")
    found.add_argument("--state", choices=STATES, help="only those in this state")
    found.add_argument("--json", action="store_true", help="one JSON object a line")
    choice(found)
    found = command("retry", _retry, "Have failed combinations tried again.")
    choice(found)
    found = command("cancel", _cancel, "Take combinations back that are in progress: those of a machine that is gone, for instance.")
    found.add_argument("--host", help="only those of this machine")
    choice(found)
    found = command("export", _export, "Write the results as a table, or the state for execo 2.8.")
    formats = found.add_mutually_exclusive_group(required=True)
    formats.add_argument("--csv", metavar="FILE", nargs="?", const="-", help="the table of results; without FILE to standard output")
    formats.add_argument("--json", metavar="FILE", nargs="?", const="-", help="the same as JSON")
    formats.add_argument("--execo2", metavar="TARGET", help="a directory that the ParamSweeper of execo 2.8 continues")
    command("verify", _verify, "Check every record; 1 if something is wrong.")
    command("compact", _compact, "Make the journal as small as its content.")
    found = command("plot", _plot, "Draw the states over two parameters.")
    found.add_argument("x", metavar="X", help="parameter of the columns")
    found.add_argument("y", metavar="Y", help="parameter of the rows")
    found.add_argument("file", metavar="FILE", help="image: its suffix says which kind")
    found = command("diff", _diff, "What differed between two runs; 1 if anything did.", directory=False)
    found.add_argument("first", metavar="RUN1", help="directory of a campaign, or a notebook")
    found.add_argument("second", metavar="RUN2")
    return parser


def _status(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory))) as sweep:
        sweep.refresh()
        while True:
            found = take_snapshot(sweep)
            if args.json:
                print(dumps(status_json(found)), flush=True)
            else:
                clear = _CLEAR if args.watch and sys.stdout.isatty() else ""
                print(clear + status_text(found, shutil.get_terminal_size().columns), flush=True)
            if not args.watch or not (found.counts["todo"] or found.counts["inprogress"]):
                return 0
            shown = time.monotonic()
            # Also without change the estimated end moves.
            while not sweep.refresh() and time.monotonic() < shown + 10:
                time.sleep(1)


def _chosen(items: list[Item], where: list[str]) -> list[Item]:
    """Those with all these values."""
    for condition in where:
        name, sign, value = condition.partition("=")
        if not sign:
            raise ValueError(f"--where {condition}: expected NAME=VALUE")
        known = {str(one) for item in items if isinstance(item.combination, dict) for one in item.combination}
        if name not in known and items:
            raise LookupError(f"--where {condition}: there is no parameter {name!r}, only {', '.join(sorted(known)) or 'none'}")
        items = [item for item in items if isinstance(item.combination, dict) and str(item.combination.get(name)) == value]
    return items


def _list(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory))) as sweep:
        items, complete = items_of(sweep)
    for item in _chosen(items, args.where):
        if args.state in (None, item.state):
            print(_json_line(item) if args.json else _line(item))
    if not complete:
        print("combinations that nobody has begun are not listed: the plan is too large to be stored", file=sys.stderr)
    return 0


def _line(item: Item) -> str:
    record = item.record
    parts = [f"{item.state:<10}", combination_words(item.combination)]
    if record is not None and record.attempts > 1:
        parts.append(f"({record.attempts} attempts)")
    if record is not None and record.seconds is not None:
        parts.append(f"({format_duration(round(record.seconds, 3), True)})")
    if record is not None and record.reason:
        parts.append(record.reason)
    return "  ".join(parts)


def _json_line(item: Item) -> str:
    record = item.record
    more = {} if record is None else {
        "attempts": record.attempts, "start_date": record.start_date, "end_date": record.end_date, "seconds": record.seconds,
        "reason": record.reason, "owner": str(record.owner) if record.owner else None}
    return dumps({"combination": item.combination, "state": item.state, **more})


def _retry(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory)), write=True) as sweep:
        items = [item for item in _chosen(items_of(sweep)[0], args.where) if item.state == "failed"]
        number = sweep.retry([item.record for item in items if item.record is not None])
    print(f"{number} combinations will be tried again")
    return 0


def _cancel(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory)), write=True) as sweep:
        items = [item for item in _chosen(items_of(sweep)[0], args.where) if item.state == "inprogress"]
        records = [item.record for item in items if item.record is not None]
        if args.host is not None:
            records = [record for record in records if record.owner is not None and record.owner.host == args.host]
        number = sweep.cancel(records)
    print(f"{number} combinations are remaining again")
    return 0


def _export(args: argparse.Namespace) -> int:
    if args.execo2 is not None:
        for name, number in export_execo2(str(sweep_folder(args.directory)), args.execo2).items():
            print(f"{name}: {number} combinations")
        return 0
    if not (Path(args.directory) / "results.jsonl").is_file():
        raise FileNotFoundError(f"{args.directory}: no results.jsonl is there")
    results = Results(args.directory)
    file = args.csv or args.json
    target = sys.stdout if file == "-" else file
    if args.csv is not None:
        results.to_csv(target)
    else:
        results.to_json(target)
    return 0


def _verify(args: argparse.Namespace) -> int:
    folder = sweep_folder(args.directory)
    with SweepDirectory(str(folder)) as sweep:
        found = sweep.verify()
    print(f"{folder}: {found.records} records, " + ("sound" if found.ok else "NOT sound"))
    for offset, length, reason in found.damaged:
        print(f"  {length} bytes at {offset}: {reason}")
    for problem in found.problems:
        print(f"  {problem}")
    if found.quarantined:
        print(f"  {found.quarantined} damaged pieces were set aside before, in the file quarantine")
    ok = found.ok
    if (Path(args.directory) / "results.jsonl").is_file():
        results = Results(args.directory)
        number = len(results.read())
        print(f"results.jsonl: {number} results, " + ("sound" if not results.damaged else f"and {len(results.damaged)} damaged lines"))
        ok = ok and not results.damaged
    return 0 if ok else 1


def _compact(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory)), write=True) as sweep:
        before, after = sweep.compact()
    print(f"{before} bytes before, {after} after")
    return 0


def _plot(args: argparse.Namespace) -> int:
    with SweepDirectory(str(sweep_folder(args.directory))) as sweep:
        items, _ = items_of(sweep)
        plan = sweep.plan
    plot_states([(item.combination, item.state) for item in items], args.x, args.y, args.file, plan.name if plan is not None else "")
    return 0


def _diff(args: argparse.Namespace) -> int:
    differences = diff_runs(args.first, args.second)
    if differences:
        print(format_differences(differences))
    return 1 if differences else 0
