"""What is to be deployed, and the command lines of kadeploy3 for it.  Pure: no process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from execo.host import Host, get_unique_hosts_list

from ..config import g5k_configuration
from ..utils import get_default_frontend, site_of_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Deployment:
    """Hosts, and the environment that they shall run.

    :param hosts: one or several, `execo.Host` or names.
    :param env_file: description of an environment: a file on the frontend, or a URL.
    :param env_name: name of an environment that kadeploy3 knows.  Of both, give one; with none, ``g5k_configuration`` says
      (``default_env_name``, ``default_env_file``).
    :param user: whose environment it is.
    :param vlan: number of the VLAN into which the hosts are put; or of one for each site, ``{site: number}``.
    :param other_options: more options of kadeploy3, words of a shell.
    :param env_version: version of the environment; None: the latest.
    """

    env_version: int | str | None = None

    def __init__(self, hosts: Iterable[Host | str] | Host | str | None = None, env_file: str | None = None, env_name: str | None = None,
                 user: str | None = None, vlan: int | str | Mapping[str, int | str] | None = None, other_options: str | None = None,
                 env_version: int | str | None = None) -> None:
        self.hosts = list(hosts) if isinstance(hosts, Iterator) else hosts
        self.env_file = env_file
        self.env_name = env_name
        self.user = user
        self.vlan = vlan
        self.other_options = other_options
        if env_version is not None:         # the contract fixes what `vars` gives
            self.env_version = env_version

    def __repr__(self) -> str:
        names = ("hosts", "env_file", "env_name", "user", "vlan", "other_options", "env_version")
        shown = (f"{name}={value!r}" for name in names if (value := getattr(self, name)) is not None)
        return f"Deployment({', '.join(shown)})"


def hosts_of(deployment: Deployment) -> list[Host]:
    """Its hosts, each once."""
    if deployment.hosts is None:
        return []
    unique = get_unique_hosts_list(deployment.hosts)
    first = {host.address: host for host in reversed(unique)}           # kadeploy3 knows nothing of users and ports
    return [host for host in unique if first[host.address] is host]


def same_with(deployment: Deployment, hosts: Iterable[Host | str]) -> Deployment:
    """The same environment for other hosts."""
    other = Deployment.__new__(type(deployment))
    other.__dict__.update(deployment.__dict__)
    other.hosts = list(hosts)
    return other


def environment_of(deployment: Deployment) -> tuple[str | None, str | None]:
    """(file, name) of the environment: one of them is None.

    :raises ValueError: if it has none, or two.
    """
    env_file, env_name = deployment.env_file, deployment.env_name
    if env_file is None and env_name is None:
        env_file, env_name = g5k_configuration["default_env_file"], g5k_configuration["default_env_name"]
    if env_file is not None and env_name is not None:
        raise ValueError(f"a deployment has one environment, but found both env_file={env_file!r} and env_name={env_name!r}")
    for name, value in (("env_file", env_file), ("env_name", env_name)):
        if value is not None and (not str(value).strip() or str(value).startswith("-")):
            raise ValueError(f"{name} of a deployment: expected a name, found {value!r}")
    if env_file is None and env_name is None:
        raise ValueError("a deployment without environment: give env_name or env_file, or set g5k_configuration['default_env_name']")
    return env_file, env_name


def vlan_of(deployment: Deployment, addresses: Iterable[str]) -> int | None:
    """Number of the VLAN of these of its hosts, which have the same frontend.

    :raises ValueError: for what is no number.
    """
    vlan = deployment.vlan
    if isinstance(vlan, Mapping):
        vlan = next((vlan.get(frontend_of(address) or "") for address in addresses), None)
    if vlan is None:
        return None
    if isinstance(vlan, bool) or not re.fullmatch(r"[0-9]+", str(vlan)):
        raise ValueError(f"vlan of a deployment: expected its number, found {vlan!r}")
    return int(vlan)


def frontend_of(address: str) -> str | None:
    """Site of a host: the second word of ``host-1.site.grid5000.fr`` and ``host-1.site``; else the default frontend."""
    site = site_of_name(address)
    if site is not None:
        return site
    _, dot, rest = address.partition(".")
    return rest if dot and "." not in rest else get_default_frontend()


def by_frontend(addresses: Iterable[str]) -> dict[str | None, list[str]]:
    """The hosts of each frontend, all in the order given."""
    found: dict[str | None, list[str]] = {}
    for address in addresses:
        found.setdefault(frontend_of(address), []).append(address)
    return found


def quoted_path(path: str) -> str:
    """One word of a shell, of which a ``~`` or ``~user`` at the beginning stays one."""
    home = re.match(r"~[A-Za-z0-9_.-]*(/|$)", path)         # a quoted slash would end what the shell replaces
    if home is None:
        return shlex.quote(path)
    rest = path[home.end():]
    return home[0] + (shlex.quote(rest) if rest else "")


def get_kadeploy_commandline(deployment: Deployment, addresses: Iterable[str]) -> str:
    """The line of shell that deploys these of its hosts, on their frontend.

    All values are quoted but ``other_options`` and those of ``g5k_configuration``.

    :raises ValueError: if its environment, its VLAN, or the name of a host is none.
    """
    env_file, env_name = environment_of(deployment)
    addresses = list(addresses)
    words = [str(g5k_configuration["kadeploy3"])]
    if g5k_configuration["kadeploy3_options"]:
        words.append(g5k_configuration["kadeploy3_options"])
    words.append(f"-a {quoted_path(str(env_file))}" if env_file is not None else f"-e {shlex.quote(str(env_name))}")
    if deployment.env_version is not None:
        words.append(f"--env-version {shlex.quote(str(deployment.env_version))}")
    if deployment.user is not None:
        words.append(f"-u {shlex.quote(str(deployment.user))}")
    if (vlan := vlan_of(deployment, addresses)) is not None:
        words.append(f"--vlan {vlan}")
    if deployment.other_options:
        words.append(deployment.other_options)
    for address in addresses:
        if not address or address.startswith("-") or any(character.isspace() for character in address):
            raise ValueError(f"host to deploy: expected its name, found {address!r}")
        words.append(f"-m {shlex.quote(address)}")
    return " ".join(words)
