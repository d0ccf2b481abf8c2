"""Shared connections, the pure part: which processes can share one, and who uses which.

OpenSSH's client can keep a connection open (a *master*) and let other clients open their sessions over it, through a socket.
A `Way` is all that decides where and how ssh connects; its processes share masters.  A master has room for some sessions only, sshd
refuses more (MaxSessions), so a way has several *slots*, one master each.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Holder(Protocol):
        """A process that uses a slot."""

        def _on_turn(self) -> None:
            """It has waited enough."""

JOIN, MAKE, WAIT, ALONE = "join", "make", "wait", "alone"
"""What a process is to do: use the master that there is, become the one that makes it, wait for it, or connect for itself."""

LOCK = "lock"               # beside the sockets: its owner lives
PATIENCE = 10.0             # seconds that a process waits for the one that makes its master
ALIVE_INTERVAL, ALIVE_COUNT = 15, 3         # a master over a dead link ends after their product, in seconds

# Flags and options of the two clients (ssh(1), scp(1)) that take a value, and those that have no say in the connection.
_WITH_VALUE = {"ssh": "BbcDEeFIiJLlmOopQRSWw", "scp": "cDFiJloPSX"}
_NO_MATTER = {"ssh": "tTqvnEe", "scp": "rpqvT3BORslDX"}
_NO_MATTER_OPTIONS = ("requesttty", "loglevel")
_FORWARDING = {"ssh": "LRDWwOQ", "scp": ""}
_FORWARDING_OPTIONS = ("localforward", "remoteforward", "dynamicforward", "tunnel")
_OWN_MASTER = {"ssh": "MS", "scp": ""}
_OWN_MASTER_OPTIONS = ("controlmaster", "controlpath", "controlpersist")
_PORT = {"ssh": "p", "scp": "P"}


class Way:
    """How some processes connect to one host, alike: `name` tells it from others."""

    __slots__ = ("name", "persist", "room", "watch_link")

    def __init__(self, name: str, persist: int, room: int, watch_link: bool) -> None:
        self.name = name
        self.persist = persist              # seconds without any session after which a master ends
        self.room = room                    # sessions of one master
        self.watch_link = watch_link        # the user has not said how a dead link is seen


def way(tool: str, words: tuple[str, ...], address: str, persist: int, room: int) -> Way | None:
    """The way of a client command, or None if it must not be shared: what it forwards would outlive it.

    :param tool: 'ssh' or 'scp', by whose rules the words are read, up to the address.
    :raises ValueError: if the words ask for a master of their own.
    """
    program = "ssh" if tool == "scp" else words[0]
    matters: list[str] = []
    watch_link = True
    for letter, value in _options(words[1:], _WITH_VALUE[tool]):
        if letter == _PORT[tool]:
            letter, value = "o", f"port={value}"
        option = ""
        if letter == "o":
            found = re.fullmatch(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)", value, re.DOTALL)
            if found:
                option = found[1].lower()
                value = f"{option}={found[2]}"
        if option in _OWN_MASTER_OPTIONS or letter and letter in _OWN_MASTER[tool]:
            raise ValueError(f"control_persist shares connections, but the options of {tool} have their own "
                             f"{option or '-' + letter}: leave out one of them")
        if option in _FORWARDING_OPTIONS or letter and letter in _FORWARDING[tool]:
            return None
        if option == "serveraliveinterval":
            watch_link = False
        if tool == "scp" and letter == "S":
            program = value
        elif option not in _NO_MATTER_OPTIONS and not (letter and letter in _NO_MATTER[tool]):
            matters += (letter, value)
    import hashlib  # a millisecond, only for who shares

    text = "\0".join((program, *matters, address, str(persist)))
    name = hashlib.blake2s(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return Way(name, persist, room, watch_link)


def _options(words: tuple[str, ...], with_value: str) -> Iterator[tuple[str, str]]:
    """(letter, value) of each option, as getopt(3) reads them; ('', word) for a word that is none."""
    rest = iter(words)
    for word in rest:
        if len(word) < 2 or word[0] != "-":
            yield "", word
            continue
        for at, letter in enumerate(word[1:], 2):
            if letter in with_value:
                yield letter, word[at:] or next(rest, "")
                break
            yield letter, ""


def client_words(to_do: str, way: Way, socket: str) -> tuple[str, ...]:
    """Options of the client, before all others: OpenSSH takes the first value of an option."""
    if to_do == ALONE:
        return "-o", "ControlMaster=no", "-o", "ControlPath=none"
    path = "-o", f"ControlPath={socket}"
    # Without a master, or without a session over it, ssh connects for itself.  It asks for the command only over the session that it
    # was given, so that none runs twice.
    if to_do == JOIN:
        return *path, "-o", "ControlMaster=no"
    alive = ("-o", f"ServerAliveInterval={ALIVE_INTERVAL}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}") if way.watch_link else ()
    return *path, "-o", "ControlMaster=auto", "-o", f"ControlPersist={way.persist}", *alive


class Slot:
    """One master of a way, or the place for it."""

    __slots__ = ("lost", "maker", "name", "patience", "sessions", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name                            # of the socket
        self.sessions = 0                           # processes of ours that use it
        self.lost = 0                               # sessions that sshd may still count though their process was killed
        self.maker: Holder | None = None            # the process that makes the master, until it listens
        self.patience = 0.0                         # the instant until which others wait for that
        self.waiters: list[Holder] = []

    def used(self) -> int:
        return self.sessions + self.lost + len(self.waiters)

    def leave(self, holder: Holder, lost: bool) -> list[Holder]:
        """The process of `holder` has ended; returns those that have waited enough.

        :param lost: it was killed: without a terminal its command may go on, and sshd counts the session as long.
        """
        self.sessions -= 1
        self.lost += lost
        if self.maker is not holder:
            return []
        self.maker = None
        return self.release()

    def release(self) -> list[Holder]:
        """Those that wait, who now do not any more."""
        waiters, self.waiters = self.waiters, []
        return waiters


class Slots:
    """The slots of one way.  `listens` says whether a slot's master is there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots: list[Slot] = []

    def take(self, holder: Holder, room: int, now: float, listens: Callable[[str], bool], may_wait: bool) -> tuple[str, Slot | None]:
        """What `holder` is to do, and with which slot."""
        making: Slot | None = None
        empty: Slot | None = None
        for slot in self.slots:
            if slot.maker is None and slot.sessions == 0 and slot.lost and not listens(slot.name):
                slot.lost = 0                       # their connection has gone
            if slot.used() >= room:
                continue
            if listens(slot.name):
                slot.maker = None
                slot.sessions += 1
                return JOIN, slot
            if slot.maker is None:
                empty = empty or slot
            elif now < slot.patience:
                making = making or slot
        if not may_wait:
            return ALONE, None
        if making is not None:
            making.waiters.append(holder)
            return WAIT, making
        if empty is None:
            empty = Slot(f"{self.name}.{len(self.slots)}")
            self.slots.append(empty)
        empty.maker = holder
        empty.patience = now + PATIENCE
        empty.sessions += 1
        empty.lost = 0
        return MAKE, empty
