"""What a `LocalCluster` writes for OpenSSH: pure, text and tuples only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from execo.config import make_default_connection_params

HOST_KEY, CLIENT_KEY, AUTHORIZED_KEYS = "host_key", "client_key", "authorized_keys"
SSHD_CONFIG, SSH_CONFIG, DESCRIPTION, LOG, CONTROL, BOOT = "sshd_config", "ssh_config", "cluster.json", "log", "control", "boot"
"""Names of the files in the directory of a cluster."""


def quote_path(path: Path) -> str:
    """A file name as the configuration files of OpenSSH read it."""
    text = str(path)
    if set(text) & set('"\\%\n'):  # % begins a token, in some options only
        raise ValueError(f"OpenSSH cannot read a configuration with this file name: {text!r}")
    return f'"{text}"'


def sshd_config(
    directory: Path,
    *,
    use_pam: bool = False,
    port: int | None = None,
    penalties: bool = False,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> str:
    """Configuration of the server.

    :param port: port to listen on; None for `sshd -i`, which is given connections.
    :param penalties: whether this sshd knows PerSourcePenalties (since OpenSSH 9.8), which would turn down a client
        that was refused a few times: here all hosts see one client.
    :param options: of the user: they win over ours.
    """
    # bash started by sshd reads ~/.bashrc, which may take 100 ms, unless it is told that it is not the outermost shell.
    set_env = {"SHLVL": "1", **(environment or {})}
    lines = [
        f"HostKey {quote_path(directory / HOST_KEY)}",
        f"AuthorizedKeysFile {quote_path(directory / AUTHORIZED_KEYS)}",
        "PidFile none",
        f"UsePAM {'yes' if use_pam else 'no'}",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "PermitUserRC no",
        "MaxStartups 10000",
        "MaxSessions 1000",
        "LoginGraceTime 120",
        "LogLevel ERROR",
        "Subsystem sftp internal-sftp",
        # Half the processor time of a connection is its key exchange: the default one guards against recordings of
        # today being read by the computers of tomorrow, which does not matter within one machine.
        "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org",      # two names of one; paramiko asks for the second
        "Ciphers aes128-gcm@openssh.com,aes128-ctr,aes256-ctr",
        "SetEnv " + " ".join(f'"{name}={value}"' for name, value in set_env.items()),
    ]
    if port is not None:
        lines += [f"Port {port}", "ListenAddress 0.0.0.0"]
    if penalties:
        lines.append("PerSourcePenalties no")
    # Some options have the first value that sshd meets, some the last.
    overruled = {name.lower() for name in options or {}}
    lines = [line for line in lines if line.split()[0].lower() not in overruled]
    lines += [f"{name} {value}" for name, value in (options or {}).items()]
    return "\n".join(lines) + "\n"


def checked_sshd_options(options: object, isolation: str | None, server: str) -> dict[str, str]:
    """{name: value} as text.

    :raises ValueError: for what could not work.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"sshd_options: expected a mapping, found {options!r}")
    if server != "sshd":
        raise ValueError(f"sshd_options need server='sshd', found {server!r}")
    checked = {}
    for name, value in options.items():
        if not isinstance(name, str) or not name.isalpha() or "\n" in str(value):
            raise ValueError(f"sshd_options: expected names and values as in sshd_config(5), found {name!r}: {value!r}")
        if name.lower() == "maxstartups" and isolation is None:
            raise ValueError("sshd_options: MaxStartups needs isolation='namespaces'; without, each connection has its own sshd")
        checked[name] = str(value)
    return checked


def ssh_config(directory: Path, user: str, port: int, hosts: Mapping[str, str]) -> str:
    """Configuration of the client; `hosts` is {name: address}, so that names work as well as addresses.

    OpenSSH takes the first value that it meets: options on the command line win over these.
    """
    aliases = "".join(f"Host {name}\n    HostName {address}\n" for name, address in hosts.items())
    options = {
        "User": user,
        "Port": port,
        "IdentityFile": quote_path(directory / CLIENT_KEY),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "GSSAPIAuthentication": "no",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",  # no "Permanently added ..." in the output of commands
    }
    return aliases + "Host *\n" + "".join(f"    {name} {value}\n" for name, value in options.items())


def connection_params(directory: Path, user: str, port: int) -> dict[str, Any]:
    """Connection parameters for any action: the factory ones, with the cluster's key and client configuration."""
    params = make_default_connection_params()
    for name in ("ssh_options", "scp_options", "taktuk_connector_options"):
        params[name] = ("-F", str(directory / SSH_CONFIG), *params[name])
    return {**params, "user": user, "keyfile": str(directory / CLIENT_KEY), "port": port}


def node_names(n: int) -> list[str]:
    return [f"node-{i}" for i in range(1, n + 1)]


def parse_openssh_version(text: str) -> tuple[int, int]:
    """Version in what `sshd -V` prints, (0, 0) if there is none; older ones print it before their usage."""
    _, found, rest = text.partition("OpenSSH_")
    numbers = rest.split("p", 1)[0].split(",", 1)[0].split(".")[:2] if found else []
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 and all(map(str.isdigit, numbers)) else (0, 0)


def locked(password: str) -> bool:
    """Whether sshd without PAM refuses an account with this password field of /etc/shadow."""
    return password.startswith("!")
