"""The files of bench/results: one JSON file per workload, what the last run measured of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from execobench.rows import Result
from execobench.tables import Campaign


def save(folder: Path, campaign: Campaign) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = asdict(campaign)
    results = data.pop("results")
    # One line per measurement: a change of one is one line of a diff.
    head = json.dumps(data, indent=1, ensure_ascii=False)[:-2]
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in results)
    (folder / f"{campaign.workload}.json").write_text(f'{head},\n "results": [\n  {rows}\n ]\n}}\n', encoding="utf-8")


def load(folder: Path) -> dict[str, Campaign]:
    """{workload: Campaign}; empty if there is nothing."""
    campaigns = {}
    for file in sorted(folder.glob("*.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        results = [Result.from_json(row) for row in data.pop("results")]
        campaigns[data["workload"]] = Campaign(**data, results=results)
    return campaigns
