"""The least versions of what faces strangers' input: below them are weaknesses that are known."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "pytorch-lightning": "2.6.6",
    "torch": "2.11",
    "starlette": "1.3.1",
    "python-multipart": "0.0.31",
    "pillow": "12.3.0",
}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_asked_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = [each for each in project["dependencies"] if re.split(r"[\[<>=;\s]", each)[0].lower() == name]
    floor = re.search(r">=\s*([\d.]+)", asked)
    assert floor is not None and numbers(floor[1]) >= numbers(FLOORS[name]), asked


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed(name: str) -> None:
    pinned = dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)", (ROOT / "constraints.txt").read_text().lower()))
    assert numbers(pinned[name]) >= numbers(FLOORS[name])


def test_every_dependency_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    assert not [each for each in project["dependencies"] if ">=" not in each]
    assert [each for each in extras if ">=" not in each and not each.startswith("types-")] == []
