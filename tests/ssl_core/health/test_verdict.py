"""Verdicts on figures made up for them: each rule, its edge, and which of two wins."""

from __future__ import annotations

import math
from typing import Any

from ssl_core.health import ALARMS, VERDICTS, Health, Signs, Watch, judge
from ssl_core.health.verdict import PULSES, settled

START = {"effective_rank": 10.0, "embedding_std": 0.3, "knn_top1": 40.0, "uniformity": -0.2}
GOOD = {"effective_rank": 30.0, "embedding_std": 0.8, "knn_top1": 70.0, "uniformity": -2.0}
PULSE = {"batch_std": 0.8, "train_loss": 4.0, "gradient_norm": 1.0, "learning_rate": 0.1, "loss_at_chance": 6.2}


def verdict(
    *evaluations: dict[str, float],
    pulses: int = 6,
    best_std: float = 0.9,
    best_usage: float = 0.0,
    warm: bool = True,
    **pulse: float,
) -> str:
    """Of a run with these evaluations whose newest reports all told the same."""
    health = judge(Signs(evaluations, [PULSE | pulse] * pulses, best_std, 0.1, warm, best_usage))
    assert health.verdict in VERDICTS and health.reasons
    assert bool(health.suggestions) or health.verdict in ("healthy", "warming_up")
    return health.verdict


class TestEvaluations:
    def test_random_weights_alone_say_nothing(self) -> None:
        assert verdict(START) == "warming_up" and verdict() == "warming_up"
        assert verdict(START, GOOD, warm=False) == "warming_up"

    def test_spread_is_healthy_with_and_without_labels(self) -> None:
        assert verdict(START, GOOD) == "healthy"
        unlabelled = [{name: value for name, value in each.items() if name != "knn_top1"} for each in (START, GOOD)]
        assert verdict(*unlabelled) == "healthy"

    def test_a_point_has_collapsed_unless_it_tells_classes_apart(self) -> None:
        assert verdict(START, GOOD | {"effective_rank": 1.1, "knn_top1": 10.0}) == "collapsed"
        assert verdict(START, GOOD | {"embedding_std": 0.01, "knn_top1": 40.0}) == "collapsed"
        assert verdict(START, GOOD | {"embedding_std": 0.01, "knn_top1": 55.0}) == "collapsing", "it has shrunk"

    def test_a_rank_that_falls_below_half_of_its_best_is_collapsing(self) -> None:
        assert verdict(START, GOOD, GOOD | {"effective_rank": 14.9}) == "collapsing"
        assert verdict(START, GOOD, GOOD | {"effective_rank": 15.1}) == "healthy"
        assert verdict(GOOD, GOOD | {"effective_rank": 14.9}) == "healthy", "of the first evaluation too little is known"

    def test_no_better_than_random_weights(self) -> None:
        bad = GOOD | {"knn_top1": 39.0}
        moving = [bad | {"effective_rank": 20.0 + i} for i in range(4)]
        assert verdict(START, *moving[:3]) == "healthy", "in the first epochs it may well fall before it rises"
        assert verdict(START, *moving) == "plateaued"

    def test_what_does_not_move_has_plateaued_while_the_rate_is_high(self) -> None:
        still = [START, *[GOOD | {"effective_rank": 30 + 0.1 * i} for i in range(4)]]
        assert verdict(*still) == "plateaued"
        assert verdict(*still, learning_rate=0.009) == "healthy", "at the end of a cosine nothing should move"
        assert verdict(*still[:-1]) == "healthy", "three are not enough"
        assert verdict(*still[:-1], GOOD | {"uniformity": -2.4}) == "healthy", "the other measure moves"


