"""Wait until the ssh server of each VM answers: connections from the hosts, without nmap."""

from __future__ import annotations

import shlex
import time

from execo.host import Host
from execo.log import logger

from .actions import TIMEOUT, checked_seconds, start_vms
from .description import by_host, checked_vms
from .remote import HostScript, VMAction, new_nonce
from .script import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from execo.time_utils import Duration

    from .description import VM
    from .domain import Hypervisor
    from .outcome import VMResult

GRACE = 30
"""Seconds that a host has beyond the time that the VMs have."""

# perl is there, as TakTuk needs it.  A server that has begun to listen may still be far from an answer, so its greeting is read.
PROBE = r"""
use strict; use warnings; use IO::Socket::INET; use IO::Select; use Time::HiRes qw(time sleep);
$| = 1;
my ($nonce, $seconds, $port) = splice @ARGV, 0, 3;
my $end = time + $seconds;
my (%left, %why);
while (defined(my $name = <STDIN>)) { chomp $name; chomp(my $ip = <STDIN>); $left{$name} = $ip;
    $why{$name} = "no answer of $ip port $port" }
sub told {
    my ($name, $status, $text) = @_;
    print "\n\@$nonce > $name\n$text\n\@$nonce < $status $name\n";
    delete $left{$name};
}
while (%left) {
    my (%name_of, $all);
    $all = IO::Select->new;
    for my $name (keys %left) {
        my $socket = IO::Socket::INET->new(PeerAddr => $left{$name}, PeerPort => $port, Proto => "tcp", Blocking => 0);
        if ($socket) { $name_of{fileno $socket} = $name; $all->add($socket) } else { $why{$name} = "$left{$name}: $!" }
    }
    my $until = time + 3;
    $until = $end if $until > $end;
    while ($all->count and (my $pause = $until - time) > 0) {
        for my $socket ($all->can_read($pause)) {
            my $name = $name_of{fileno $socket};
            my $read = sysread $socket, my $text, 255;
            next if !defined $read and $!{EAGAIN};
            $all->remove($socket);
            if ($read and $text =~ /^SSH-/) { told($name, 0, $text =~ s/[^ -~].*//sr) }
            else { $why{$name} = defined $read ? "$left{$name} port $port is not ssh, or is not ready" : "$left{$name} port $port: $!" }
            close $socket;
        }
    }
    last if time >= $end;
    sleep 0.2 if %left;
}
told($_, 1, "$why{$_} within $seconds s") for sort keys %left;
"""


def probe_script(nonce: str, addresses: Iterable[tuple[str, str]], seconds: float, port: int) -> str:
    """Script that tells of each (name, address) whether ssh answered within the time."""
    words = [word for name, address in addresses for word in (name, address)]
    return (write_file("probe", PROBE) + write_file("names", "".join(word + "\n" for word in words))
            + f"perl probe {shlex.quote(nonce)} {seconds:g} {port:d} < names\n")


def ssh_probe(vms: Iterable[VM], timeout: Duration = 60, connection_params: Mapping[str, Any] | None = None,
              host: Host | str | None = None, port: int = 22) -> VMAction:
    """Which VMs answer by ssh, asked by their hosts; sets their `state`.

    :param timeout: for an answer.
    :param host: that asks all, instead of the host of each.
    :raises ValueError: for a VM without ip.
    """
    guests = checked_vms(vms, placed=host is None)
    if homeless := [vm["id"] for vm in guests if vm.get("ip") is None]:
        raise ValueError(f"VMs without ip: {', '.join(homeless)}")
    seconds, nonce = checked_seconds(timeout), new_nonce()
    groups = by_host(guests) if host is None else [(Host(host), guests)]
    scripts = [HostScript(asking, tuple(vm["id"] for vm in theirs),
                          probe_script(nonce, [(vm["id"], str(vm["ip"])) for vm in theirs], seconds, port)) for asking, theirs in groups]

    def set_states(results: Mapping[str, VMResult]) -> None:
        for vm in guests:
            vm["state"] = "OK" if results[vm["id"]].ok else "KO"

    return VMAction("wait for ssh", scripts, nonce, connection_params, seconds + GRACE, then=set_states)


def wait_vms_have_started(vms: Iterable[VM], restart: bool = True, timeout: Duration = 600, hypervisor: Hypervisor | None = None,
                          connection_params: Mapping[str, Any] | None = None, host: Host | str | None = None) -> bool:
    """Whether the ssh servers of all VMs answer within the time; their `state` says which do.

    :param restart: after a third of the time, and after another one, start those that do not answer and do not run.
    :param timeout: in all; a host that hangs has `GRACE` seconds more.
    :param host: that asks all, instead of the host of each.
    """
    waiting = checked_vms(vms)
    end = time.monotonic() + checked_seconds(timeout)
    for part in (3, 2, 1) if restart else (1,):
        left = end - time.monotonic()
        if left <= 0:
            break
        ssh_probe(waiting, max(1.0, left / part), connection_params, host).run()
        waiting = [vm for vm in waiting if vm["state"] != "OK"]
        if not waiting:
            return True
        if part > 1 and (left := end - time.monotonic()) > 0:
            logger.info("%d VMs do not answer yet; those that do not run are started again", len(waiting))
            start_vms(waiting, hypervisor, connection_params, min(left, TIMEOUT)).run()
    return not waiting
