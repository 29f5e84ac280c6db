"""`--set section.field=value`."""

from __future__ import annotations

import pytest

from imprint import overrides
from imprint.errors import UsageError


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("method.queue_size=4096", ["method", "queue_size"], 4096),
        ("optim.lr=3e-2", ["optim", "lr"], 0.03),
        ("augment.crop_scale=[0.2, 1]", ["augment", "crop_scale"], [0.2, 1]),
        ("method.symmetric=true", ["method", "symmetric"], True),
        ("optim.final=null", ["optim", "final"], None),
        ("encoder.arch=timm/vit_tiny", ["encoder", "arch"], "timm/vit_tiny"),
        ('name="007"', ["name"], "007"),
        ("name=a=b", ["name"], "a=b"),
        ("name=", ["name"], ""),
    ],
)
def test_a_value_is_json_or_else_text(text: str, path: list[str], value: object) -> None:
    assert overrides.parse(text) == (path, value)


@pytest.mark.parametrize("text", ["method.queue_size", "=1", "method.=1", ".name=1", "a..b=1"])
def test_a_malformed_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        overrides.parse(text)
    assert text in str(caught.value)
    assert "--set method.queue_size=4096" in caught.value.hint


def test_later_assignments_win_and_the_original_stays() -> None:
    body = {"data": {"source": "digits"}, "trainer": {"max_epochs": 3, "seed": 1}}
    changed = overrides.apply(body, ["trainer.max_epochs=5", "trainer.max_epochs=7", "method.branches.momentum=0.9"])
    assert changed["trainer"] == {"max_epochs": 7, "seed": 1}
    assert changed["method"] == {"branches": {"momentum": 0.9}}
    assert body == {"data": {"source": "digits"}, "trainer": {"max_epochs": 3, "seed": 1}}


def test_a_path_through_a_value_names_the_place() -> None:
    with pytest.raises(UsageError, match=r"trainer\.seed is 1, not a section"):
        overrides.apply({"trainer": {"seed": 1}}, ["trainer.seed.deep=2"])
