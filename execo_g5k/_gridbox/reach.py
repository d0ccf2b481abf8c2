"""How hosts and frontends of the box are reached: a configuration for OpenSSH.  Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from .machines import DOMAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

COMMON = """\
Host *
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    GSSAPIAuthentication no
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    LogLevel ERROR
"""
OUTSIDE = f"""\
Host *.{DOMAIN} *.grid5000.org
    ProxyCommand sh -c 'echo "%h is not in the box" >&2; echo SSH-1.0-none'
"""
"""A mistake in a name must not reach the real Grid'5000.  The old protocol is refused at once, where silence would look like a server that
is too busy, and be asked again."""


VALUES_OF = {"ssh": ("BbcDEeFIiJLlmOoPpQRSWw", "-oUser=*|-l*"), "scp": ("cDFiJloPSX", "-oUser=*")}
"""{program: (letters of the options that have a value, pattern of those that name a user)}."""
WITHOUT_USER = """\
#!/bin/sh
# Scripts name accounts of Grid'5000, or root; in the box, each machine has one user only, whom the configuration names.
left=$# options=yes
while [ "$left" -gt 0 ]; do
    word=$1 left=$((left - 1))
    shift
    case $options$word in
    yes-[LETTERS])                  # an option with a value
        [ "$left" -gt 0 ] || exec PROGRAM "$@" "$word"
        value=$1 left=$((left - 1))
        shift
        case $word$value in DROPPED) ;; *) set -- "$@" "$word" "$value" ;; esac ;;
    yes-*) set -- "$@" "$word" ;;
    *) options='' && set -- "$@" "$word" ;;
    esac
done
exec PROGRAM "$@"
"""


@dataclass(frozen=True)
class Frontend:
    site: str
    user: str
    command: Sequence[str]
    """Speaks ssh when it is run here."""


def node_names(fqdn: str) -> list[str]:
    """Patterns for all names of a node: in full, short, of its interfaces and in VLANs; not that of its BMC."""
    short, site = fqdn.split(".")[:2]
    return [f"!{short}-bmc*", short, f"{short}.{site}", fqdn, f"{short}-*.{site}.{DOMAIN}", f"{short}-*.{site}", f"{short}-*"]


def frontend_names(site: str) -> list[str]:
    full = [site, f"frontend.{site}", f"f{site}.{site}"]
    return [f"f{site}", *full, *(f"{name}.{DOMAIN}" for name in full)]


def _quoted(path: str) -> str:
    if set(path) & set('"\\%\n'):
        raise ValueError(f"OpenSSH cannot read a configuration with this file name: {path!r}")
    return f'"{path}"'


def ssh_config(nodes: Mapping[str, str], port: int, user: str, key: str, frontends: Iterable[Frontend]) -> str:
    """What ``ssh -F`` needs, by the first value that it meets.

    :param nodes: {FQDN: address}.
    :param port: of all nodes; so are the user and the file of the key.
    """
    # a name such as saone-1-eth1 belongs to one node only, for no name of a node begins with that of another and a dash
    blocks = [f"Host {' '.join(node_names(name))}\n    HostName {address}\n    ProxyCommand none\n    Port {port}\n    User {user}\n"
              for name, address in nodes.items()]
    for frontend in frontends:
        command = shlex.join(frontend.command).replace("%", "%%")
        blocks.append(f"Host {' '.join(frontend_names(frontend.site))}\n    ProxyCommand {command}\n    User {frontend.user}\n")
    return "".join(blocks) + OUTSIDE + COMMON + f"    IdentityFile {_quoted(key)}\n"


def vlan_block(names: Mapping[str, str]) -> str:
    """What ``ssh -F`` needs before all else, for nodes by their names in a VLAN.

    :param names: {name: address}.
    """
    return "".join(f"Host {name} {'.'.join(name.split('.')[:2])} {name.partition('.')[0]}\n    HostName {address}\n    ProxyCommand none\n"
                   for name, address in names.items())


NO_VLAN = """\
Host *-kavlan-*
    ProxyCommand sh -c 'echo "%h is a name in a VLAN that no node is in" >&2; echo SSH-1.0-none'
"""
"""After the blocks of all VLANs that nodes are in."""


def without_user(name: str, program: str) -> str:
    """A script that runs ssh or scp without the user that it is given by options.

    :param name: which of them.
    """
    letters, dropped = VALUES_OF[name]
    return WITHOUT_USER.replace("LETTERS", letters).replace("DROPPED", dropped).replace("PROGRAM", shlex.quote(program))


def host_table(nodes: Mapping[str, str]) -> str:
    """Lines of /etc/hosts."""
    return "".join(f"{address} {name} {'.'.join(name.split('.')[:2])} {name.partition('.')[0]}\n" for name, address in nodes.items())
