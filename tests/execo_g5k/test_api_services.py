"""What the API does: measurements, VLANs, jobs."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platforms
import pytest
from requirements import require

from execo import Host, format_date
from execo_g5k import OarSubmission, g5k_configuration
from execo_g5k._api import connection, jobs, metrics
from execo_g5k._gridbox.http import Answer
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k._gridbox.rest_site import MANY
from execo_g5k._gridbox.static import StaticOar, make_job
from execo_g5k.api_utils import (
    APIException,
    api_change_job_walltime,
    api_delete_job,
    api_get_job,
    api_get_jobs,
    api_submit_job,
    api_wait_job,
    get_hosts_metric,
    get_hosts_metric_dataframe,
    get_nodes_vlan,
    get_oar_request,
    set_nodes_vlan,
)

NOW = 1_790_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSES", (0.01,))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[RestServer]:
    reference = make_reference()
    rows = {name: [row for row in reference.oar_rows("lyon") if row["host"] == f"{name}.lyon.grid5000.fr"]
            for name in ("saone-1", "saone-2")}
    lyon = [make_job(7, rows["saone-1"], started_at=NOW - 600, name="mine", types=["deploy"]),
            make_job(8, rows["saone-2"], state="waiting", scheduled_at=NOW + 900, user="other"),
            make_job(9, state="terminated", started_at=NOW - 9000, stopped_at=NOW - 8000)]
    with serve_reference({"lyon": lyon}, reference=reference, clock=lambda: NOW) as server:
        with platforms.configured(server.uri, tmp_path / "cache"):
            yield server


# -- measurements ----------------------------------------------------------------------------------------------------------------------

def some_metric(api: RestServer) -> str:
    return next(str(metric["name"]) for metric in api.reference.sites["lyon"]["clusters"]["saone"]["metrics"] if metric["period"])


def test_measurements_of_hosts_of_two_sites(api: RestServer) -> None:
    name = next(metric["name"] for metric in api.reference.sites["lyon"]["clusters"]["saone"]["metrics"]
                if metric["name"] in [other["name"] for other in api.reference.sites["rennes"]["clusters"]["vilaine"]["metrics"]])
    hosts = ["saone-1", Host("saone-2.lyon.grid5000.fr"), "vilaine-3.rennes"]
    api.log.clear()
    found = get_hosts_metric(hosts, name, NOW - 60, format_date(NOW))
    assert list(found) == hosts
    requests = sorted(path for _, path, _ in api.log if f"metrics={name}&start_time={NOW - 60}&" in path)
    assert requests == [f"/3.0/sites/lyon/metrics?nodes=saone-1,saone-2&metrics={name}&start_time={NOW - 60}&end_time={NOW}",
                        f"/3.0/sites/rennes/metrics?nodes=vilaine-3&metrics={name}&start_time={NOW - 60}&end_time={NOW}"]
    for described in found.values():
        dates = [date for date, _ in described["values"]]
        assert len(dates) > 1
        assert dates == sorted(dates)
        assert NOW - 60 <= dates[0] <= dates[-1] <= NOW
        assert (described["from"], described["to"]) == (dates[0], dates[-1])
        assert (described["resolution"], described["type"]) == (None, name)
    assert found["saone-1"]["values"] != found[hosts[1]]["values"]


# With three hosts, both cuts are between measurements of one date.
@pytest.mark.parametrize(("metric", "period", "cap"), [("wattmetre_power_watt", 1, MANY), ("bmc_node_power_watt", 5, 7)])
def test_more_measurements_than_come_at_once_are_all_there(api: RestServer, metric: str, period: int, cap: int,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execo_g5k._gridbox.rest_site.MANY", cap)
    hosts, span = ["saone-1", "saone-2", "saone-3"], cap // 3 * period + 200
    found = get_hosts_metric(hosts, metric, NOW - span, NOW)
    dates = [float(date) for date in range(NOW - span, NOW + 1) if date % period == 0]
    assert 3 * len(dates) > cap
    for described in found.values():
        assert [date for date, _ in described["values"]] == dates
        assert (described["from"], described["to"]) == (dates[0], dates[-1])
    before = get_hosts_metric(hosts, metric, NOW - span, NOW - span + period)
    assert [found[host]["values"][:2] for host in hosts] == [before[host]["values"] for host in hosts]


def test_without_an_end_measurements_go_on_until_now(api: RestServer) -> None:
    g5k_configuration["clock"] = lambda: NOW
    found = get_hosts_metric(["saone-1"], "wattmetre_power_watt", NOW - 900)["saone-1"]
    assert (found["from"], found["to"], len(found["values"])) == (NOW - 900, NOW, 901)


def test_means_over_spans_of_time(api: RestServer) -> None:
    name = some_metric(api)
    fine = get_hosts_metric(["saone-1"], name, NOW - 120, NOW)["saone-1"]["values"]
    coarse = get_hosts_metric(["saone-1"], name, NOW - 120, NOW, "0:01:00")["saone-1"]
    assert coarse["resolution"] == 60
    for begin, mean in coarse["values"]:
        inside = [value for date, value in fine if begin <= date < begin + 60]
        assert mean == pytest.approx(sum(inside) / len(inside))
    assert sum(begin % 60 for begin, _ in coarse["values"]) == 0


def test_a_host_without_measurements_has_no_values(api: RestServer) -> None:
    assert get_hosts_metric(["saone-1"], "no_such_metric")["saone-1"] == {
        "values": [], "from": None, "to": None, "resolution": None, "type": "no_such_metric"}
    assert get_hosts_metric([], "any") == {}


@pytest.mark.parametrize("resolution", [0, -5])
def test_a_resolution_that_is_none_is_refused(api: RestServer, resolution: int) -> None:
    with pytest.raises(ValueError, match="resolution of a metric"):
        get_hosts_metric(["saone-1"], "x", resolution=resolution)


def test_measurements_of_an_unknown_host(api: RestServer) -> None:
    with pytest.raises(ValueError, match="unknown g5k host nope-1"):
        get_hosts_metric(["nope-1"], "x")


def test_a_site_that_fails_is_an_error(api: RestServer) -> None:
    api.fail_next(500, n=9, path="rennes/metrics")
    with pytest.raises(APIException, match="rennes/metrics"):
        get_hosts_metric(["saone-1", "vilaine-1"], "x")


def test_what_are_no_measurements_is_an_error(api: RestServer) -> None:
    api.extensions["metrics"] = lambda request, site: Answer([{"timestamp": "soon"}])
    with pytest.raises(APIException, match="no measurements"):
        get_hosts_metric(["saone-1"], "x")


@pytest.mark.parametrize(("text", "date"), [
    ("2025-04-18T18:55:33.754307+02:00", 1744995333.754307), ("2025-04-18T18:55:33+02:00", 1744995333),
    ("2025-04-18T16:55:33Z", 1744995333),
    ("2025-04-18T18:55:33.7+02:00", 1744995333.7), ("2025-04-18T18:55:33.7543071234+02:00", 1744995333.754307),
])
def test_dates_of_measurements(text: str, date: float) -> None:
    assert metrics._unixts(text) == pytest.approx(date, abs=1e-6)


def test_measurements_as_a_dataframe(api: RestServer) -> None:
    require("pandas")
    name = some_metric(api)
    table = get_hosts_metric_dataframe(["saone-1", "saone-2"], [name, "no_such_metric"], NOW - 30, NOW)
    assert list(table.columns) == ["host", "metric", "date", "value"]
    values = get_hosts_metric(["saone-1"], name, NOW - 30, NOW)["saone-1"]["values"]
    assert list(table[table.host == "saone-1"].value) == [value for _, value in values]
    assert table.date.iloc[0].to_pydatetime() == datetime.datetime.fromtimestamp(values[0][0], datetime.timezone.utc)
    assert len(get_hosts_metric_dataframe([], name)) == 0


def test_without_pandas_it_says_what_to_install(api: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'execo_g5k\[pandas\]'"):
        get_hosts_metric_dataframe(["saone-1"], "x")


# -- VLANs -----------------------------------------------------------------------------------------------------------------------------

def test_adapters_are_put_into_a_vlan(api: RestServer) -> None:
    hosts = ["saone-1", Host("saone-2.lyon.grid5000.fr"), "saone-3-eth1-kavlan-4.lyon"]
    response = set_nodes_vlan("lyon", hosts, "eth1", 4)
    names = [f"saone-{n}-eth1.lyon.grid5000.fr" for n in (1, 2, 3)]
    assert response.json() == {name: {"status": "success", "message": "Successfully added to vlan"} for name in names}
    assert get_nodes_vlan("lyon", [*hosts, "saone-4"], "eth1") == {**dict.fromkeys(hosts, "4"), "saone-4": "DEFAULT"}
    assert set_nodes_vlan("lyon", hosts[:1], "eth1", "4").json()[names[0]]["status"] == "unchanged"
    set_nodes_vlan("lyon", "saone-1", "eth1", "DEFAULT")
    assert get_nodes_vlan("lyon", "saone-1", "eth1") == {"saone-1": "DEFAULT"}
    assert [path for method, path, _ in api.log if method == "POST" and "/vlans/4" in path] == ["/3.0/sites/lyon/vlans/4/nodes"] * 2


def test_the_adapter_with_the_address_has_the_plain_name(api: RestServer) -> None:
    assert list(set_nodes_vlan("lyon", "saone-1", "eth0", 5).json()) == ["saone-1.lyon.grid5000.fr"]
    assert get_nodes_vlan("lyon", "saone-1") == {"saone-1": "5"}


def test_what_could_not_be_put_into_a_vlan_is_an_error_that_names_it(api: RestServer) -> None:
    with pytest.raises(APIException, match=r"not put into VLAN 4: nope-9.lyon.grid5000.fr \(Unknown node\)") as failure:
        set_nodes_vlan("lyon", ["saone-1", "nope-9"], "eth0", 4)
    assert failure.value.response is not None
    assert failure.value.response.json()["saone-1.lyon.grid5000.fr"]["status"] == "success"


def test_a_vlan_that_is_refused_says_why(tmp_path: Path) -> None:
    with serve_reference(vlan_rights=True) as server, platforms.configured(server.uri, tmp_path):
        with pytest.raises(APIException, match=r"status=403.*Not enough privileges on Kavlan resources"):
            set_nodes_vlan("lyon", "saone-1", "eth0", 4)
        with pytest.raises(APIException, match="Vlan 77 does not exist"):
            set_nodes_vlan("lyon", "saone-1", "eth0", 77)


@pytest.mark.parametrize(("arguments", "said"), [
    (("lyon", [], "eth0", 4), "at least one host"), (("lyon", "saone-1", "eth0", "4; rm"), "VLAN: expected"),
    (("lyon", "saone-1", "../x", 4), "network interface: expected"),
    (("lyon", "saone-1", "eth7", 4), "no network adapter eth7; it has .*eth0"),
    (("lyon", "vilaine-1.rennes.grid5000.fr", "eth0", 4), "not one of site lyon"),
])
def test_a_change_of_vlan_that_makes_no_sense_is_refused_here(api: RestServer, arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        set_nodes_vlan(*arguments)
    assert [line for line in api.log if line[0] == "POST"] == []


# -- jobs ------------------------------------------------------------------------------------------------------------------------------

def test_jobs_are_listed_as_they_are_asked_for(api: RestServer) -> None:
    def ids(**conditions: Any) -> list[int]:
        return [job["uid"] for job in api_get_jobs("lyon", **conditions)]

    assert ids() == [9, 8, 7]
    assert ids(state="running") == [7]
    assert ids(state=["running", "waiting"]) == [8, 7]
    assert ids(user="other") == [8]
    assert ids(name="mine", queue="default") == [7]
    assert ids(queue="besteffort") == []
    assert "assigned_nodes" not in api_get_jobs("lyon", name="mine")[0]
    assert api_get_jobs("lyon", name="mine", resources=True)[0]["assigned_nodes"] == ["saone-1.lyon.grid5000.fr"]
    assert api_get_jobs("rennes") == []


def test_more_jobs_than_the_api_gives_at_once(tmp_path: Path) -> None:
    with serve_reference({"nancy": [make_job(uid) for uid in range(1, 1111)]}) as server, platforms.configured(server.uri, tmp_path):
        assert [job["uid"] for job in api_get_jobs("nancy", state="running")] == list(range(1110, 0, -1))


def test_a_job_is_looked_at(api: RestServer) -> None:
    job = api_get_job(7, "lyon")
    assert (job["uid"], job["state"], job["types"], job["assigned_nodes"]) == (7, "running", ["deploy"], ["saone-1.lyon.grid5000.fr"])
    with pytest.raises(APIException, match="Couldn't find OAR::Job with 'job_id'=99") as failure:
        api_get_job(99, "lyon")
    assert failure.value.status == 404


def test_a_submission_as_it_is_posted() -> None:
    g5k_configuration["oar_job_key_file"] = "~/.ssh/key"
    spec = OarSubmission(["{cluster='gros'}/nodes=2", "slash_22=1"], "2:30:00", ["deploy", "exotic"], "memnode >= 65536", "production",
                         1_600_000_000, "/tmp", "lab", "exp", "-O out.txt --stderr=err.txt --notify 'mail:a b'", "./run.sh \"$HOME\"")
    assert jobs.request_of(spec) == {
        "command": "./run.sh \"$HOME\"", "resources": "{cluster='gros'}/nodes=2+slash_22=1,walltime=2:30:0",
        "types": ["deploy", "exotic", "origin=execo"], "properties": "memnode >= 65536", "queue": "production", "name": "exp",
        "project": "lab",
        "directory": "/tmp", "reservation": "2020-09-13 14:26:40", "import-job-key-from-file": "~/.ssh/key", "stdout": "out.txt",
        "stderr": "err.txt", "notify": "mail:a b"}
    g5k_configuration["oar_job_key_file"] = None
    assert jobs.request_of(OarSubmission()) == {"command": "sleep 31536000", "types": ["origin=execo"]}
    assert jobs.request_of(OarSubmission(walltime=60))["resources"] == "walltime=0:1:0"


@pytest.mark.parametrize(("options", "said"), [("--array 10", "no word for '--array'"), ("-O", "-O has no value")])
def test_options_that_the_api_cannot_take_are_refused(options: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jobs.request_of(OarSubmission("nodes=1", additional_options=options))


def test_a_job_is_submitted_changed_and_deleted(api: RestServer) -> None:
    submission, site = get_oar_request("cores >= 8 and not exotic", walltime=600, name="new", site="lyon")
    job_id = api_submit_job(submission, site)
    job = api_get_job(job_id, site)
    assert (job["name"], job["state"], job["types"]) == ("new", "waiting", ["origin=execo"])
    assert api_delete_job(job_id, site) is True
    assert api_get_job(job_id, site)["state"] == "error"
    assert api_delete_job(job_id, site) is False
    api_change_job_walltime(7, site, "+0:30:00")
    assert api_get_job(7, site)["walltime"] == 5400


@pytest.mark.parametrize(("what", "said"), [
    (lambda: api_submit_job(OarSubmission(reservation_date=1_600_000_000, command="date"), "nowhere"), "status=40"),
    (lambda: api_delete_job(8, "lyon"), "status=403.*not authorized"),
    (lambda: api_delete_job(99, "lyon"), "status=404.*Couldn't find"),
    (lambda: api_change_job_walltime(8, "lyon", "+1:00:00"), "status=403.*Job 8 does not belong to you"),
    (lambda: api_change_job_walltime(7, "lyon", "+1:00:00", force=True), "status=403.*not allowed to be forced"),
])
def test_a_refusal_has_the_reason_of_the_api(api: RestServer, what: Any, said: str) -> None:
    with pytest.raises(APIException, match=said):
        what()


def test_a_submission_without_an_answer_is_not_repeated(api: RestServer) -> None:
    api.drop_next()
    with pytest.raises(APIException):
        api_submit_job(OarSubmission("nodes=1", command="date"), "lyon")
    api.garble_next()
    with pytest.raises(APIException, match="no job"):
        api_submit_job(OarSubmission("nodes=1", command="date"), "lyon")
    assert [line[0] for line in api.log] == ["POST", "POST"]


@pytest.mark.parametrize(("job_id", "site"), [(0, "lyon"), ("7/walltime", "lyon"), (None, "lyon"), (7, "lyon/../x"), (7, "")])
def test_what_is_no_job_is_refused_here(api: RestServer, job_id: Any, site: str) -> None:
    if job_id is None:
        site, job_id = "", 7
    with pytest.raises(ValueError, match=r"(job id|site): expected"):
        api_delete_job(job_id, site)
    assert api.log == []


def test_waiting_for_a_job(api: RestServer) -> None:
    g5k_configuration.update(polling_interval=0.01, tiny_polling_interval=0.01)
    oar = api._oars["lyon"]
    assert isinstance(oar, StaticOar)
    assert api_wait_job(7, "lyon") is True
    assert api_wait_job(9, "lyon") is False
    assert api_wait_job(99, "lyon") is False
    assert api_wait_job(8, "lyon", timeout=0.05) is False
    assert api_wait_job(9, "lyon", ("terminated", "error")) is True
    predicted: list[float] = []
    asked = threading.Event()

    def told(date: float) -> None:
        predicted.append(date)
        asked.set()

    def later() -> None:
        asked.wait(10)
        api.fail_next(502, n=5)
        oar.add(make_job(8, state="waiting", scheduled_at=NOW + 60))
        oar.add(make_job(8, state="launching", scheduled_at=NOW + 60))
        oar.add(make_job(8, state="running", scheduled_at=NOW + 60))

    changing = threading.Thread(target=later)
    changing.start()
    assert api_wait_job(8, "lyon", timeout=20, prediction_callback=told) is True
    changing.join()
    assert predicted[0] == NOW + 900


def test_waiting_ends_when_the_api_refuses(api: RestServer) -> None:
    api.fail_next(403)
    with pytest.raises(APIException, match="status=403"):
        api_wait_job(7, "lyon")
