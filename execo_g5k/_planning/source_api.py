"""The state of sites from the REST API: two requests for a site."""

from __future__ import annotations

from .._api.connection import APIException, configured
from ..api_utils import get_network_equipment_attributes, get_site_network_equipments
from .state import FIRST_ROUTED, Job, SourceError, state_of_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._api.connection import APIConnection
    from .state import SiteState

LIVE = "waiting,hold,tolaunch,toackreservation,launching,running,suspended,resuming,finishing,toerror"
"""States of jobs that hold resources or will.  The server may not know those that last for an instant."""
ALL = 999999
"""Resources are not paged when a limit is given."""


class ApiSource:
    """One connection, which the threads of the sites share."""

    def __init__(self, api: APIConnection | None = None) -> None:
        self._api = api or configured()

    def close(self) -> None:
        self._api.close()

    def state(self, site: str, cores: bool) -> SiteState:
        """Of a site.

        :raises SourceError: if the API does not answer.
        """
        try:
            items = self._api.get_items(f"/sites/{site}/jobs", state=LIVE, resources="yes")
            details = self._api.get_json(f"/sites/{site}/internal/oarapi/resources/details.json", limit=ALL)
            jobs = [job for item in items if (job := self._job(site, item, cores)) is not None]
            return state_of_rows(details["items"], jobs)
        except APIException as error:
            raise SourceError(str(error)) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(f"the API of {site} answers with what is not understood: {type(error).__name__} {error}") from error

    def _job(self, site: str, item: Mapping[str, Any], cores: bool) -> Job | None:
        if "walltime" not in item or "assigned_nodes" not in item:
            # A server that knows no `resources=yes`.
            item = {**item, **self._api.get_json(f"/sites/{site}/jobs/{item['uid']}")}
        return job_of_item(item, cores)


def job_of_item(item: Mapping[str, Any], cores: bool) -> Job | None:
    """A job of the API's list; None if it has no start yet, not even a predicted one."""
    start = item.get("started_at") or item.get("scheduled_at")
    if not start:
        return None
    held = item.get("resources_by_type") or {}
    hosts = tuple(dict.fromkeys(item.get("assigned_nodes") or ()))
    return Job(item.get("uid") or 0, item.get("queue") or "", start, item["walltime"], hosts, held.get("cores") or () if cores else (),
               [str(vlan) for vlan in held.get("vlans") or ()], held.get("subnets") or (), held.get("disks") or ())


def vlans_of_equipment(site: str) -> list[str]:
    """Ids of the VLANs that the network equipment of a site describes, for one whose OAR does not list them."""
    found = set()
    for equipment in get_site_network_equipments(site):
        vlans = get_network_equipment_attributes(equipment, site).get("vlans") or {}
        for vlan in vlans.values() if isinstance(vlans, dict) else vlans:
            name = str((vlan or {}).get("name", ""))
            number = name.removeprefix("kavlan-")
            if number != name and number.isdecimal() and int(number) >= FIRST_ROUTED:
                found.add(number)
    return sorted(found, key=int)
