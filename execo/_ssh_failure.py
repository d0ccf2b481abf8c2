"""Did ssh or scp itself say that it could not make the connection?  (OpenSSH 7 to 10; a pure reading of its messages.)

Whoever retries on this answer must never run a command twice.  So any line that OpenSSH's client does not print
*before* a session exists makes the answer no: ``Connection to HOST closed.``, ``... closed by remote host.`` and
``client_loop: ...`` are said of sessions that had begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ConnectionFailure", "diagnose"]


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """Why there was no connection, in ssh's words.

    `retryable`: it may work later, unlike a wrong key, a refused login or a name that does not exist.
    """

    message: str
    timed_out: bool
    retryable: bool

    @property
    def server_is_busy(self) -> bool:
        """The server closed the connection before it said who it is: as a rule it has too many that are not logged in (MaxStartups)."""
        return self.retryable and _CLOSED_EARLY.match(self.message) is not None


_PASSING = (  # texts of errno
    r"Connection (?:refused|timed out|reset by peer)|Operation timed out|No route to host|Broken pipe"
    r"|(?:Network|Host) is (?:unreachable|down)|Cannot assign requested address|Resource temporarily unavailable"
)
_CLOSED_EARLY = re.compile(
    r"(?:kex|ssh)_exchange_identification: (?:read: )?(?:Connection closed by remote host|Connection reset by peer)"
    r"|Connection (?:closed|reset) by "
)
_PEER = r"(?P<host>\S+)(?: port -?\d+)?"

_RETRYABLE = (
    rf"ssh: connect to (?:host|address) (?P<host>\S+) port \d+: (?:{_PASSING})",
    r"ssh: Could not resolve hostname (?P<host>\S+): Temporary failure in name resolution",
    rf"(?:kex|ssh)_exchange_identification: (?:read: |write: )?(?:Connection closed by remote host|{_PASSING})",
    rf"banner exchange: Connection to {_PEER}: (?:{_PASSING})",
    r"Connection timed out during banner exchange",
    rf"Connection (?:closed|reset) by {_PEER}",
    rf"Connection to {_PEER} timed out",
    rf"channel \d+: open failed: connect failed: (?:{_PASSING}|Temporary failure in name resolution)",
    r"stdio forwarding failed",
)
_FINAL = (
    r"ssh: connect to (?:host|address) (?P<host>\S+) port \d+: .+",
    r"ssh: Could not resolve hostname (?P<host>\S+): .+",
    r"(?:kex|ssh)_exchange_identification: .+",
    rf"banner exchange: Connection to {_PEER}: .+",
    r"channel \d+: open failed: .+",
    r"Host key verification failed\.",
    r"(?:[^\s:]+@(?P<host>\S+): )?Permission denied \([\w,@.-]*\)\.",
    rf"Received disconnect from {_PEER}:2: Too many authentication failures.*",
    rf"Unable to negotiate with {_PEER}: .+",
)
# Said before or beside a failure; none of them is one.
_BESIDE = (
    r"Warning: Permanently added '.+' \(.+\) to the list of known hosts\.",
    rf"Disconnected from {_PEER}",
    r"scp: Connection closed|lost connection",
    r"Permission denied, please try again\.",
    r"Pseudo-terminal will not be allocated because stdin is not a terminal\.",
    r"Warning: Identity file .+ not accessible: .+|no such identity: .+|Load key \".+\": .+|sign_and_send_pubkey: .+",
    r"Permissions 0\d+ for '.+' are too open\.",
    r"It is required that your private key files are NOT accessible by others\.",
    r"This private key will be ignored\.",
    r"@+|@ +WARNING: .+ +@",
    r"IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
    r"Someone could be eavesdropping on you right now \(man-in-the-middle attack\)!",
    r"It is also possible that a host key has just been changed\.",
    r"The fingerprint for the \S+ key sent by the remote host is|(?:SHA256|MD5):\S+",
    r"Please contact your system administrator\.",
    r"Add correct host key in .+ to get rid of this message\.",
    r"(?:Offending|Matching) (?:\S+ )?(?:host )?key (?:for IP )?in .+:\d+|remove with:|ssh-keygen -f .+ -R .+",
    r"The \S+ host key for .+ has changed,|and the key for the corresponding IP address .+",
    r"is (?:unknown|unchanged)\. This could either mean that|DNS SPOOFING is happening or the IP address for the host",
    r"and its host key have changed at the same time\.",
    r"(?:Host key for|\S+ host key for) .+ has changed and you have requested strict checking\.",
    r"No \S+ host key is known for .+ and you have requested strict checking\.",
    r"Found \S+ key in .+:\d+|It is also possible that .+|Update the SSHFP RR in DNS with the new host key .+",
    r"(?:Password|Keyboard-interactive) authentication is disabled to avoid man-in-the-middle attacks\.",
    r"(?:Agent|X11|Port|UpdateHostkeys|Tunnel).* (?:is|are) disabled .+",
    r"(?:\S+ )?\[\S+\] \d+ (?:\(\S+\) )?: .+|(?:nc|Ncat): .+",  # netcat as ProxyCommand
    r"ControlSocket .+ already exists, disabling multiplexing|Control socket connect\(.+\): .+",
    # Said by the client of a shared connection that could not have a session over it, and connects for itself.
    r"muxclient: master hello exchange failed|mux_client_hello_exchange: (?:read|write) packet.*",
    r"mux_client_request_session: (?:(?:read from|write to) master failed: .+|write packet: .+|session request failed: .+)",
    r"\*\* .+",  # OpenSSH 10: key exchange that is not post-quantum
    r"\"?System is booting up\. .+",  # pam_nologin, on a node that was just started
)


def _one_of(patterns: tuple[str, ...]) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in patterns]


_RETRYABLE_PATTERNS, _FINAL_PATTERNS, _BESIDE_PATTERNS = _one_of(_RETRYABLE), _one_of(_FINAL), _one_of(_BESIDE)


def diagnose(exit_code: int | None, stdout_is_empty: bool, stderr: str, address: str, stderr_is_local: bool) -> ConnectionFailure | None:
    """The failure to connect that these outcomes of ssh or scp tell, or None.

    :param stderr_is_local: nothing in `stderr` can come from the other side (a pty, or scp).  If False, only messages
        that name `address` tell a failure, and one that names another host denies it: the remote command may itself
        have been an ssh.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if not stdout_is_empty or not lines:
        return None
    # scp says 255, or 1 in its old protocol; 1 from an ssh is the command's own.
    ended_as_scp = stderr_is_local and lines[-1] in ("lost connection", "scp: Connection closed")
    if exit_code != 255 and not (exit_code == 1 and ended_as_scp):
        return None
    failures: list[ConnectionFailure] = []
    for line in lines:
        told = _told_by(line)
        if told is None:
            if not any(pattern.fullmatch(line) for pattern in _BESIDE_PATTERNS):
                return None
            continue
        failure, host = told
        if stderr_is_local:
            failures.append(failure)
        elif host is not None:
            if not _same_host(host, address):
                return None
            failures.append(failure)
    if not failures:
        return None
    return ConnectionFailure(
        message=failures[0].message,
        timed_out=any(failure.timed_out for failure in failures),
        retryable=all(failure.retryable for failure in failures),
    )


def _told_by(line: str) -> tuple[ConnectionFailure, str | None] | None:
    """The failure that one line tells, with the host it names."""
    for retryable, patterns in ((True, _RETRYABLE_PATTERNS), (False, _FINAL_PATTERNS)):
        for pattern in patterns:
            found = pattern.fullmatch(line)
            if found:
                return ConnectionFailure(line, "timed out" in line, retryable), found.groupdict().get("host")
    return None


def _same_host(named: str, address: str) -> bool:
    return named.strip("[]").lower() == address.rpartition("@")[2].strip("[]").lower()
