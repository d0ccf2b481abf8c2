"""What hosts can be chosen by: each property, where the API has it, and what OAR calls it."""

from __future__ import annotations

from dataclasses import dataclass

from .catalog import is_for_experiments, queues_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Value: TypeAlias = "str | int | float | bool | list[str] | None"

MIB = 1 << 20


@dataclass(frozen=True)
class Subject:
    """A host and what it is in, as the API describes them."""

    host: Mapping[str, Any]
    cluster: Mapping[str, Any]
    site: str


@dataclass(frozen=True)
class Property:
    """One of them."""

    kind: str
    """``number``, ``text``, ``truth`` or ``texts``: several, of which any may fit."""
    meaning: str
    of: Callable[[Subject], Value]
    oar: str | None = None
    """Name of the property of OAR that is equivalent, if there is one."""
    oar_unit: int = 1
    """In ours: OAR's value is whole multiples of this, rounded down."""
    unit: str = ""
    """Of a number: ``B`` or ``Hz`` or ``bit/s`` or ``flops``."""


def primary_adapter(host: Mapping[str, Any]) -> Mapping[str, Any]:
    """The adapter that the nodes use among themselves: OAR's ``switch`` is that of this one.  Empty if there is none."""
    adapters: list[Mapping[str, Any]] = [adapter for adapter in host.get("network_adapters", []) if is_for_experiments(adapter)]
    return next((adapter for adapter in adapters if adapter.get("mounted")), adapters[0] if adapters else {})


def _gpus(subject: Subject) -> list[Mapping[str, Any]]:
    # Some boards are too old to be reserved.
    devices: Mapping[str, Mapping[str, Any]] = subject.host.get("gpu_devices") or {}
    return [device for device in devices.values() if device.get("reservation") is not False]


def _disks(subject: Subject) -> list[Mapping[str, Any]]:
    return subject.host.get("storage_devices") or []


def _adapters(subject: Subject, kind: str) -> list[Mapping[str, Any]]:
    return [adapter for adapter in subject.host.get("network_adapters", []) if adapter.get("interface") == kind
            and adapter.get("mountable") and not adapter.get("management")]


def _of(*path: str) -> Callable[[Subject], Any]:
    def value(subject: Subject) -> Any:
        found: Any = subject.host
        for name in path:
            found = found.get(name) if found is not None else None
        return found
    return value


def _joined(*values: Any) -> str | None:
    return " ".join(str(value) for value in values if value) or None


def _first(values: list[Any]) -> Any:
    return values[0] if values else None


PROPERTIES: dict[str, Property] = {
    "site": Property("text", "name of the site", lambda s: s.site),
    "cluster": Property("text", "name of the cluster", lambda s: s.cluster["uid"], "cluster"),
    "host": Property("text", "short name of the host", lambda s: s.host["uid"]),
    "switch": Property("text", "switch or router of the first network adapter", lambda s: primary_adapter(s.host).get("switch"), "switch"),
    "queue": Property("texts", "queues of the cluster", lambda s: ["production" if q == "abaca" else q for q in queues_of(s.cluster)]),
    "model": Property("text", "model of the machine", lambda s: s.cluster.get("model"), "nodemodel"),
    "exotic": Property("truth", "only for jobs of type exotic", lambda s: bool(s.cluster.get("exotic") or s.host.get("exotic")), "exotic"),
    "deploy": Property("truth", "can be deployed", lambda s: bool(_of("supported_job_types", "deploy")(s)), "deploy"),
    "cpus": Property("number", "processors", _of("architecture", "nb_procs"), "cpu_count"),
    "cores": Property("number", "cores of all processors", _of("architecture", "nb_cores"), "core_count"),
    "threads": Property("number", "hardware threads of all processors", _of("architecture", "nb_threads"), "thread_count"),
    "arch": Property("text", "architecture of the processors", _of("architecture", "platform_type"), "cpuarch"),
    "cpu": Property("text", "model of the processors",
                    lambda s: _joined(_of("processor", "model")(s), _of("processor", "version")(s)), "cputype"),
    "microarchitecture": Property("text", "of the processors", _of("processor", "microarchitecture")),
    "clock": Property("number", "nominal clock of the processors, Hz", _of("processor", "clock_speed"), unit="Hz"),
    "memory": Property("number", "main memory, bytes", _of("main_memory", "ram_size"), "memnode", MIB, "B"),
    "gpus": Property("number", "graphics processors", lambda s: len(_gpus(s)), "gpu_count"),
    "gpu": Property("text", "model of the graphics processors", lambda s: _first([g.get("model") for g in _gpus(s)]), "gpu_model"),
    "gpu_memory": Property("number", "memory of one graphics processor, bytes",
                           lambda s: _first([g.get("memory") for g in _gpus(s)]) or 0, "gpu_mem", MIB, "B"),
    "disks": Property("number", "disks", lambda s: len(_disks(s))),
    "ssds": Property("number", "disks that are solid state", lambda s: sum(d.get("storage") == "SSD" for d in _disks(s))),
    "disk": Property("number", "size of all disks, bytes", lambda s: sum(d.get("size") or 0 for d in _disks(s)), unit="B"),
    "reservable_disks": Property("number", "disks that can be reserved apart",
                                 lambda s: sum(bool(d.get("reservation")) for d in _disks(s)), "disk_reservation_count"),
    "ethernet": Property("number", "Ethernet adapters that can be used", lambda s: len(_adapters(s, "Ethernet"))),
    "ethernet_rate": Property("number", "rate of the fastest Ethernet adapter that can be used, bit/s",
                              lambda s: max((a.get("rate") or 0 for a in _adapters(s, "Ethernet")), default=0), unit="bit/s"),
    "infiniband": Property("number", "InfiniBand adapters that can be used", lambda s: len(_adapters(s, "InfiniBand"))),
    "omnipath": Property("number", "Omni-Path adapters that can be used", lambda s: len(_adapters(s, "Omni-Path"))),
    "core_flops": Property("number", "measured, of one core, 1/s", _of("performance", "core_flops"), unit="flops"),
    "node_flops": Property("number", "measured, of all cores, 1/s", _of("performance", "node_flops"), unit="flops"),
}
"""All that can be asked for, by name."""
