"""What all processes have in common, whether a child of ours or a part of a TakTuk tree stands behind them.

Threads: any thread may read, wait, expect and reset; `_on_...` methods belong to the I/O thread.  The process lock is a leaf: while it
is held nothing is logged, called back, or waited for.
"""

from __future__ import annotations

import logging
import threading
import traceback
import weakref

from ..conductor import the_conductor
from ..log import logger, style
from ..time_utils import format_unixts, get_seconds
from ..utils import compact_output, name_from_cmdline, singleton_to_collection
from .expect import ExpectOutputHandler
from .observers import observers
from .output import STDERR, STDOUT, StreamOutput, encoding, feed_bytes, feed_text, is_bytes_handler, stream_name
from .state import ProcessState

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self, Unpack

    from .._conductor.handlers import Strand
    from .expect import Regexes
    from .state import Command, Duration, ProcessOptions


class ProcessLifecycleHandler:
    """Derive from it and override what you need.

    `start` and `end` run outside the I/O thread, one at a time and in this order for one process, so they may block, start other processes
    and wait for them.  An exception is logged.  `wait` may return before `end` handlers have run.
    """

    inline = False
    """It never blocks, and may be called in the I/O thread."""

    def start(self, process: Any) -> None:
        """The process was started, or could not be (`process.error`)."""

    def end(self, process: Any) -> None:
        """The process has ended."""

    def reset(self, process: Any) -> None:
        """The process is about to be reset; called in the thread that resets it."""


