"""Which VLAN of KaVLAN the network adapters of hosts are in."""

from __future__ import annotations

import re

from execo.utils import singleton_to_collection

from .catalog import get_host_attributes
from .connection import APIException, configured
from .names import address, canonical_host_name, site_of_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests

    from execo.host import Host


def _names_of_adapters(site: str, hosts: str | Host | Iterable[str | Host], interface: str) -> dict[str, str | Host]:
    """{what KaVLAN calls the adapter: host as given}."""
    if not re.fullmatch(r"[a-z]+\d+", interface):
        raise ValueError(f"network interface: expected a name like 'eth1', found {interface!r}")
    names: dict[str, str | Host] = {}
    given: list[str | Host] = list(singleton_to_collection(hosts))
    for host in given:
        name = canonical_host_name(address(host))
        at = site_of_name(name)
        if at not in (site, None):
            raise ValueError(f"host {name} is not one of site {site}")
        names[_name_of_adapter(name.partition(".")[0], site, interface)] = host
    if not names:
        raise ValueError("expected at least one host to be put into a VLAN")
    return names


def _name_of_adapter(host: str, site: str, interface: str) -> str:
    try:
        adapters = {adapter.get("device"): adapter for adapter in get_host_attributes(host)["network_adapters"]}
    except KeyError:                # the API may know more hosts than its description
        adapters = {interface: {}}
    if interface not in adapters:
        raise ValueError(f"host {host} has no network adapter {interface}; it has {', '.join(sorted(map(str, adapters)))}")
    # The one that the host has its address at has the plain name, and that need not be the first.
    usual = f"{host}{'' if interface == 'eth0' else f'-{interface}'}.{site}.grid5000.fr"
    return str(adapters[interface].get("network_address") or usual)


def set_nodes_vlan(site: str, hosts: str | Host | Iterable[str | Host], interface: str, vlan_id: int | str) -> requests.Response:
    """Put a network adapter of hosts into a VLAN; the answer's ``json()`` is ``{adapter: {"status": ..., "message": ...}}``.

    :param site: that all these hosts are of.
    :param hosts: one or several.
    :param interface: ``eth0``, ``eth1`` ...
    :param vlan_id: as `execo_g5k.oar.get_oar_job_kavlan` has it; ``"DEFAULT"`` is none.
    :raises APIException: if it is refused, or could not be done for some: their names and the reasons are in its text, the answer is its
      ``response``.
    :raises ValueError: for hosts of other sites, or what is no VLAN.
    """
    if not re.fullmatch(r"\d+|DEFAULT", str(vlan_id)):
        raise ValueError(f"VLAN: expected a number or 'DEFAULT', found {vlan_id!r}")
    names = list(_names_of_adapters(site, hosts, interface))
    path = f"/sites/{site}/vlans/{vlan_id}/nodes"
    with configured() as api:
        response = api.post(path, names)
        try:
            results = response.json()
            failed = {name: result.get("message", result["status"]) for name, result in results.items()
                      if isinstance(result, dict) and result["status"] not in ("success", "unchanged")}
        except (AttributeError, KeyError, ValueError) as wrong:
            raise APIException(api.uri(path), "POST", response, ValueError(f"no results of adapters: {wrong!r}")) from None
        if failed:
            raise APIException(api.uri(path), "POST", response, ValueError(
                f"not put into VLAN {vlan_id}: {', '.join(f'{name} ({reason})' for name, reason in failed.items())}"))
        return response


def get_nodes_vlan(site: str, hosts: str | Host | Iterable[str | Host], interface: str = "eth0") -> dict[str | Host, str]:
    """``{host as given: id of the VLAN of its adapter, or "DEFAULT"}``; hosts that KaVLAN does not know are left out.

    :raises APIException: if it is refused.
    :raises ValueError: for hosts of other sites.
    """
    names = _names_of_adapters(site, hosts, interface)
    path = f"/sites/{site}/vlans/nodes"
    with configured() as api:
        answer = api.post(path, list(names)).json()
    return {names[item["uid"]]: str(item["vlan"]) for item in answer.get("items", []) if item.get("uid") in names and item.get("vlan")}
