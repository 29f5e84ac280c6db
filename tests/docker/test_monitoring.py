"""The dashboard and the alarms ask for nothing that the service does not export, and the pages know every name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.composed import free_port
from support.service import Service

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docker" / "grafana" / "imprint.json"
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yml"
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("",), "gauge": ("",)}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def asked() -> dict[str, str]:
    """Every metric that the dashboard or an alarm names, and one expression that does."""
    expressions = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    expressions += [rule["expr"] for rule in rules()]
    return {name: each for each in expressions for name in re.findall(r"imprint_\w+", each)}


def names(page: str) -> set[str]:
    """What a page of Prometheus' text format exports, values or not."""
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE)
    return {name + suffix for name, kind in kinds for suffix in SUFFIXES[kind] if not name.endswith("_created")}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[set[str], set[str]]]:
    """By a running API and a running worker, which take ten seconds to start."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    service = Service(folder, folder, free_port())
    try:
        service.start_broker()
        service.start_api()
        service.start_worker(worker_metrics=f"127.0.0.1:{port}")
        api = service.http.get("/metrics")
        worker = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False)
        assert api.status_code == worker.status_code == 200
        assert "imprint_worker_slots 1.0" in worker.text
        yield names(api.text), names(worker.text)
    finally:
        service.close()


def test_everything_asked_for_is_exported(exported: tuple[set[str], set[str]]) -> None:
    api, worker = exported
    assert {name: each for name, each in asked().items() if name not in api | worker} == {}
    assert not api & worker, "one name, one meaning"


def test_everything_exported_is_on_the_dashboard_and_in_the_pages(exported: tuple[set[str], set[str]]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in exported[0] | exported[1]:
        bare = re.sub(r"_(bucket|sum|count)$", "", name)
        assert any(each.startswith(bare) for each in asked()), f"{name} is on no panel"
        assert bare in text, f"docs/operations.md does not tell of {bare}"


def test_every_alarm_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in rules():
        assert f"| `{rule['alert']}` |" in text
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["title"] and (panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"])
    assert len({panel["id"] for panel in panels()}) == len(panels())
