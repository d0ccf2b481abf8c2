"""VLANs of all sites of the box, as kavlan and Kadeploy use them; what the API shows is the same."""

from __future__ import annotations

from .rest_vlans import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .rest_vlans import VlanApi


class Vlans:
    """Any thread may call the methods.

    :param sites: {site: its VLANs}.
    """

    def __init__(self, sites: Mapping[str, VlanApi]) -> None:
        self._sites = sites

    def of(self, site: str) -> VlanApi:
        """Those of one site."""
        return self._sites[site]

    def moved(self, site: str) -> list[str]:
        """Nodes that have an interface in a VLAN."""
        return self._sites[site].moved()

    def move(self, site: str, nodes: Iterable[str], vlan: str | None) -> None:
        """Put nodes into a VLAN; None: all their interfaces into none.

        :raises OSError: if a link cannot be moved.
        """
        nodes = list(nodes)
        if vlan is None:
            moved = set(self.moved(site))
            nodes = [node for node in nodes if node in moved]
        if nodes:
            api = self._sites[site]
            api.put(nodes if vlan is not None else api.interfaces_of(nodes), vlan or NONE)

    def problem(self, site: str, user: str, vlan: str, nodes: Sequence[str]) -> str:
        """Why a user may not put nodes into a VLAN; '' if he may."""
        api = self._sites[site]
        if vlan not in api.types:
            return f"there is no VLAN {vlan} on {site}"
        if not api.is_allowed(user, vlan, nodes):
            return f"not enough privileges of {user} on the VLAN {vlan}, or on the nodes"
        return ""
