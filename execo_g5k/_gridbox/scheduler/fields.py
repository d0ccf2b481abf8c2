"""A job of OAR as the API shows it.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]


def resources_by_type(rows: Iterable[Row], site: str) -> dict[str, list[str]]:
    """``cores``, ``vlans``, ``subnets`` and ``disks``, those that there are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        kind = row["type"]
        if kind == "default":
            found.setdefault("cores", []).append(f"{row['network_address']}/{row['cpuset']}")
        elif kind == "disk":
            found.setdefault("disks", []).append(f"{row['disk']}.{site}.grid5000.fr")
        elif kind.startswith("kavlan"):
            found.setdefault("vlans", []).append(str(row["vlan"]))
        elif kind == "subnet":
            found.setdefault("subnets", []).append(f"{row['subnet_address']}/{row['subnet_prefix']}")
    return found


def job_item(job: Mapping[str, Any], rows: Sequence[Row], site: str) -> dict[str, Any]:
    """A job as the API shows it.

    :param job: fields as those of ``oarstat -f -J``.
    :param rows: its resources, also those that are reserved or predicted.
    """
    item: dict[str, Any] = {
        "uid": job["Job_Id"], "user_uid": job["owner"], "user": job["owner"], "walltime": job["walltime"], "queue": job["queue"],
        "state": job["state"].lower(), "project": job["project"], "name": job["name"] or None, "types": job["types"],
        "mode": job["jobType"], "command": job["command"] or "", "submitted_at": job["submissionTime"],
        "scheduled_at": job["scheduledStart"] or None, "started_at": job["startTime"], "stopped_at": job["stopTime"] or None,
        "message": job["message"], "properties": job["properties"],
        "directory": job["launchingDirectory"], "exit_code": job["exit_code"],
        "events": [{"uid": event["event_id"], "created_at": event["date"], "type": event["type"], "description": event["description"]}
                   for event in job["events"]],
        "resources_by_type": resources_by_type(rows, site),
        "assigned_nodes": list(dict.fromkeys(row["network_address"] for row in rows if row["type"] == "default")),
    }
    return {name: value for name, value in item.items() if value is not None}
