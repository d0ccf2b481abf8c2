"""Measurements of hosts (Kwollect), of one or several sites at once."""

from __future__ import annotations

import datetime
import importlib

from execo.time_utils import get_seconds, get_unixts

from .._clock import now
from .catalog import get_host_site
from .connection import APIConnection, APIException, configured, in_parallel
from .names import address, get_host_shortname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from execo.host import Host
    from execo.time_utils import Date, Duration

    Sample = tuple[float, Any]
    Row = tuple[float, str, Any]        # date, short name of the host, value

_HOSTS_A_REQUEST = 100      # so that the address of a request stays below what servers take
_OVERLAP = 0.0005           # seconds: what the roundings of dates may hide, and less than lies between measurements


def get_hosts_metric(hosts: Iterable[str | Host], metric: str, from_ts: Date | None = None, to_ts: Date | None = None,
                     resolution: Duration | None = None) -> dict[str | Host, dict[str, Any]]:
    """Measurements of hosts: ``{host as it was given: {"values": [(Unix seconds, value), ...], "from": the first date, "to": the last one,
    "resolution": seconds, or None, "type": the metric}}``.

    :param hosts: of any sites.
    :param metric: as the attribute ``metrics`` of the cluster names it: ``bmc_node_power_watt``.
    :param from_ts: a date; None: as the site has it, some minutes ago.
    :param to_ts: a date; None: now.
    :param resolution: a duration: means over such times; None: as measured.
    :raises ValueError: for a host whose site is unknown, or a `resolution` that is not positive.
    :raises APIException: if a site does not answer.

    Hosts without measurements have no values, and ``from`` and ``to`` are None.  Sites are asked again and again until all has come, for
    their answers are cut after some thousands of values.
    """
    given = list(hosts)
    seconds = None if resolution is None else get_seconds(resolution)
    if seconds is not None and not seconds > 0:
        raise ValueError(f"resolution of a metric: expected a positive duration, found {resolution!r}")
    samples = _samples(given, metric, from_ts, to_ts)
    return {host: _described(samples.get(get_host_shortname(host), []), metric, seconds) for host in given}


def get_hosts_metric_dataframe(hosts: Iterable[str | Host], metrics: str | Iterable[str], from_ts: Date | None = None,
                               to_ts: Date | None = None) -> Any:
    """The same as a `pandas.DataFrame` with the columns ``host``, ``metric``, ``date`` (UTC) and ``value``, one row for each measurement.

    :param metrics: a name or several.
    :raises ImportError: without pandas (extra ``pandas``).
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as missing:
        if missing.name != "pandas":        # it is there, and lacks something itself
            raise
        raise ImportError("get_hosts_metric_dataframe needs pandas: pip install 'execo_g5k[pandas]'") from missing
    given = list(hosts)
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    rows = [(address(host), metric, timestamp, value) for metric in names
            for samples in (_samples(given, metric, from_ts, to_ts),) for host in given
            for timestamp, value in samples.get(get_host_shortname(host), [])]
    table = pandas.DataFrame(rows, columns=["host", "metric", "date", "value"])
    table["date"] = pandas.to_datetime(table["date"], unit="s", utc=True)
    return table


def _samples(hosts: list[str | Host], metric: str, from_ts: Date | None, to_ts: Date | None) -> dict[str, list[Sample]]:
    """{short name: samples in order of date}."""
    if to_ts is None and from_ts is not None:       # or the site would stop some minutes after the start
        to_ts = now()
    query = {"metrics": metric, "start_time": None if from_ts is None else int(get_unixts(from_ts)),
             "end_time": None if to_ts is None else int(get_unixts(to_ts))}
    by_site: dict[str, list[str]] = {}
    for host in hosts:
        site = get_host_site(host)
        if site is None:
            raise ValueError(f"unknown g5k host {address(host)}")
        name = get_host_shortname(host)
        if name not in by_site.setdefault(site, []):
            by_site[site].append(name)
    requests = [(site, names[first:first + _HOSTS_A_REQUEST]) for site, names in by_site.items()
                for first in range(0, len(names), _HOSTS_A_REQUEST)]
    found: dict[str, list[Sample]] = {}
    with configured() as api:
        for rows in in_parallel(lambda request: _rows(api, *request, query), requests):
            for timestamp, name, value in rows:
                found.setdefault(name, []).append((timestamp, value))
    return found


def _rows(api: APIConnection, site: str, names: list[str], query: dict[str, Any]) -> list[Row]:
    """All measurements of a question, in order of date, which is that of the answers: what they lack comes after their end."""
    path, query = f"/sites/{site}/metrics", {"nodes": names, **query}
    rows = _answer(api, path, query)
    most, before = len(rows), 0
    while len(rows) > before:
        before = len(rows)
        # Of the last date, those of some hosts have perhaps been cut off: it is asked for again.
        answer = _answer(api, path, {**query, "start_time": rows[-1][0] - _OVERLAP})
        while answer and rows and rows[-1][0] >= answer[0][0]:
            rows.pop()
        rows += answer
        if len(answer) < most:          # there was room for more
            break
    return rows


def _answer(api: APIConnection, path: str, query: dict[str, Any]) -> list[Row]:
    answer = api.get_json(path, **query)
    try:
        rows = [(_unixts(row["timestamp"]), str(row["device_id"]), row["value"]) for row in answer]
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise APIException(api.uri(path), "GET", exception=ValueError(f"no measurements: {wrong!r} in {str(answer)[:200]}")) from None
    return sorted(rows, key=lambda row: row[0])


def _unixts(date: str) -> float:
    if date.endswith("Z"):          # Python 3.10 does not read it
        date = date[:-1] + "+00:00"
    head, dot, rest = date.partition(".")
    if dot:                         # nor any number of digits but 3 and 6
        digits = rest[:len(rest) - len(rest.lstrip("0123456789"))]
        date = f"{head}.{digits[:6]:0<6}{rest[len(digits):]}"
    return datetime.datetime.fromisoformat(date).timestamp()


def _described(samples: list[Sample], metric: str, resolution: float | None) -> dict[str, Any]:
    if resolution is not None:
        samples = _means(samples, resolution)
    return {"values": samples, "from": samples[0][0] if samples else None, "to": samples[-1][0] if samples else None,
            "resolution": resolution, "type": metric}


def _means(samples: list[Sample], resolution: float) -> list[Sample]:
    """One sample for each span of time in which there are any, dated at its beginning."""
    spans: dict[float, list[float]] = {}
    for timestamp, value in samples:
        if value is not None:
            spans.setdefault(timestamp // resolution * resolution, []).append(float(value))
    return [(begin, sum(values) / len(values)) for begin, values in spans.items()]
