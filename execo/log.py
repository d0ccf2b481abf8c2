"""The logger of execo, its extra levels, and terminal styles."""

from __future__ import annotations

import logging
import sys

from execo.config import DETAIL, FDEBUG, IODEBUG, TRACE, configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # not subscriptable before Python 3.11

__all__ = [
    "DETAIL",
    "FDEBUG",
    "IODEBUG",
    "TRACE",
    "Logger",
    "MyFormatter",
    "Styler",
    "configuration",
    "logger",
    "logger_handler",
    "make_logger",
    "style",
]

logging.addLevelName(IODEBUG, "IODEBUG")
logging.addLevelName(FDEBUG, "FDEBUG")
logging.addLevelName(TRACE, "TRACE")
logging.addLevelName(DETAIL, "DETAIL")

_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_ANSI_CODES = {
    "default": "",
    "bold": "1",
    "underline": "4",
    "blink": "5",
    "reverse": "7",
    "concealed": "8",
    **{color: str(30 + code) for code, color in enumerate(_COLORS)},
    **{f"on_{color}": str(40 + code) for code, color in enumerate(_COLORS)},
}


class Styler:
    """Colours strings for the terminal: ``style.emph(text)`` is ``style.set("emph", text)``.

    Styles are the entries of ``configuration['color_styles']``; without ``configuration['color_mode']``, or for an
    unknown style, the string comes back as it was.
    """

    def set(self, style: str | int, string: str) -> str:
        """`string` between the escapes of `style` (a style name or a log level); unknown attributes are left out."""
        if not configuration["color_mode"]:
            return string
        attributes = configuration["color_styles"].get(style)
        if attributes is None:
            return string
        escapes = "".join(f"\033[{_ANSI_CODES[name]}m" for name in attributes if name in _ANSI_CODES)
        return f"{escapes}{string}\033[m"

    def __getattr__(self, attr: str) -> Callable[[str], str]:
        if attr.startswith("_"):  # copy, pickle and IPython look for special methods
            raise AttributeError(attr)
        return lambda string: self.set(attr, string)


style = Styler()


class Logger(logging.Logger):
    """A logger with one method for each level of execo."""

    # `stacklevel` is raised by one so that the caller is reported, not the method of this class.

    def detail(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log between INFO and TRACE."""
        if self.isEnabledFor(DETAIL):
            self.log(DETAIL, message, *args, **_caller_above(kwargs))

    def trace(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log between DETAIL and DEBUG."""
        if self.isEnabledFor(TRACE):
            self.log(TRACE, message, *args, **_caller_above(kwargs))

    def iodebug(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log at the lowest level: each read and write."""
        if self.isEnabledFor(IODEBUG):
            self.log(IODEBUG, message, *args, **_caller_above(kwargs))

    def fdebug(self, message: object, *args: object, **kwargs: Any) -> None:
        """Log at the level of the I/O thread's work, below DEBUG."""
        if self.isEnabledFor(FDEBUG):
            self.log(FDEBUG, message, *args, **_caller_above(kwargs))


def _caller_above(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1}


class MyFormatter(logging.Formatter):
    """``date LEVEL: message``; once the logger shows DEBUG also the function, below DEBUG also the thread."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        shown = logger.getEffectiveLevel()
        where = ""
        if shown == logging.DEBUG:
            where = f" {record.funcName}"
        elif shown < logging.DEBUG:
            where = f" {record.threadName} - {record.funcName}"
        date = style.set("log_header", self.formatTime(record, self.datefmt))
        return f"{date} {style.set(record.levelno, record.levelname)}{where}: {record.message}"


class _StdoutHandler(_StreamHandler):
    """Writes to what `sys.stdout` is at that moment, so that notebooks and tests capture it; `setStream` pins one."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._pinned: TextIO | None = None

    @property
    def stream(self) -> TextIO:
        return self._pinned or sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        self._pinned = stream

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None:  # a daemon may have no stdout
            super().emit(record)


def make_logger(name: str) -> Logger:
    """The logger of that name, with the methods of `Logger`, also if another library asked for it before."""
    found = logging.getLogger(name)
    if not isinstance(found, Logger):
        # Not setLoggerClass, which would give our class to the loggers of every other library.
        found.__class__ = Logger
    assert isinstance(found, Logger)
    return found


logger = make_logger("execo")
logger.setLevel(configuration["log_level"])
logger_handler = _StdoutHandler()
logger_handler.setFormatter(MyFormatter())
for _previous in [handler for handler in logger.handlers if type(handler).__name__ == _StdoutHandler.__name__]:
    logger.removeHandler(_previous)  # of an earlier import, when the module is reloaded
logger.addHandler(logger_handler)
