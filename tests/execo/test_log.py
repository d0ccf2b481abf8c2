"""Lines, levels and colours of the logger."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import re
import sys
import threading
from collections.abc import Iterator

import pytest

from execo.config import configuration
from execo.log import DETAIL, FDEBUG, IODEBUG, TRACE, Logger, logger, logger_handler, make_logger, style

DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


@pytest.fixture(autouse=True)
def _level_is_restored() -> Iterator[None]:
    level = logger.level
    yield
    logger.setLevel(level)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(DATE, "DATE", capsys.readouterr().out)


def test_line_tells_more_as_the_logger_shows_more(capsys: pytest.CaptureFixture[str]) -> None:
    here = "test_line_tells_more_as_the_logger_shows_more"
    logger.setLevel("INFO")
    logger.info("msg %s", "one")
    logger.debug("not shown")
    logger.setLevel("DEBUG")
    logger.debug("dbg")
    logger.setLevel(1)
    logger.trace("tr")
    assert printed(capsys) == (f"DATE INFO: msg one\nDATE DEBUG {here}: dbg\nDATE TRACE {threading.current_thread().name} - {here}: tr\n")


@pytest.mark.parametrize("name, level", [("DETAIL", DETAIL), ("TRACE", TRACE), ("FDEBUG", FDEBUG), ("IODEBUG", IODEBUG)])
def test_each_level_has_a_name_and_a_method_that_reports_its_caller(name: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    method = getattr(logger, name.lower())

    def caller() -> None:
        method("message %d", 1, stack_info=True, extra={"colour": "blue"})

    def outer() -> None:
        method("above", stacklevel=2)

    logger.setLevel(name)
    caller()
    outer()
    logger.setLevel(level + 1)
    caller()
    first, second = caplog.records
    assert (first.levelno, first.levelname, first.getMessage()) == (level, name, "message 1")
    assert (first.funcName, first.filename) == ("caller", "test_log.py")
    assert first.stack_info is not None
    assert first.stack_info.rstrip().endswith('method("message %d", 1, stack_info=True, extra={"colour": "blue"})')
    assert first.colour == "blue"  # type: ignore[attr-defined]  # given by `extra`
    assert second.funcName == inspect.currentframe().f_code.co_name  # type: ignore[union-attr]  # CPython has frames


def test_handler_writes_to_the_stdout_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", first)
    logger.info("one")
    monkeypatch.setattr(sys, "stdout", second)
    logger.info("two")
    monkeypatch.setattr(sys, "stdout", None)
    logger.info("a daemon has none")
    assert first.getvalue().endswith("INFO: one\n")
    assert second.getvalue().endswith("INFO: two\n")
    assert second.getvalue().count("\n") == 1


def test_stream_of_the_handler_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, stdout = io.StringIO(), io.StringIO()
    monkeypatch.setattr(logger_handler, "_pinned", None)
    monkeypatch.setattr(sys, "stdout", stdout)
    logger_handler.setStream(pinned)
    logger.info("here")
    assert pinned.getvalue().endswith("INFO: here\n")
    assert stdout.getvalue() == ""


def test_colour_is_decided_when_a_line_is_formatted(capsys: pytest.CaptureFixture[str]) -> None:
    logger.setLevel("INFO")
    configuration["color_mode"] = True
    logger.info("x")
    configuration["color_mode"] = False
    logger.info("x")
    assert printed(capsys) == "\033[33mDATE\033[m \033[35mINFO\033[m: x\nDATE INFO: x\n"


def test_styles_need_color_mode_and_a_known_name() -> None:
    configuration["color_mode"] = False
    assert [style.emph("x"), style.nosuch("x"), style.set("host", "h")] == ["x", "x", "h"]
    configuration["color_mode"] = True
    configuration["color_styles"]["emph"] = ("underline", "no such attribute", "on_white")
    assert [style.emph("x"), style.report_error("e"), style.nosuch("x"), style.set("host", "h")] == [
        "\033[4m\033[47mx\033[m",
        "\033[31m\033[1me\033[m",
        "x",
        "\033[35m\033[1mh\033[m",
    ]
    assert copy.copy(style).set("user1", "u") == "\033[32m\033[1mu\033[m"


def test_other_loggers_keep_their_class() -> None:
    assert logging.getLoggerClass() is logging.Logger
    assert type(logging.getLogger("execo-test-of-somebody-else")) is logging.Logger


def test_logger_asked_for_earlier_gets_the_methods_too(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = logging.getLogger("execo.test_log.earlier")
    made = make_logger("execo.test_log.earlier")
    assert made is earlier
    assert isinstance(made, Logger)
    logger.setLevel(TRACE)
    made.trace("inherits level and handler")
    assert printed(capsys).endswith("inherits level and handler\n")


def test_reload_leaves_one_handler() -> None:
    import importlib

    import execo.log

    before = dict(vars(execo.log))
    try:
        importlib.reload(execo.log)
        assert len([one for one in logger.handlers if type(one).__name__ == type(logger_handler).__name__]) == 1
    finally:
        vars(execo.log).update(before)
        logger.handlers[:] = [logger_handler]
