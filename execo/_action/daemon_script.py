"""What is run on a host to start, watch and stop a daemon, and what it answers.  Pure: text only; POSIX sh and /proc there.

A daemon has a directory of its own, DIRECTORY/NAME, readable by its user only:

    id              boot id, pid, start time of that pid in ticks since the boot, date in Unix seconds, token
    stdout, stderr  of the command
    exit            exit code, once it has ended

The pid is that of a supervisor, which leads a session and a process group of its own, and writes `exit`.  A pid counts only together with
its start time and the boot: a number that has been given to another process is never signalled.  If the supervisor was killed, a
process of its group counts if it has the token in its environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..host import Host

MARK = "execo-daemon"
DIRECTORY = "$HOME/.execo/daemons/$(uname -n)"
"""On the host.  The name of the host is part of it as home directories may be shared."""

# In one line, without a single quote or an exclamation mark: the login shell may be any.
_COMMON = r"""
umask_=$(umask); umask 077; verb=$1; d=$3;
if [ -z "$d" ]; then d=$HOME/.execo/daemons/$(uname -n); fi;
n=$d/$2;
say() { echo "execo-daemon $*"; exit 0; };
stat_of() { IFS= read -r s 2>/dev/null </proc/$1/stat || return 1;
  set -- ${s##*) }; state=$1; group=$3; shift 19; ticks=$1;
  case $state in Z|X) return 1;; esac; };
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || say error - - - it has no /proc of Linux;
known() { p=; read -r b p t since token 2>/dev/null <"$n/id" && [ "$p" ]; };
leads() { [ "$b" = "$boot" ] && stat_of "$p" && [ "$ticks" = "$t" ]; };
ours() { leads || tr "\0" "\n" 2>/dev/null </proc/$1/environ | grep -qx "EXECO_DAEMON=$token"; };
members() { [ "$b" = "$boot" ] || return 0;
  for f in /proc/[0-9]*; do q=${f#/proc/};
    if stat_of $q && [ "$group" = "$p" ] && ours $q; then echo $q; fi;
  done; };
nap() { sleep 0.1 2>/dev/null || sleep 1; };
tell() { known || say none;
  if leads; then say running $p $since; fi;
  if [ -s "$n/exit" ]; then say ended $p $since "$(cat "$n/exit")"; fi;
  say lost $p $since; };
"""
_START = r"""
mkdir -p -- "$d" 2>/dev/null; [ -d "$d" ] || say error - - - cannot make the directory $d;
[ -O "$d" ] || say error - - - the directory $d belongs to somebody else;
case $(ls -ldL -- "$d") in d???------*) ;; *) say error - - - the directory $d is open to others;; esac;
lock=$n.lock; i=0; missing=0;
until mkdir "$lock" 2>/dev/null; do
  mkdir -p -- "$d" 2>/dev/null;
  [ -d "$lock" ] || missing=$((missing + 1)); [ $missing -lt 5 ] || say error - - - cannot write in $d;
  p=; read -r b p t 2>/dev/null <"$lock/id"; i=$((i + 1));
  if [ "$p" ] && leads; then [ $i -lt 100 ] || say error - - - somebody else holds $lock; elif [ $i -gt 9 ]; then rm -rf "$lock"; i=0; fi;
  nap;
done;
trap "rm -rf \"\$lock\"" 0;
stat_of $$; token=$boot.$$.$ticks; echo "$boot $$ $ticks" >"$lock/id" || say error - - - cannot write in $d;
if known && { leads || [ "$(members)" ]; }; then say taken $p $since; fi;
rm -rf "$n"; mkdir "$n" && : >"$n/stdout" && : >"$n/stderr" || say error - - - cannot write in $d;
token=$boot.$$.$(date +%s); export EXECO_DAEMON=$token; since=$(date +%s);
set -- sh -c "$5" sh "$n" "${SHELL:-/bin/sh}" "$4" "$umask_";
if perl -MPOSIX -e 1 2>/dev/null; then
  perl -MPOSIX -e "\$SIG{INT} = \$SIG{QUIT} = q(DEFAULT); setsid; exec @ARGV" "$@" </dev/null >>"$n/stdout" 2>>"$n/stderr" &
elif command -v setsid >/dev/null; then setsid "$@" </dev/null >>"$n/stdout" 2>>"$n/stderr" &
else rm -rf "$n"; say error - - - it has neither perl nor setsid; fi;
p=$!; stat_of $p; echo "$boot $p $ticks $since $token" >"$n/id.new" && mv "$n/id.new" "$n/id" ||
  { kill -9 $p; say error - - - cannot write in $d; };
