"""The description of the platform: fetched once, kept in memory and on disk, by many programs and threads, also damaged and offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import platforms
import pytest

from execo_g5k import config
from execo_g5k._api import cache, connection, reference
from execo_g5k._gridbox.reference import make_reference
from execo_g5k._gridbox.rest import RestServer, serve_reference
from execo_g5k.api_utils import APIException, get_api_data, get_g5k_sites

FILES = ["api_commit", "clusters", "hierarchy", "hosts", "network", "sites", "version"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSES", (0.01,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def api(folder: Path) -> Iterator[RestServer]:
    with serve_reference(reference=make_reference(other_scheduler=True)) as server, platforms.configured(server.uri, folder):
        yield server


def asked(api: RestServer) -> list[str]:
    """What the API was asked since the last time."""
    found = [path for _, path, _ in api.log]
    api.log.clear()
    return found


def again(api: RestServer) -> dict[str, object]:
    """As another program would."""
    reference.forget()
    return get_api_data()


def test_the_whole_description_is_fetched_with_one_request_a_site(api: RestServer, folder: Path) -> None:
    data = get_api_data()
    assert asked(api)[0] == "/3.0/"
    assert sorted(data) == ["clusters", "hierarchy", "hosts", "network", "sites", "version"]
    assert list(data["hierarchy"]) == ["bordeaux", "lyon", "nancy", "rennes"]
    assert data["hierarchy"]["bordeaux"] == {}
    assert data["hierarchy"]["nancy"]["meurthe"] == [f"meurthe-{n}" for n in (1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14)]
    truth = api.reference.sites["nancy"]
    assert data["hosts"]["moselle-2"] == truth["nodes"]["moselle"]["moselle-2"]
    assert data["clusters"]["moselle"] == truth["clusters"]["moselle"]
    assert data["sites"]["nancy"] == truth["site"]
    assert data["network"]["nancy"] == truth["network_equipments"]
    assert {item["uid"] for item in data["network"]["backbone"]} == set(api.reference.backbone)
    assert len(data["hosts"]) == 40
    assert get_api_data() is data
    assert get_g5k_sites() == list(data["hierarchy"])
    assert asked(api) == []


def test_a_server_without_deep_is_asked_for_each_part(api: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get_api_data()
    asked(api)
    api.fail_next(404, n=4, path="deep=")
    api.reference.touch("sites/lyon")
    parts = again(api)
    assert "/3.0/sites/nancy/clusters/moselle/nodes" in asked(api)
    assert parts["hierarchy"] == whole["hierarchy"]
    host = whole["hosts"]["moselle-2"]
    assert {name: value for name, value in parts["hosts"]["moselle-2"].items() if name in host} == host  # type: ignore[index]


def test_another_program_reads_the_copy_and_asks_once(api: RestServer, folder: Path) -> None:
    data = get_api_data()
    asked(api)
    assert sorted(os.listdir(folder)) == FILES
    assert (folder / "api_commit").read_text() == data["version"] == api.reference.version("")
    stored = json.loads((folder / "hosts").read_text())
    assert {node["uid"]: node for nodes in stored.values() for node in nodes} == data["hosts"]
    assert again(api) == data
    assert asked(api) == ["/3.0/"]


def test_a_new_version_is_fetched(api: RestServer) -> None:
    get_api_data()
    api.reference.sites["lyon"]["clusters"]["saone"]["model"] = "new"
    api.reference.touch("sites/lyon/clusters/saone")
    assert again(api)["clusters"]["saone"]["model"] == "new"  # type: ignore[index]
    asked(api)
    again(api)
    assert asked(api) == ["/3.0/"]


def test_offline_the_copy_is_used_and_that_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve_reference() as server:
        uri = server.uri
        with platforms.configured(uri, folder):
            data = get_api_data()
    with platforms.configured(uri, folder):
        assert get_api_data() == data
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "cannot be reached, so the description of the platform is the last known one" in caplog.text


@pytest.mark.parametrize("fault", ["fail", "truncate", "garble", "drop"])
def test_an_api_out_of_order_is_as_one_out_of_reach(api: RestServer, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    data = get_api_data()
    if fault == "fail":
        api.fail_next(503)
    else:
        getattr(api, f"{fault}_next")()
    assert again(api) == data
    assert "cannot be reached" in caplog.text


@pytest.mark.parametrize("status", [401, 403])
def test_an_api_that_refuses_is_an_error_although_there_is_a_copy(api: RestServer, status: int) -> None:
    get_api_data()
    api.fail_next(status)
    with pytest.raises(APIException, match=f"status={status}"):
        again(api)


def test_without_a_copy_an_api_out_of_reach_is_an_error(folder: Path) -> None:
    with platforms.configured("http://127.0.0.1:1/3.0", folder), pytest.raises(APIException, match="refused"):
        get_api_data()


@pytest.mark.parametrize("fault", ["truncate", "garble", "drop"])
def test_a_part_that_breaks_off_is_fetched_again(api: RestServer, fault: str) -> None:
    getattr(api, f"{fault}_next")(path="sites/nancy")
    assert len(get_api_data()["hosts"]) == 40
    assert sum("sites/nancy" in path for path in asked(api)) == 2


def test_a_site_that_cannot_be_read_is_an_error_not_a_missing_site(api: RestServer, folder: Path) -> None:
    api.fail_next(500, n=9, path="sites/nancy")
    with pytest.raises(APIException, match="sites/nancy"):
        get_api_data()
    assert not (folder / "version").exists()


@pytest.mark.parametrize("name", ["network", "sites", "clusters", "hosts", "hierarchy", "version"])
@pytest.mark.parametrize("damage", ["half", "empty", "absent", "changed", "zeros", "a list"])
def test_a_damaged_copy_is_fetched_anew_and_that_is_said(api: RestServer, folder: Path, caplog: pytest.LogCaptureFixture, name: str,
                                                         damage: str) -> None:
    data = get_api_data()
    content = (folder / name).read_bytes()
    digit = next(i for i, byte in enumerate(content) if 48 <= byte < 57)        # of a number: the file stays JSON
    found = {"half": content[:len(content) // 2], "empty": b"", "zeros": bytes(len(content)), "a list": b"[]",
             "changed": content[:digit] + bytes([content[digit] + 1]) + content[digit + 1:]}
    if damage == "absent":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(found[damage])
    assert again(api) == data
    is_no_copy = name == "version" and damage in ("absent", "changed")         # of another format, or no copy at all
    fetched, warned = "Retrieving data from API...", [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (0 if is_no_copy else 1)
    assert [record.getMessage() for record in caplog.records] == [fetched, *warned, fetched]
    caplog.clear()
    assert again(api) == data
    assert not caplog.records


def test_a_damaged_copy_is_not_used_offline(api: RestServer, folder: Path) -> None:
    get_api_data()
    (folder / "hosts").write_text("{}")
    api.fail_next(503, n=9)
    with pytest.raises(APIException, match="status=503"):
        again(api)


def test_a_copy_of_another_api_is_not_used(api: RestServer, folder: Path) -> None:
    mine = get_api_data()
    with serve_reference() as other, platforms.configured(other.uri, folder):
        assert list(get_api_data()["hierarchy"]) == ["lyon", "nancy", "rennes"]
    with platforms.configured(api.uri, folder):
        assert get_api_data() == mine
    with platforms.configured("http://127.0.0.1:1/3.0", folder), pytest.raises(APIException):
        get_api_data()


def test_a_copy_of_execo_2_8_is_left_for_a_new_one(api: RestServer, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    (folder / "version").write_text('"abc"')
    (folder / "hosts").write_text("{}")
    assert len(get_api_data()["hosts"]) == 40
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("what", ["a file", "below a file", "/proc/no"])
def test_a_folder_that_cannot_be_written_is_warned_of(api: RestServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    (tmp_path / "file").write_text("")
    places = {"a file": str(tmp_path / "file"), "below a file": str(tmp_path / "file" / "cache")}
    config.g5k_configuration["api_cache_dir"] = places.get(what, what)
    assert len(get_api_data()["hosts"]) == 40
    assert "no copy of the API's description" in caplog.text


def test_a_full_disk_leaves_no_half_copy(api: RestServer, folder: Path, caplog: pytest.LogCaptureFixture,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def replace(path: Path, pieces: list[bytes]) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path.name)
        real(path, pieces)

    get_api_data()
    real = cache._replace
    api.reference.sites["lyon"]["site"]["name"] = "Lugdunum"
    api.reference.touch("sites/lyon")
    monkeypatch.setattr(cache, "_replace", replace)
    again(api)
    assert "No space left" in caplog.text
    monkeypatch.setattr(cache, "_replace", real)
    assert again(api)["sites"]["lyon"]["name"] == "Lugdunum"  # type: ignore[index]
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []


def test_threads_fetch_once(api: RestServer) -> None:
    barrier = threading.Barrier(8)
    found: list[object] = []

    def use() -> None:
        barrier.wait()
        found.append(get_api_data())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(data) for data in found}) == 1
    assert sum(path.endswith("deep=1") for path in asked(api)) == 4


PROGRAM = """
import sys
from execo_g5k import g5k_configuration
from execo_g5k.api_utils import get_api_data
g5k_configuration.update(api_uri=sys.argv[1], api_cache_dir=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(len(get_api_data()["hosts"]), flush=True)
"""


def test_two_programs_at_once_fetch_once(api: RestServer, folder: Path) -> None:
    api.delay = 0.05
    command = [sys.executable, "-c", PROGRAM, api.uri, str(folder)]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
        printed = [program.communicate(timeout=60)[0].splitlines() for program in programs]
        assert [lines[-1] for lines in printed] == ["40", "40"]
        assert sorted(map(len, printed)) == [1, 2]      # one of them says that it fetches
    finally:
        for program in programs:
            program.kill()
            program.communicate()
    assert sum(path.endswith("deep=1") for path in asked(api)) == 4
    assert sorted(os.listdir(folder)) == FILES


def test_a_program_that_holds_the_lock_for_ever_does_not_stop_others(api: RestServer, folder: Path) -> None:
    config.g5k_configuration["api_timeout"] = 0.2
    with cache.locked(folder, 1):
        assert len(get_api_data()["hosts"]) == 40
    assert sorted(os.listdir(folder)) == FILES


def test_the_folder_is_that_of_the_user(api: RestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    del config.g5k_configuration["api_cache_dir"]
    get_api_data()
    own = tmp_path / ".execo" / f"g5k_api_cache-{sys.version_info[0]}.{sys.version_info[1]}"
    assert sorted(os.listdir(own)) == FILES
    get_api_data(tmp_path / "elsewhere")
    assert sorted(os.listdir(tmp_path / "elsewhere")) == FILES


def test_arguments_of_all_queries_are_part_of_what_the_copy_is_of(api: RestServer, folder: Path) -> None:
    get_api_data()
    asked(api)
    config.g5k_configuration["api_additional_args"] = {"branch": "testing"}
    get_api_data()
    assert "/3.0/sites/lyon?deep=1&branch=testing" in asked(api)


def test_an_answer_that_is_no_description_is_an_error(folder: Path) -> None:
    with serve_reference() as server, platforms.configured(server.uri + "sites/lyon/health", folder):
        with pytest.raises(APIException, match="expected a version"):
            get_api_data()
