"""A few seeded trials of each drill but the slowest; `make faults` makes as many as you like, of all.

These take seconds each, not less than five in all: real processes are started, killed, and waited for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from faults.catalogue import DRILLS
from faults.drill import Drill, Outcome, table
from faults.run import Places, places, try_out

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def where() -> Iterator[Places]:
    with places() as made:
        yield made


# Twenty seconds a trial and more: left to `make faults`. Kills of trainers and damaged checkpoints have shorter tests elsewhere.
SLOW = frozenset(
    {
        "alone_killed",
        "alone_damaged",
        "trainer_killed",
        "trainer_seams",
        "checkpoint_damaged",
        "disk_full",
        "postgres_down",
        "broker_attacked",
        "outbound_killed",
    }
)


def test_the_slow_ones_are_drills() -> None:
    assert DRILLS.keys() > SLOW


@pytest.mark.parametrize("name", [name for name in DRILLS if name not in SLOW])
def test_promise_is_kept(name: str, where: Places) -> None:
    outcome = try_out(DRILLS[name], DRILLS[name].quick, 0, where)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.failures == 0, outcome.first


def test_no_trial_begins_when_its_time_is_over() -> None:
    slow = Drill("slow", "", "", nullcontext, lambda place, dice, number: time.sleep(0.05))
    with places() as where:
        assert 1 <= try_out(slow, 100, 0, where, seconds=0.12).trials <= 3
        assert try_out(slow, 3, 0, where).trials == 3


def test_ctrl_c_ends_a_drill_with_what_is_known() -> None:
    def third(place: object, dice: random.Random, number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with places() as where:
        outcome = try_out(Drill("d", "", "", nullcontext, third), 5, 0, where)
    assert outcome.interrupted and outcome.trials == 2 and outcome.failures == 0


def test_the_table_says_how_sure_one_may_be() -> None:
    """No failure in 300 trials: less often than 1 in 100, with 95 % confidence (0.99 ** 300 is 0.049)."""
    drill = next(iter(DRILLS.values()))
    lines = table([Outcome(drill, 300, 0, 600.0), Outcome(drill, 10, 1, 5.0), Outcome(drill, skipped="no right")]).splitlines()
    assert lines[2].endswith("| 300 | 0 | 1 % | 2.0 |") and 0.99**300 < 0.05 < 0.99**297
    assert lines[3].endswith("| 10 | 1 | — | 0.5 |") and "not here: no right" in lines[4]
