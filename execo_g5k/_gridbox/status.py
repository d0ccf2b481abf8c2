"""The state of each resource of a site, as the API sums it up from resources and jobs.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    Json = dict[str, Any]

KINDS = ("nodes", "disks", "vlans", "subnets")
ENDED = ("terminated", "error")
BUSY = ("running", "launching", "tolaunch", "resuming", "suspended", "finishing")
STANDBY = 2147483646
"""``available_upto`` of a node that sleeps."""


def kind_of(row: Mapping[str, Any]) -> str | None:
    """Which part of the status a resource is in; None: in none."""
    if row["type"].startswith("kavlan"):
        return "vlans"
    return {"default": "nodes", "disk": "disks", "subnet": "subnets"}.get(row["type"])


def name_of(row: Mapping[str, Any]) -> str:
    if row["type"] == "default":
        return str(row["network_address"])
    if row["type"] == "disk":
        return f"{row['disk'].partition('.')[0]}.{row['host']}"
    if row["type"] == "subnet":
        return f"{row['subnet_address']}/{row['subnet_prefix']}"
    return str(row["vlan"])


def resources_by_type(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """As a job shows its resources, only the kinds that it has."""
    found: dict[str, list[str]] = {}
    for row in rows:
        kind = kind_of(row)
        if kind == "nodes":
            found.setdefault("cores", []).append(f"{row['network_address']}/{row['cpuset']}")
        elif kind:
            found.setdefault(kind, []).append(name_of(row))
    return found


def _held(job: Json) -> dict[tuple[str, str], int]:
    """{(kind, name): how many cores, or 1}."""
    held: dict[tuple[str, str], int] = {}
    for kind, names in job.get("resources_by_type", {}).items():
        for name in names:
            key = ("nodes", name.rpartition("/")[0]) if kind == "cores" else (kind, name)
            held[key] = held.get(key, 0) + 1
    return held


def _hard(row: Mapping[str, Any]) -> str:
    if row["state"] == "Absent" and row.get("available_upto") == STANDBY:
        return "standby"
    return str(row["state"]).lower()


def site_status(rows: Iterable[Mapping[str, Any]], jobs: Iterable[Json], clusters: Collection[str], *, address: str | None = None,
                kinds: Collection[str] = KINDS, waiting: bool = True, details: bool = True) -> Json:
    """{"nodes": {name: state}, "disks": ..., "vlans": ..., "subnets": ...}, those of `kinds`.

    :param clusters: nodes and disks of others are left out.
    :param address: only this node.
    :param waiting: reservations of jobs that wait are told too.
    :param details: with ``reservations``.
    """
    shown: Json = {kind: {} for kind in kinds}
    cores: dict[str, int] = {}
    for row in rows:
        kind = kind_of(row)
        if kind not in shown or (row.get("cluster") and row["cluster"] not in clusters) or address not in (None, row.get("host")):
            continue
        name = name_of(row)
        if kind == "nodes":
            cores[name] = cores.get(name, 0) + 1
        if name in shown[kind]:
            continue
        state: Json = {"hard": _hard(row), "soft": "unknown" if row["state"] == "Dead" and kind == "nodes" else "free"}
        if kind == "nodes":
            state["comment"] = "OK"
        elif kind == "disks":
            state["diskpath"] = row["diskpath"]
        elif kind == "vlans":
            state["type"] = row["type"]
        if details:
            state["reservations"] = []
        shown[kind][name] = state
    busy: dict[str, int] = {}
    besteffort: dict[str, int] = {}
    for job in jobs:
        if job["state"] in ENDED or (job["state"] == "waiting" and not waiting):
            continue
        told = {name: value for name, value in job.items()
                if name not in ("events", "links", "resources_by_type", "assigned_nodes") and value is not None}
        for (kind, name), count in _held(job).items():
            if name not in shown.get(kind, ()):
                continue
            if details:
                shown[kind][name]["reservations"].append(told)
            if job["state"] in BUSY:
                if kind != "nodes":
                    shown[kind][name]["soft"] = "busy"
                elif job.get("queue") == "besteffort":
                    besteffort[name] = besteffort.get(name, 0) + count
                else:
                    busy[name] = busy.get(name, 0) + count
    for name, state in shown.get("nodes", {}).items():
        _count_slots(state, cores[name], busy.get(name, 0), besteffort.get(name, 0))
    return shown


def _count_slots(state: Json, cores: int, busy: int, besteffort: int) -> None:
    used = busy + besteffort
    if state["soft"] == "unknown":
        cores = busy = besteffort = used = 0
    elif used:
        state["soft"] = "free_busy" if used <= cores // 2 else "busy_free" if used < cores else "busy"
        state["soft"] += "_besteffort" if besteffort else ""
    state |= {"free_slots": cores - used, "freeable_slots": besteffort, "busy_slots": busy}