class TestPulses:
    def test_one_point_for_so_many_reports_has_collapsed(self) -> None:
        assert verdict(START, GOOD, batch_std=0.02) == "collapsed"
        assert verdict(batch_std=0.02) == "collapsed", "before the first evaluation"
        assert verdict(START, GOOD, batch_std=0.02, pulses=PULSES - 1) == "healthy"

    def test_a_fraction_of_the_best_is_collapsing(self) -> None:
        assert verdict(START, GOOD, batch_std=0.17) == "collapsing"
        assert verdict(START, GOOD, batch_std=0.19) == "healthy"

    def test_images_that_all_go_to_a_few_prototypes(self) -> None:
        """Projections may stay apart: what is lost is what they are asked for."""
        assert verdict(START, GOOD, prototype_usage=0.29) == "collapsed"
        assert verdict(START, GOOD, prototype_usage=0.31, best_usage=0.6) == "healthy"
        assert verdict(START, GOOD, prototype_usage=0.29, pulses=PULSES - 1) == "healthy"
        assert verdict(START, GOOD, prototype_usage=0.46, best_usage=0.96) == "collapsing"
        assert verdict(START, GOOD, prototype_usage=0.49, best_usage=0.96) == "healthy"

    def test_a_loss_at_chance_learns_nothing(self) -> None:
        assert verdict(START, GOOD, train_loss=6.17) == "plateaued"
        assert verdict(START, GOOD, train_loss=6.1) == "healthy"
        assert verdict(START, GOOD, train_loss=6.2, warm=False) == "warming_up"
        without = judge(Signs([START, GOOD], [{"train_loss": 6.2}] * 6))
        assert without.verdict == "healthy", "a loss that is no cross-entropy has no chance level"

    def test_what_is_not_finite_has_diverged(self) -> None:
        assert verdict(START, GOOD, train_loss=math.nan) == "diverged"
        assert verdict(START, GOOD, gradient_norm=math.inf) == "healthy", "fp16 skips such a step"

    def test_the_gravest_wins(self) -> None:
        assert verdict(START, GOOD, GOOD | {"effective_rank": 1.0, "knn_top1": 0.0}, train_loss=math.inf) == "diverged"
        assert verdict(START, GOOD, batch_std=0.01, train_loss=6.2) == "collapsed"

    def test_waiting_for_data_is_told_and_no_alarm(self) -> None:
        health = judge(Signs([START, GOOD], [PULSE | {"data_wait_share": 0.7}] * 3))
        assert health.verdict == "healthy" and "70 % of the time is spent waiting" in health.reasons[-1]
        assert "data.workers" in health.suggestions[0]


def test_settled_is_relative_to_all_that_a_measure_has_moved() -> None:
    """The range is 30 - 10 = 20, and 2 % of it 0.4; the same after scaling and turning round."""
    values = [10.0, 29.0, 30.0, 29.7, 29.8, 30.0]
    assert settled(values, 3, 0.02) and settled([-7 * each for each in values], 3, 0.02)
    assert not settled([*values[:3], 29.5, *values[4:]], 3, 0.02)
    assert not settled(values[:4], 3, 0.02), "window + 1, and at least one before"
    assert not settled([10.0, *[math.nan] * 5], 3, 0.02)


class TestWatch:
    def test_a_resumed_one_judges_alike(self) -> None:
        """Every prefix saved and loaded: the verdicts after it are those of the uninterrupted one."""
        stds = [0.3, 0.9, 0.9, 0.15, 0.14, 0.13, 0.02, 0.02, 0.02, 0.5]
        whole = Watch()
        expected = [whole.pulse(step, PULSE | {"batch_std": std}).verdict for step, std in enumerate(stds)]
        assert expected == ["warming_up"] * 5 + ["collapsing"] * 3 + ["collapsed", "warming_up"]
        for cut in range(len(stds)):
            first, second = Watch(), Watch()
            for std in stds[:cut]:
                first.pulse(0, PULSE | {"batch_std": std})
            second.load_state_dict(first.state_dict())
            assert [second.pulse(0, PULSE | {"batch_std": std}).verdict for std in stds[cut:]] == expected[cut:]

    def test_of_a_run_that_began_before_prototypes_were_looked_at(self) -> None:
        watch, older = Watch(), Watch()
        for usage in (0.9, 0.9, 0.9):
            older.pulse(0, PULSE | {"prototype_usage": usage})
        state = older.state_dict()
        watch.load_state_dict(state | {"best": state["best"][:2]})
        assert watch.pulse(1, PULSE | {"prototype_usage": 0.9}).verdict == "warming_up"
        fallen = [0.44, 0.43, 0.42]
        assert [watch.pulse(1, PULSE | {"prototype_usage": each}).verdict for each in fallen][-1] == "collapsing"

    def test_it_remembers_a_few_pulses_only(self) -> None:
        watch = Watch()
        for step in range(1000):
            watch.pulse(step, PULSE | {"unknown": 1.0})
        assert len(watch.pulses) == 2 * PULSES and "unknown" not in watch.pulses[0]

    def test_a_run_has_not_settled_while_it_collapses_or_warms_up(self) -> None:
        watch = Watch(warmup_steps=10)
        for step in range(6):
            watch.evaluated(step, START if step == 0 else GOOD)
        assert not watch.has_settled("effective_rank", 3, 0.02)
        watch.evaluated(11, GOOD)
        assert watch.has_settled("effective_rank", 3, 0.02) and not watch.has_settled("alignment", 3, 0.02)
        for step in range(12, 16):
            watch.pulse(step, PULSE | {"batch_std": 0.001})
        assert not watch.has_settled("effective_rank", 3, 0.02)

    def test_diverged_says_why_and_what_to_try(self) -> None:
        health: Any = Watch().diverged("train_loss is nan at step 7")
        assert isinstance(health, Health) and health.reasons == ["train_loss is nan at step 7"]
        assert health.verdict in ALARMS and "lower optim.lr" in str(health)
