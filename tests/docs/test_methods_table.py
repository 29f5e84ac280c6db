"""The table of methods: each has an oracle, a learning test, a preset and a cost, and the cost is worked out again."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ssl_core.presets import PRESETS
from ssl_core.spec import METHOD_NAMES
from support.oracles import ORACLES

ROOT = Path(__file__).parents[2]
MEASURED = json.loads((ROOT / "docs" / "methods.json").read_text(encoding="utf-8"))
LEARNING = runpy.run_path(str(ROOT / "tests" / "ssl_core" / "methods" / "test_learning.py"))


@pytest.fixture(scope="module")
def measure():
    """docs/measure_methods.py."""
    return runpy.run_path(str(ROOT / "docs" / "measure_methods.py"))


def test_every_method_is_tested_and_has_a_preset() -> None:
    """What is missing is named."""
    have = {
        "an oracle in tests/support/oracles.py": {name.split(",")[0] for name in ORACLES},
        "a learning test in tests/ssl_core/methods/test_learning.py": set(LEARNING["CONFIGS"]),
        "a preset in ssl_core/presets/recipes.py": {recipe().method.name for recipe in PRESETS.values()},
        "its figures: python docs/measure_methods.py": set(MEASURED),
    }
    missing = [f"{method} lacks {what}" for what, names in have.items() for method in METHOD_NAMES if method not in names]
    assert missing == []
    assert set(MEASURED) == set(METHOD_NAMES)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_what_was_measured_is_what_the_tests_demand(name: str) -> None:
    oracle, gains = MEASURED[name]["oracle"], MEASURED[name]["learning"]
    assert oracle["value"] < 1e-9 and oracle["gradient"] < 1e-9
    assert len(gains) == 3 and min(gains) > LEARNING["MARGIN"]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_cost_is_still_what_it_was(measure, name: str) -> None:
    """About a second each; the operations are counted, not carried out."""
    assert MEASURED[name]["cost"] == measure["cost_or_none"](name)


def test_costs_by_hand() -> None:
    """A view forward is a third of a step, and backward two thirds. Two views are 2; MoCo's key view has no backward, 4/3; BYOL
    has two more forward, 8/3; so has distillation, of a teacher like the student. The heads come on top, and the first
    convolution has no gradient to pass on."""
    bare = {"moco": 4 / 3, "simclr": 2, "byol": 8 / 3, "vicreg": 2, "simsiam": 2, "barlow_twins": 2, "nnclr": 2, "distill": 8 / 3}
    for name, expected in bare.items():
        assert MEASURED[name]["cost"]["ratio"] == pytest.approx(expected, rel=0.06), name