class ProcessBase(ProcessState):
    """State, output, handlers and waiting of a process.

    :param cmd: the command, as the subclasses take it.

    The other keywords are the options of `ProcessState` (each an attribute too) and:

    :param lifecycle_handlers: a `ProcessLifecycleHandler`, or several.
    :param stdout_handlers: where standard output goes besides `stdout`: a `ProcessOutputHandler`, a file object with `write`, a file
      name (appended to; shared by all processes that name it), a file descriptor, or several of these.
    :param stderr_handlers: the same for standard error.
    :param name: by default made from `cmd`.
    :raises TypeError: for an unknown keyword.
    :raises ValueError: for a duration that cannot be read.
    """

    host: Any = None
    process: Any = None         # a name of the contract; there is no subprocess.Popen behind ours
    stdin_fd: int | None = None
    stdout_fd: int | None = None
    stderr_fd: int | None = None
    _own_options: tuple[str, ...] = ()
    _stdout: StreamOutput | None = None
    _stderr: StreamOutput | None = None
    _started_event: threading.Event | None = None
    _ended_event: threading.Event | None = None
    _started_condition: threading.Condition | None = None
    _ended_condition: threading.Condition | None = None
    _strand: Strand | None = None
    _expecters: weakref.WeakKeyDictionary[threading.Thread, dict[int, ExpectOutputHandler]] | None = None

    def __init__(self, cmd: Command, **options: Unpack[ProcessOptions]) -> None:
        self.cmd = cmd
        self._lock = threading.Lock()
        if not options:
            self.lifecycle_handlers: list[ProcessLifecycleHandler] = []
            self.stdout_handlers: list[Any] = []
            self.stderr_handlers: list[Any] = []
            self.name = name_from_cmdline(cmd)
            return
        given: dict[str, Any] = dict(options)
        self.lifecycle_handlers = list(singleton_to_collection(given.pop("lifecycle_handlers", None)))
        self.stdout_handlers = _output_handlers(given.pop("stdout_handlers", None))
        self.stderr_handlers = _output_handlers(given.pop("stderr_handlers", None))
        name = given.pop("name", None)
        self.name = name_from_cmdline(cmd) if name is None else name
        for option, value in given.items():
            if option not in self.OPTIONS:
                raise TypeError(f"{type(self).__name__} has no option {option!r}; it has "
                                + ", ".join((*self.OPTIONS, "lifecycle_handlers", "stdout_handlers", "stderr_handlers", "name")))
            if value is not None and option in ("timeout", "idle_timeout", "default_expect_timeout"):
                _checked_duration(option, value)
            if value is not getattr(type(self), option):
                setattr(self, option, value)

    # text

    def _args(self) -> list[str]:
        return [style.command(repr(self.cmd))]

    def _kwargs(self) -> list[str]:
        return [f"{option}={getattr(self, option)!r}" for option in (*self.OPTIONS, *self._own_options)
                if getattr(self, option) != getattr(type(self), option)]

    def _infos(self) -> list[str]:
        infos = [
            f"name={self.name}", f"started={self.started}", f"start_date={format_unixts(self.start_date)}", f"ended={self.ended}",
            f"end_date={format_unixts(self.end_date)}", f"killed={self.killed}", f"error={self.error}",
            f"error_reason={self.error_reason}", f"timeouted={self.timeouted}", f"expect_fail={self.expect_fail}",
            f"write_error={self.write_error}", f"exit_code={self.exit_code}", f"ok={self.ok}"]
        if self.idle_timeouted:
            infos.append("idle_timeouted=True")
        if self.connection_failure is not None:
            infos.append(f"unreachable={self.connection_failure.message!r}")
        return infos

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([*self._args(), *self._kwargs()])})"

    def __str__(self) -> str:
        return f"<{type(self).__name__}({', '.join([*self._args(), *self._kwargs(), *self._infos()])})>"

    def dump(self) -> str:
        """All facts and the output, each stream cut to `configuration['compact_output_threshold']` characters."""
        return f"{self}\nstdout:\n{_printable(compact_output(self.stdout))}\nstderr:\n{_printable(compact_output(self.stderr))}"

    # waiting

    @property
    def started_event(self) -> threading.Event:
        """Set when `started` becomes true."""
        with self._lock:
            if self._started_event is None:
                self._started_event = threading.Event()
                if self.started or self.ended:
                    self._started_event.set()
            return self._started_event

    @property
    def ended_event(self) -> threading.Event:
        """Set when `ended` becomes true."""
        with self._lock:
            if self._ended_event is None:
                self._ended_event = threading.Event()
                if self.ended:
                    self._ended_event.set()
            return self._ended_event

    @property
    def started_condition(self) -> threading.Condition:
        """Notified when `started` becomes true."""
        with self._lock:
            if self._started_condition is None:
                self._started_condition = threading.Condition()
            return self._started_condition

    @property
    def ended_condition(self) -> threading.Condition:
        """Notified when `ended` becomes true."""
        with self._lock:
            if self._ended_condition is None:
                self._ended_condition = threading.Condition()
            return self._ended_condition

    def _check_may_wait(self) -> None:
        if the_conductor.in_io_thread():
            raise RuntimeError(f"an output handler or inline handler must not wait, for the I/O thread runs it: {self!r}")

    def wait(self, timeout: Duration = None) -> Self:
        """Wait until it has ended, or for `timeout`; does not kill it.

        :raises ValueError: if it was not started.
        :raises RuntimeError: in an output handler, which would wait for itself, or in a child that was forked after the start.
        """
        seconds = get_seconds(timeout)
        if not self._requested:
            raise ValueError(f"wait for a process that was not started: {self!r}")
        if not self.ended:
            self._check_may_wait()
            self.ended_event.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()

    def kill(self, sig: int = 15, auto_sigterm_timeout: Any = True) -> Self:
        """Subclasses say how."""
        raise NotImplementedError(f"{type(self).__name__} cannot be killed")

    def reset(self) -> Self:
        """Back to the state before the start, after killing it if it runs; handlers are kept."""
        if self._requested and not self.ended:
            self.kill()
            self.wait()
        observers.flush_before_reset()
        for handler in list(self.lifecycle_handlers):
            _call_guarded(handler.reset, self)
        with self._lock:
            self._state_reset()
            for fact in ("_stdout", "_stderr", "_started_event", "_ended_event", "_expecters", "_failed_handlers"):
                self.__dict__.pop(fact, None)
        return self

    # output

    @property
    def stdout(self) -> str:
        """Standard output so far, unless `default_stdout_handler` is False."""
        return "" if self._stdout is None else self._stdout.text()

    @stdout.setter
    def stdout(self, text: str) -> None:
        self._output_of(STDOUT).replace(text)

    @property
    def stderr(self) -> str:
        """Standard error so far, unless `default_stderr_handler` is False."""
        return "" if self._stderr is None else self._stderr.text()

    @stderr.setter
    def stderr(self, text: str) -> None:
        self._output_of(STDERR).replace(text)

    @property
    def stdout_bytes(self) -> bytes:
        """The bytes of `stdout`, exactly as they came (in UTF-8 and all one-byte locales).  Made anew at each access."""
        return self.stdout.encode(encoding(), "surrogateescape")

    @property
    def stderr_bytes(self) -> bytes:
        """The bytes of `stderr`."""
        return self.stderr.encode(encoding(), "surrogateescape")

    def _output_of(self, stream: int) -> StreamOutput:
        # Made with the first output, since many processes have none; by the I/O thread or by who attaches an expect.
        with self._lock:
            output = self._stdout if stream == STDOUT else self._stderr
            if output is None:
                output = StreamOutput()
                if stream == STDOUT:
                    self._stdout = output
                else:
                    self._stderr = output
            return output

    def _on_output(self, stream: int, data: bytes, eof: bool = False, error: bool = False) -> None:
        """Some output has come; with `eof` or `error` it is the end of the stream."""
        if stream == STDOUT:
            output, handlers, capture = self._stdout, self.stdout_handlers, self.default_stdout_handler
        else:
            output, handlers, capture = self._stderr, self.stderr_handlers, self.default_stderr_handler
        last = eof or error
        if last and output is None and not handlers and self._expecters is None:
            return
        if output is None:
            output = self._output_of(stream)
        text = None
        if capture or handlers or self._expecters is not None:
            text = output.decode(data, last)
        expecters: list[ExpectOutputHandler] = []
        with self._lock:
            if capture and text:
                output.append(text)
            if self._expecters is not None:
                expecters = [of[stream] for of in self._expecters.values() if stream in of]
        for handler in (*handlers, *expecters):
            if is_bytes_handler(handler):
                feed_bytes(self, stream, handler, data, last)
            elif text or last:
                feed_text(self, stream, handler, text or "", eof, error)

    def _on_eof(self, stream: int, error: bool) -> None:
        if error:
            if stream == STDOUT:
                self.stdout_ioerror = True
            else:
                self.stderr_ioerror = True
        self._on_output(stream, b"", not error, error)

    # expect

    def expect(self, regexes: Regexes, timeout: Duration | bool = False, stream: int = STDOUT, backtrack: bool = True,
               expect_output_handler: ExpectOutputHandler | None = None) -> tuple[int, re.Match[str]] | tuple[None, None]:
        """Wait for text in the output.

        Each thread has a position of its own, the end of its last match.  `expect_fail` says whether the last call failed.

        :param regexes: a regular expression, as str (compiled with MULTILINE) or compiled, or an iterable of these.
        :param timeout: any duration; False: `default_expect_timeout`; None: no limit; 0: only look.
        :param stream: STDOUT or STDERR.
        :param backtrack: the first call in a thread searches what has come before it too.
        :param expect_output_handler: one to use in place of the thread's own.
        :returns: (index of the regex, match) of the match that begins first; (None, None) if the time is up or the stream has ended.
        :raises ValueError: without a timeout, if it was not started.
        """
        if timeout is False:
            timeout = self.default_expect_timeout
        stream_name(stream)
        if not self._requested and get_seconds(timeout) is None:
            raise ValueError(f"expect without timeout in a process that was not started: {self!r}")
        handler = expect_output_handler or self._expecter(stream, backtrack)
        if timeout is None or get_seconds(timeout):
            self._check_may_wait()
        index, match = handler.expect(regexes, timeout).get((self, stream), (None, None))
        if match is None or index is None:
            self._set_expect_fail(regexes, stream)
            return None, None
        self.expect_fail = False
        return index, match

    def _expecter(self, stream: int, backtrack: bool) -> ExpectOutputHandler:
        me = threading.current_thread()
        with self._lock:
            if self._expecters is None:
                # A position goes with its thread.
                self._expecters = weakref.WeakKeyDictionary()
            mine = self._expecters.setdefault(me, {})
            if stream in mine:
                return mine[stream]
        handler = ExpectOutputHandler()

        def attach() -> None:
            mine[stream] = handler

        text = self._output_of(stream).text_and(self._lock, attach)
        handler.attach(self, stream, text if backtrack else "")
        if self._stream_ended(stream):
            handler.read(self, stream, "", True, False)
        return handler

    def _stream_ended(self, stream: int) -> bool:
        """Will nothing more come on it?"""
        return self.ended

    def _set_expect_fail(self, regexes: Regexes, stream: int) -> None:
        self.expect_fail = True
        level = logging.DEBUG if self.nolog_expect_fail else logging.WARNING
        if logger.isEnabledFor(level):
            logger.log(level, "expect: no match for %r on %s of %s", regexes, stream_name(stream), self)

    def _check_settings(self) -> None:
        """What was assigned since the construction is judged here, in the caller: in the I/O thread it would be too late.

        :raises ValueError: for a duration that cannot be read.
        :raises TypeError: for handlers that are no list.
        """
        for option in ("timeout", "idle_timeout"):
            value = getattr(self, option)
            if value is not None:
                _checked_duration(option, value)
        for name in ("lifecycle_handlers", "stdout_handlers", "stderr_handlers"):
            handlers = getattr(self, name)
            if not isinstance(handlers, (list, tuple)):
                raise TypeError(f"{name}: expected a list, found {handlers!r} in {self!r}")

    # the end of a step, in the I/O thread

    def _announce_start(self) -> None:
        with self._lock:
            event, condition = self._started_event, self._started_condition
        _log(logging.DEBUG, self.__str__, "started: ")
        if event is not None:
            event.set()
        if condition is not None:
            the_conductor.handlers.run(lambda: _notify(condition))
        if self.lifecycle_handlers:
            self._run_lifecycle("start")

    def _announce_end(self) -> None:
        """Log, then wake, then call: who is woken finds the log written."""
        if self.exit_code != 0 or self.error or self.timeouted or self.idle_timeouted:
            warn = self.deserves_warning and (self.started or self.error)
            _log(logging.WARNING if warn else logging.DEBUG, self.dump)
        else:
            _log(logging.DEBUG, self.__str__, "ended: ")
        if observers.functions:
            observers.tell(self)                # queued before the waiters wake, so `flush` after `wait` means this one too
        with self._lock:
            # whoever makes the events later finds `ended` set
            started_event, event, condition = self._started_event, self._ended_event, self._ended_condition
        if started_event is not None:
            started_event.set()                 # one that was cancelled will never start
        if event is not None:
            event.set()
        if condition is not None:
            the_conductor.handlers.run(lambda: _notify(condition))
        if self.lifecycle_handlers:
            self._run_lifecycle("end")

    def _run_lifecycle(self, what: str) -> None:
        """Call the handlers in order: here as long as they are inline and nothing of this process is queued, then on a handler thread."""
        handlers = list(self.lifecycle_handlers)
        strand = self._strand
        if strand is None or strand.idle:
            while handlers and getattr(handlers[0], "inline", False):
                _call_guarded(getattr(handlers.pop(0), what), self)
        if not handlers:
            return
        if strand is None:
            strand = self._strand = the_conductor.strand()

        def call_all() -> None:
            for handler in handlers:
                _call_guarded(getattr(handler, what), self)

        strand.submit(call_all)


def _printable(text: str) -> str:
    """Bytes that are no text, as escapes: a log file in UTF-8 refuses surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _output_handlers(given: Any) -> list[Any]:
    # A file is iterable too, but one handler.
    return [given] if hasattr(given, "write") else list(singleton_to_collection(given))


def _checked_duration(option: str, value: Duration) -> None:
    seconds = get_seconds(value)
    if seconds is not None and seconds != seconds:
        raise ValueError(f"{option}: expected a duration, found {value!r}")


def _log(level: int, text: Callable[[], str], prefix: str = "") -> None:
    """Log from the I/O thread: a failing log handler of the program, or a failing `repr` of something it gave us, must not stop that."""
    if logger.isEnabledFor(level):
        try:
            logger.log(level, "%s%s", prefix, text())
        except Exception:
            traceback.print_exc()


def _notify(condition: threading.Condition) -> None:
    with condition:
        condition.notify_all()


def _call_guarded(call: Callable[[Any], None], process: ProcessBase) -> None:
    try:
        call(process)
    except (Exception, SystemExit):     # sys.exit() in a handler ends nobody
        logger.exception("exception in a life cycle handler of %s:", process)
