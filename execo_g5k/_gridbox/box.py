"""The life of a box: what is started, in which order, and that nothing of it is left."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from execo._localcluster.namespaces_server import network_prefix
from execo.localcluster import LocalCluster
from execo.log import logger

from . import frontend_server, oar_real, power, reach, scheduler, settings
from . import guests as _guests
from .clock import BoxClock
from .kadeploy.commands import Commands
from .kadeploy.faults import Behaviour
from .kadeploy.frontend import Frontend
from .kadeploy.rest import DeploymentsApi, served
from .kadeploy.service import Kadeploy
from .kadeploy.systems import Systems, boot_script
from .reference import make_reference
from .rest import RestServer
from .site import SiteSetup
from .vlan_links import VlanLinks, vlan_name
from .vlans import Vlans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

    from execo.localcluster import LocalHost

    from .reference import Reference
    from .site import SiteFrontend

OARS = ("auto", "real", "own")
ISOLATIONS = ("auto", "namespaces", None)
_started: weakref.WeakSet[GridBox] = weakref.WeakSet()
_configuring: list[GridBox] = []
"""The one whose settings this program has."""


class GridBox:
    """Grid'5000 on this machine; see `execo_g5k.gridbox`.

    Use it with `with`, or call `start()` and `stop()`.  Both may be called by any thread, one at a time; the attributes are only read
    while it runs.

    :param oar: "real": OAR itself, as root and with its Debian packages; "own": a small scheduler behind the same commands; "auto": the
        real one where it can be had, unless a clock or the charter is asked for.
    :param isolation: of the nodes, as `execo.localcluster.LocalCluster` has it; "auto": namespaces as root, else None.
    :param nodes_per_cluster: at most so many nodes of each cluster; None: all 40.
    :param sites: some of lyon, nancy and rennes; None: all.
    :param clock: the date for OAR, the API and this program, for example a `BoxClock`; None: that of the machine.
    :param charter: refuse jobs that break Grid'5000's usage policy.
    :param other_scheduler: with a fourth site, whose scheduler is not OAR, so that nobody can reserve there.
    :param guests: with a small guest for virtual machines, and the configuration set to run it on nodes that were deployed, as root only.
    :param configure: False leaves the configuration of this program as it is.
    :raises ValueError: for what cannot be had together: a real OAR has the clock of the machine, and rules of its own.
    """

    def __init__(self, *, oar: str = "auto", isolation: str | None = "auto", nodes_per_cluster: int | None = None,
                 sites: Iterable[str] | None = None, clock: Callable[[], float] | None = None, charter: bool = False,
                 other_scheduler: bool = False, guests: bool = False, configure: bool = True) -> None:
        if oar not in OARS:
            raise ValueError(f"oar: expected one of {OARS}, found {oar!r}")
        if isolation not in ISOLATIONS:
            raise ValueError(f"isolation: expected one of {ISOLATIONS}, found {isolation!r}")
        if oar == "real" and clock is not None:
            raise ValueError("oar='real' has the clock of this machine: use oar='own' with a clock")
        if oar == "real" and charter:
            raise ValueError("oar='real' does not know the usage policy: use oar='own' with charter=True")
        if clock is not None and not callable(clock):
            raise TypeError(f"clock: expected a function without arguments, found {clock!r}")
        self.reference: Reference = make_reference(nodes_per_cluster, sites=sites, other_scheduler=other_scheduler)
        """What there is, as the API describes it."""
        self.sites: list[str] = [site for site, described in self.reference.sites.items() if described["clusters"]]
        """Those with nodes."""
        self.clock: Callable[[], float] = time.time if clock is None else clock
        self.hosts: dict[str, LocalHost] = {}
        """{name of a node, fully qualified: the host behind it, whose methods make faults}."""
        self.oars: dict[str, SiteFrontend] = {}
        """{site: its OAR}."""
        self.oar_kind = ""
        """What it is, in words."""
        self.kadeploys: dict[str, Kadeploy] = {}
        """{site: its Kadeploy}, of which `environments` and `workflows()` may be looked at."""
        self.deployments = Behaviour(self.reference.hosts())
        """How deployments behave: seconds of their steps, and faults."""
        self.api: RestServer | None = None
        self.directory: Path | None = None
        """With all files of the box, in a folder that only this user can list; None unless running."""
        self.settings: settings.Settings = {}
        """What is set in the configuration, by the names of the dictionaries."""
        self._wanted_oar = oar
        self._isolation = isolation
        self._charter = charter
        self._guests = guests
        self._configure = configure
        self._cluster: LocalCluster | None = None
        self._frontends: list[Frontend] = []
        self._links: VlanLinks | None = None
        self._networks: _guests.Networks | None = None
        self._vlan_names: dict[str, str] = {}
        self._off: set[str] = set()
        self._names_lock = threading.Lock()
        self._overlay = settings.Overlay()
        self._owner = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = f"{self.oar_kind}, in {self.directory}" if self.directory else "not running"
        return f"<GridBox({', '.join(self.sites)}; {len(self.reference.hosts())} nodes), {state}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def api_uri(self) -> str:
        """Address of the API."""
        if self.api is None:
            raise RuntimeError(f"{self!r}")
        return self.api.uri

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: with it nodes and frontends answer by their names."""
        if self.directory is None:
            raise RuntimeError(f"{self!r}")
        return self.directory / "ssh_config"

    @property
    def host_table(self) -> Path | None:
        """What nodes with namespaces have as /etc/hosts; None for nodes that are addresses of this machine."""
        if self._cluster is None or self._cluster.directory is None or not self._cluster.isolation:
            return None
        return self._cluster.directory / "hosts"

    def start(self) -> Self:
        """Returns when all of it answers.

        :raises OSError: if something cannot be started; the message says what and why.
        :raises RuntimeError: if it runs already, or another box has configured this program.
        """
        with self._lock:
            if self.directory is not None:
                raise RuntimeError(f"it runs already: {self!r}")
            if self._configure and _configuring:
                raise RuntimeError(f"this program uses another box: {_configuring[0]!r}; GridBox(configure=False) leaves it alone")
            self._owner = os.getpid()
            _started.add(self)
            if self._configure:
                _configuring.append(self)
            try:
                self._start()
            except BaseException:
                self._stop()
                raise
        return self

    def stop(self) -> None:
        """Returns when nothing of it is left, and the configuration is as it was.  Does nothing in a forked child, or the second time."""
        if self._owner != os.getpid():
            return
        with self._lock:
            self._stop()

    def crash(self, node: str) -> None:
        """Switch a node off, with all that runs on it, until `boot`; one with namespaces also comes back when it is deployed.

        Without namespaces ssh does not lead there any more, and what it started there is killed; connections that were shared stay.

        :param node: its name in full.
        :raises KeyError: if there is no such node.
        :raises RuntimeError: if it is off, or the box does not run.
        """
        if self.host_table is not None:
            self.hosts[node].crash()
        else:
            self._switch(node, off=True)
            assert self._cluster is not None
            power.end_sessions(self.hosts[node].address, self._cluster.connection_params["port"])

    def boot(self, node: str) -> None:
        """Switch a node on; see `crash`."""
        if self.host_table is not None:
            self.hosts[node].boot()
        else:
            self._switch(node, off=False)

    def _switch(self, node: str, off: bool) -> None:
        if self.directory is None:
            raise RuntimeError(f"{self!r}")
        addresses = {name: host.address for name, host in self.hosts.items()}
        with self._names_lock:
            if node not in addresses:
                raise KeyError(node)
            if (node in self._off) == off:
                raise RuntimeError(f"{node} is {'off' if off else 'on'} already")
            self._off ^= {node}
            self._write_ssh_config(addresses, self.directory / "key")

    # -- parts --------------------------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        make, why = self._choose_oar()
        if self._guests:
            _guests.check(self._isolation is not None and os.geteuid() == 0)
        self._cluster = cluster = self._make_cluster()
        if self._guests:
            _guests.check(bool(cluster.isolation))
            self._networks = _guests.Networks({site: self.reference.sites[site]["site"] for site in self.sites})
        assert cluster.directory is not None
        self.directory = directory = cluster.directory / "grid"       # the cluster's supervisor removes it whatever becomes of us
        directory.mkdir()
        if make is oar_real.RealOar:
            # its user is another one, and has to reach his files below
            for folder in (cluster.directory, directory):
                folder.chmod(0o711)
        nodes = self.reference.hosts()
        self.hosts = dict(zip(nodes, cluster.hosts, strict=False))
        addresses = {name: host.address for name, host in self.hosts.items()}
        self._share_names(addresses)
        key, config = self._copy_key(cluster.directory, directory), self.ssh_config
        for site in self.sites:
            place = directory / site
            place.mkdir()
            mine = {name: address for name, address in addresses.items() if name.split(".")[1] == site}
            rows = self.reference.oar_rows(site)
            if self._networks is not None:
                rows = self._networks.move_subnets(rows, site)
            self.oars[site] = make(SiteSetup(site, place, rows, mine, key, config, self.clock, self._charter))
        self.oar_kind = next(iter(self.oars.values())).kind
        self._write_ssh_config(addresses, key)
        self._start_oars()
        self.oar_kind = next(iter(self.oars.values())).kind           # now it may know its version
        logger.info("Grid'5000 in a box: %s; %i nodes, %s: %s%s", ", ".join(self.sites), len(nodes),
                    "each with namespaces of its own" if cluster.isolation else "addresses of this machine", self.oar_kind, why)
        self.api = RestServer(self.reference, self.oars, clock=self.clock, vlan_rights=True).start()
        check = self._start_kadeploys(addresses, key)
        state = directory / "state"
        state.mkdir()
        self.settings = settings.make_settings(config, self._write_tools(directory), self.api.uri, self.sites[0], state, addresses, key,
                                               check)
        if self._networks is not None:
            free = _guests.free_addresses(addresses.values(), network_prefix(len(addresses)))
            self.settings["g5k_configuration"] |= _guests.make_settings(cluster.directory / "guest", free, self._networks.all)
            self._networks.lead(next(iter(addresses.values())))
        if isinstance(self.clock, BoxClock):
            self.clock.share(directory / "clock.json")
        if self._configure:
            clock = None if self.clock is time.time else self.clock
            self._overlay.apply(self.settings, clock, {"PATH": self._path(), **_unproxied()})

    def _choose_oar(self) -> tuple[Callable[[SiteSetup], SiteFrontend], str]:
        """What makes the OAR of a site, and a reason for the log."""
        own: Callable[[SiteSetup], SiteFrontend] = scheduler.OwnOar
        if self._wanted_oar == "own":
            return own, ""
        if self._wanted_oar == "auto" and (self.clock is not time.time or self._charter):
            return own, ""
        obstacle = oar_real.why_not()
        if obstacle is None:
            return oar_real.RealOar, ""
        if self._wanted_oar == "real":
            raise OSError(f"oar='real' cannot run here: {obstacle}")
        return own, f" (no real one here: {obstacle})"

    def _make_cluster(self) -> LocalCluster:
        nodes = self.reference.hosts()
        isolation = self._isolation
        if isolation == "auto":
            isolation = "namespaces" if os.geteuid() == 0 else None
        try:
            return self._named_cluster(nodes, isolation).start()
        except OSError as error:
            if self._isolation != "auto" or isolation is None:
                raise
            logger.info("Grid'5000 in a box: no namespaces: %s", error)        # a container without the right to make them
            return self._named_cluster(nodes, None).start()

    def _named_cluster(self, names: Sequence[str], isolation: str | None) -> LocalCluster:
        cluster = LocalCluster(len(names), isolation)
        cluster.names = list(names)             # those of its hosts, where they have one
        cluster.boot_script = boot_script() if isolation else ""
        return cluster

    def _start_kadeploys(self, addresses: Mapping[str, str], key: Path) -> str | None:
        """What deploys; returns the check of deployed nodes, if it has to be another one."""
        assert self._cluster is not None
        assert self._cluster.directory is not None
        assert self.api is not None
        systems = Systems(self._cluster.directory, self.hosts, bool(self._cluster.isolation))
        vlans = Vlans({site: self.api.vlans(site) for site in self.sites})
        if self.host_table is not None:
            self._links = VlanLinks(self.hosts, self.host_table, lambda vlan, made: self._name_vlan(vlan, made, addresses, key),
                                    None if self._networks is None else self._networks.of_vlans)
        else:
            logger.info("Grid'5000 in a box: nodes share the files and the account of this user: deployments and VLANs change what is said "
                        "of a node, which check_deployed_command is set to look at")
        public = Path(f"{key}.pub").read_text(encoding="ascii")
        for site, oar in self.oars.items():
            nodes = [node for node in self.hosts if node.split(".")[1] == site]
            if self._links is not None:
                vlans.of(site).mover = self._mover(self._links, site)
            kadeploy = self.kadeploys[site] = Kadeploy(site, nodes, oar, systems, vlans, self.deployments, self.clock, public)
            commands = Commands(kadeploy, systems.enter).table
            frontend = Frontend(site, oar.shared, commands)
            self._frontends.append(frontend)
            frontend.start()
            oar.add_commands(commands, frontend.path)
            kadeploy.start_watch()
        apis = {site: DeploymentsApi(kadeploy) for site, kadeploy in self.kadeploys.items()}
        self.api.extensions["deployments"] = lambda request, site: served(apis, site).deployments(request)
        self.api.extensions["environments"] = lambda request, site: served(apis, site).environments(request)
        return systems.check_command

    @staticmethod
    def _mover(links: VlanLinks, site: str) -> Callable[[str, str | None], None]:
        return lambda node, vlan: links.move(node, site, vlan)

    def _name_vlan(self, vlan: str, made: Mapping[str, str], addresses: Mapping[str, str], key: Path) -> None:
        with self._names_lock:
            self._vlan_names |= {vlan_name(node, vlan): address for node, address in made.items()}
            self._write_ssh_config(addresses, key)

    def _write_ssh_config(self, addresses: Mapping[str, str], key: Path) -> None:
        first = reach.vlan_block(self._vlan_names) + reach.NO_VLAN if self.host_table is not None else power.off_block(sorted(self._off))
        new = self.ssh_config.with_suffix(".new")
        new.write_text(first + self._ssh_config(addresses, key), encoding="utf-8")
        new.replace(self.ssh_config)            # each ssh reads all of it, or all of the one before

    def _share_names(self, addresses: dict[str, str]) -> None:
        """Short names too, on nodes that have a table of hosts of their own."""
        if self.host_table is not None:
            with self.host_table.open("r+", encoding="ascii") as table:         # in place: the nodes have it mounted
                table.seek(0)
                table.write(f"127.0.0.1 localhost\n::1 localhost\n{reach.host_table(addresses)}")
                table.truncate()

    def _copy_key(self, source: Path, directory: Path) -> Path:
        """The key that opens the nodes, for the frontends too."""
        key = directory / "key"
        shutil.copy(source / "client_key", key)
        key.chmod(0o600)
        shutil.copy(source / "authorized_keys", directory / "key.pub")
        return key

    def _ssh_config(self, addresses: Mapping[str, str], key: Path) -> str:
        assert self._cluster is not None
        frontends = [reach.Frontend(site, oar.user, self._frontend_command(site, oar)) for site, oar in self.oars.items()]
        return reach.ssh_config(addresses, self._cluster.connection_params["port"], getpass.getuser(), str(key), frontends)

    def _write_tools(self, directory: Path) -> Path:
        """ssh and scp for users that are not here."""
        folder = directory / "tools"
        folder.mkdir()
        for name in ("ssh", "scp"):
            program = shutil.which(name)
            if program is None:
                raise FileNotFoundError(f"the box needs {name!r}: apt-get install openssh-client")
            (folder / name).write_text(reach.without_user(name, program), encoding="utf-8")
            (folder / name).chmod(0o755)
        return folder

    def _frontend_command(self, site: str, oar: SiteFrontend) -> list[str]:
        assert self.directory is not None
        assert self._cluster is not None
        assert self._cluster.directory is not None
        if self._cluster.server == "paramiko":          # for the same reason sshd is not for the frontends either
            return frontend_server.command_for(self._cluster.directory, self.directory / site, oar.commands)
        return oar.proxy_command

    def _start_oars(self) -> None:
        with ThreadPoolExecutor(len(self.oars), "gridbox-start") as pool:
            for started in [pool.submit(oar.start) for oar in self.oars.values()]:
                started.result()

    def _path(self) -> str:
        return f"{self.oars[self.sites[0]].commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def environment(self, home: str | os.PathLike[str]) -> dict[str, str]:
        """Variables with which another program of this user uses the box, once `write_configuration` was called with that folder."""
        import site

        # what the user has installed for himself is below the real HOME
        return {"HOME": str(home), "PATH": self._path(), "PYTHONUSERBASE": site.getuserbase(), **_unproxied()}

    def write_configuration(self, home: str | os.PathLike[str]) -> Path:
        """Write an ``.execo.conf.py`` for programs whose HOME is this folder.

        :raises FileExistsError: if there is one.
        """
        if self.directory is None:
            raise RuntimeError(f"{self!r}")
        clock = self.directory / "clock.json" if isinstance(self.clock, BoxClock) else None
        file = Path(home) / settings.FILE_NAME
        with file.open("x", encoding="utf-8") as new:
            new.write(settings.configuration_file(self.settings, clock))
        return file

    def _stop(self) -> None:
        _started.discard(self)
        errors: list[BaseException] = []

        def attempt(action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as error:          # the rest has to end too
                errors.append(error)

        self._overlay.undo()
        if self in _configuring:
            _configuring.remove(self)
        if isinstance(self.clock, BoxClock):
            self.clock.share(None)
        for frontend in self._frontends:
            attempt(frontend.stop)
        for kadeploy in self.kadeploys.values():
            attempt(kadeploy.stop)
        if self.api is not None:
            attempt(self.api.stop)
        if self._links is not None:
            attempt(self._links.close)
        if self._networks is not None:
            attempt(self._networks.close)
        if self.oars:
            with ThreadPoolExecutor(len(self.oars), "gridbox-stop") as pool:
                for stopped in [pool.submit(oar.stop) for oar in self.oars.values()]:
                    attempt(stopped.result)
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._cluster is not None:
            attempt(self._cluster.stop)
        self.api, self._cluster, self.directory, self._links, self._networks = None, None, None, None, None
        self._frontends, self.kadeploys, self._vlan_names, self._off = [], {}, {}, set()
        self.oars, self.hosts, self.settings, self.oar_kind = {}, {}, {}, ""
        for error in errors[1:]:
            logger.error("Grid'5000 in a box: at its end: %r", error)
        if errors:
            raise errors[0]


def _unproxied() -> dict[str, str]:
    """Variables with which the API is asked directly, for the loopback of a proxy is another one."""
    names = [name.strip() for variable in ("no_proxy", "NO_PROXY") for name in os.environ.get(variable, "").split(",")]
    known = dict.fromkeys(name for name in names if name)
    value = "*" if list(known) == ["*"] else ",".join(dict.fromkeys([*known, "127.0.0.1"]))      # a star means all only when alone
    return {"no_proxy": value, "NO_PROXY": value}


def _stop_all() -> None:
    for box in list(_started):
        box.stop()


atexit.register(_stop_all)
