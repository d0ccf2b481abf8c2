"""The experiment engine: command line options, a directory of results, files of output, and the order of the parts of an experiment."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shlex
import sys
import time
import warnings
from pathlib import Path

from ._old_options import OptionsParser
from .log import logger
from .notebook import Notebook
from .results import Results
from .utils import copy_outputs, redirect_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Engine", "copy_outputs", "logger", "redirect_outputs", "run_meth_on_engine_ancestors"]


def run_meth_on_engine_ancestors(instance: Engine, method_name: str) -> None:
    """Call the method as each class of `instance` that derives from `Engine` defines it, the most derived class first.

    The definitions need not call `super()`.  Classes that do not derive from `Engine` are left out.
    """
    for cls in type(instance).__mro__:
        if issubclass(cls, Engine) and method_name in vars(cls):
            vars(cls)[method_name].__get__(instance, type(instance))()


class Engine:
    """Derive from it, and define `run`, and `init` for what comes before; then ``MyEngine().start()``.

    Add options in `__init__`, after ``super().__init__()``, to `args_parser`; their values are in `args` from the beginning of `init` on.
    A program that runs the engine has the options ``-l -L -R -M -c``; see ``--help``.
    """

    keep_notebook = False
    """Set it in your class, and each run writes down where, when, with what and how it ran: see `notebook`."""

    def __init__(self) -> None:
        self.engine_dir = _folder_of(type(self))
        """The folder of the file that defines the class."""
        self.args_parser = argparse.ArgumentParser(
            usage="<program> [options] <arguments>", description=f"engine: {type(self).__name__}")
        _add_options(self.args_parser)
        self.args: argparse.Namespace | None = None
        """The values of the options, once started."""
        self.run_name: str | None = None
        self.result_dir: str | None = None
        self.notebook: Notebook | None = None
        """What is written down about this run, if `keep_notebook`: add to it with ``notebook.note(seed=42)``."""
        self._own_run_name: str | None = None
        self._made_results: Results | None = None
        self._start_dir = os.getcwd()

    def start(self, engineargs: Sequence[str] = sys.argv[1:]) -> None:
        """Read the options, make the directory of results, then call all methods `init`, then all methods `run`, of the classes.

        :param engineargs: the command line without the program; by default that of this program, as it was at the import of `execo_engine`.
        :raises SystemExit: with code 2 for a wrong option.

        Exceptions of `init` and `run` propagate.
        """
        self.args = self.args_parser.parse_args(list(engineargs))
        self._set_log_level(self.args.log_level)
        if self._made_results is not None and self.__dict__.get("results") is self._made_results:
            del self.results        # those of an earlier start of this engine
        self._start_dir = os.getcwd()
        self.setup_run_name()
        if self.args.use_dir is not None:
            self.result_dir = self.args.use_dir
        else:
            self.setup_result_dir()
        if self.result_dir is None:
            raise ValueError(f"{type(self).__name__}.setup_result_dir has set no result_dir")
        os.makedirs(self.result_dir, exist_ok=True)
        self._setup_outputs(self.args)
        logger.info("command line arguments: %s", sys.argv)
        logger.info("command line: %s", shlex.join(sys.argv))
        logger.info("run in directory %s", self.result_dir)
        if not self.keep_notebook:
            self._run_methods()
            return
        self.notebook = Notebook.begin(
            self.result_dir, str(self.run_name), engine=type(self).__name__, script=_file_of(type(self)), arguments=list(engineargs),
            options=vars(self.args), seed=getattr(self.args, "seed", None))
        try:
            self._run_methods()
        except BaseException as exception:
            self.notebook.end(exception)
            raise
        else:
            self.notebook.end()

    def init(self) -> None:
        """What comes before `run`; each class of the engine may define it."""

    def run(self) -> None:
        """The experiment; each class of the engine may define it."""

    def setup_run_name(self) -> None:
        """Set `run_name`; by default class, date, time and zone.  Override it to choose another."""
        self.run_name = self._own_run_name = time.strftime(f"{type(self).__name__}_%Y%m%d_%H%M%S_%z")

    def setup_result_dir(self) -> None:
        """Set `result_dir`; by default the folder `run_name` in the current directory.  Override it to choose another.

        Two runs that begin in the same second get two directories, unless you chose their name.
        """
        base, number = str(self.run_name), 1
        while self.run_name == self._own_run_name:
            try:
                os.mkdir(os.path.abspath(str(self.run_name)))
            except FileExistsError:
                number += 1
                self.run_name = self._own_run_name = f"{base}_{number}"
                continue
            break
        self.result_dir = os.path.abspath(str(self.run_name))

    @functools.cached_property
    def results(self) -> Results:
        """The results in `result_dir`; what is appended carries the identity of this run."""
        if self.result_dir is None:
            raise RuntimeError(f"{type(self).__name__} has no results before it is started")
        # `result_dir` is as -c gave it, and `run` may have changed the current directory.
        directory = os.path.join(self._start_dir, self.result_dir)
        self._made_results = Results(directory, run=self.notebook.run_id if self.notebook else self.run_name)
        return self._made_results

    # names of older versions

    @property
    def options_parser(self) -> OptionsParser:
        """What early versions called `args_parser`, with `add_option` and its like."""
        warnings.warn("Engine.options_parser is deprecated: use args_parser, an argparse.ArgumentParser", DeprecationWarning, stacklevel=2)
        return OptionsParser(self.args_parser)

    @property
    def options(self) -> argparse.Namespace | None:
        """What early versions called `args`."""
        warnings.warn("Engine.options is deprecated: use args", DeprecationWarning, stacklevel=2)
        return self.args

    # parts of start()

    def _run_methods(self) -> None:
        run_meth_on_engine_ancestors(self, "init")
        run_meth_on_engine_ancestors(self, "run")

    def _set_log_level(self, level: str | None) -> None:
        if level is None:
            return
        try:
            logger.setLevel(int(level) if level.isdigit() else level.upper())
        except ValueError:
            names = ", ".join(sorted(logging._nameToLevel, key=lambda name: logging._nameToLevel[name]))
            self.args_parser.error(f"argument -l: unknown log level {level!r}; there are numbers, and {names}")

    def _setup_outputs(self, args: argparse.Namespace) -> None:
        if not (args.copy_outputs or args.redirect_outputs):
            return
        folder = Path(str(self.result_dir))
        names = ("stdout+stderr", "stdout+stderr") if args.merge_outputs else ("stdout", "stderr")
        send = redirect_outputs if args.redirect_outputs else copy_outputs
        send(folder / names[0], folder / names[1])


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-l", dest="log_level", default=None,
                        help="log level of the engine (number or name). Default = that of execo")
    parser.add_argument("-L", dest="copy_outputs", action="store_true", default=False,
                        help="copy standard output and error to files in the directory of results. Default = %(default)s")
    parser.add_argument("-R", dest="redirect_outputs", action="store_true", default=False,
                        help="redirect standard output and error to files in the directory of results. Default = %(default)s")
    parser.add_argument("-M", dest="merge_outputs", action="store_true", default=False,
                        help="with -L or -R: one file for both. Default = %(default)s")
    parser.add_argument("-c", dest="use_dir", metavar="DIR", default=None,
                        help="use directory DIR for results, as to continue an experiment. Default = a new one")


def _file_of(cls: type) -> str | None:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if file is None else os.path.abspath(file)


def _folder_of(cls: type) -> str:
    file = _file_of(cls)
    return os.getcwd() if file is None else os.path.dirname(file)      # typed into an interpreter: it has no file
