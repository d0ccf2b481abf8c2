"""The database of OAR at a site, read-only: the library for it, the way there, and an end to waiting for it."""

from __future__ import annotations

import functools
import os
import socket
import threading
from contextlib import contextmanager, suppress

from execo.log import logger
from execo.time_utils import get_seconds

from ..config import g5k_configuration
from ..utils import G5kAutoPortForwarder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from psycopg import Connection

CONNECT_SECONDS = 10
READ_SECONDS = 60.0
"""For all questions together."""


@functools.cache                    # what fails would take its time again
def is_installed() -> bool:
    """Whether the library for it can be imported; without libpq it is there and cannot."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        logger.debug("the databases of OAR are left alone: %s", error)
        return False
    return True


@contextmanager
def oar_database(site: str) -> Iterator[Connection[Any]]:
    """A connection to the database of a site, which is reached through the site's frontend from outside of Grid'5000.

    :raises OSError: if it cannot be reached or read, also in the block, which may last 60 s.
    :raises execo.ProcessesFailed: if its port cannot be forwarded.
    :raises ImportError: without psycopg.
    """
    try:
        import psycopg
    except ImportError as error:
        raise ImportError("the databases of OAR need psycopg: pip install 'execo_g5k[postgresql]'") from error
    wanted = min(CONNECT_SECONDS, get_seconds(g5k_configuration["default_timeout"]) or CONNECT_SECONDS)
    late = threading.Event()
    try:
        with G5kAutoPortForwarder(site, f"oardb.{site}.grid5000.fr", g5k_configuration["oar_pgsql_ro_port"]) as (host, port):
            connection = psycopg.connect(host=host, port=port, dbname=g5k_configuration["oar_pgsql_ro_db"],
                                         user=g5k_configuration["oar_pgsql_ro_user"], password=g5k_configuration["oar_pgsql_ro_password"],
                                         connect_timeout=max(2, int(wanted)), options="-c default_transaction_read_only=on")
            with _cut_after(connection, READ_SECONDS, late), connection:        # whose end asks the server too
                yield connection
    except psycopg.Error as error:
        raise OSError(f"no end after {READ_SECONDS:g} s" if late.is_set() else str(error).strip()) from error


@contextmanager
def _cut_after(connection: Connection[Any], seconds: float, late: threading.Event) -> Iterator[None]:
    """A connection that is not finished by then is cut: neither a network nor a server that hangs would ever say so."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        def cut() -> None:
            late.set()
            with suppress(OSError):         # it has ended by itself
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