while stat_of $p && [ "$group" -ne $p ]; do nap; done;
say started $p $since
"""
_STOP = r"""
known || say none;
end=$(( $(date +%s) + $4 + ($4 > 0) ));
signal() { if leads && kill -$1 -- -$p 2>/dev/null; then :; else for q in $(members); do kill -$1 $q 2>/dev/null; done; fi; };
if [ "$(members)" ]; then
  signal TERM; sent=143;
  while [ "$(members)" ]; do
    if [ $(date +%s) -ge $end ]; then signal KILL; sent=137; fi;
    [ $(date +%s) -lt $((end + 10)) ] || say error $p $since - it does not end;
    nap;
  done;
  [ -s "$n/exit" ] || echo $sent >"$n/exit";
fi;
tell
"""
_STATUS = "tell"
_REMOVE = r"""
known && { leads || [ "$(members)" ]; } && tell;
rm -rf "$n"; [ -e "$n" ] && say error - - - cannot remove $n;
if [ -z "$3" ]; then rmdir "$d" "$HOME/.execo/daemons" "$HOME/.execo" 2>/dev/null; fi; say none
"""
_READ = r"""
known || { echo "no daemon $2 on this host" >&2; exit 3; };
if [ "$5" ]; then tail -n "$5" "$n/$4"; else cat "$n/$4"; fi
"""
_FOLLOW = r"""
known || { echo "no daemon $2 on this host" >&2; exit 3; };
tail -n "$5" -f "$n/$4" & tail=$!; exec 3<&0;
{ cat >/dev/null; kill $tail; } <&3 2>/dev/null & cat=$!;
while leads && kill -0 $tail 2>/dev/null; do nap; done;
sleep 1; kill $tail $cat 2>/dev/null
"""
# What a trap catches, the command does not ignore.
_SUPERVISOR = r"""
trap : HUP INT QUIT USR1 USR2 TERM; umask $4; "$2" -c "$3"; code=$?; umask 077; echo $code >"$1/exit.new" && mv "$1/exit.new" "$1/exit"
"""
_SCRIPTS = {"start": _START, "stop": _STOP, "status": _STATUS, "remove": _REMOVE, "read": _READ, "follow": _FOLLOW}


def script_command(verb: str, name: str, directory: str, *arguments: str) -> str:
    """The command, in one line, for any login shell.

    start COMMAND; stop SECONDS; status; remove; read FILE LINES; follow FILE LINES.
    """
    script = _one_line(_COMMON + _SCRIPTS[verb])
    more = [_one_line(_SUPERVISOR)] if verb == "start" else []
    return " ".join([f"exec /bin/sh -c '{script}' sh", *map(quoted, (verb, name, directory, *arguments, *more))])


def _one_line(script: str) -> str:
    return " ".join(script.split())


def checked_name(name: str) -> str:
    """:raises ValueError: for what would be no plain file name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@+=,-]{0,199}", name):
        raise ValueError(f"name of a daemon: expected letters, digits and _ . @ + = , - (not as first), found {name!r}")
    return name


@dataclass(frozen=True)
class DaemonStatus:
    """What is known of a daemon on one host."""

    host: Host
    name: str
    """On this host: substitution is done."""
    state: str
    """'running'; 'ended'; 'lost': it is gone and left no exit code (the host rebooted, or its supervisor was killed); 'none': there is none
    of this name; 'taken': it was not started since one of this name runs; 'error': see `reason`."""
    pid: int | None = None
    """On the host, of its supervisor: also its session and its process group."""
    start_date: int | None = None
    """Unix seconds, by the clock of the host."""
    exit_code: int | None = None
    """As the shell tells it: 143 after SIGTERM."""
    reason: str = ""
    """Why it is not running, for a human."""

    @property
    def running(self) -> bool:
        return self.state == "running"


def parse_answer(host: Host, name: str, stdout: str, otherwise: str) -> DaemonStatus:
    """The status in what a script printed.

    :param otherwise: the reason, if there is no answer in it.
    """
    found = re.search(rf"^{MARK} (\w+)(?: (\d+|-) (\d+|-)(?: (\d+|-))?)?(?: (.*?))?\r?$", stdout, re.MULTILINE)
    if not found:
        return DaemonStatus(host, name, "error", reason=otherwise or "no answer")
    state, *numbers, reason = found.groups()
    pid, date, code = (int(number) if number and number != "-" else None for number in numbers)
    facts: dict[str, Any] = {"pid": pid, "start_date": date, "exit_code": code, "reason": reason or _reason(state, name, pid, code)}
    return DaemonStatus(host, name, "running" if state == "started" else state, **facts)


def _reason(state: str, name: str, pid: int | None, code: int | None) -> str:
    return {
        "taken": f"a daemon {name!r} runs there already, pid {pid}",
        "ended": f"it has ended, exit code {code}",
        "lost": "it is gone and left no exit code: the host was rebooted, or it was killed with its supervisor",
        "none": f"there is no daemon {name!r}",
    }.get(state, "")
