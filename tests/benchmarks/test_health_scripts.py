"""health.py and health_study.py at their smallest; and a selection of health.py's runs, which is a test of the verdicts.

The end-to-end tests take 10 to 40 s each: they train.
"""

from __future__ import annotations

import math

import health
import health_study
import images
import pytest
from health import BROKEN, Outcome, counts, missed

from support.printed import tables

pytestmark = pytest.mark.timeout(400)
FAST = ["--arch", "resnet18", "--size", "16", "--batch", "64"]


class TestHealth:
    def test_collapses_are_caught_and_healthy_runs_left_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Real runs on digits, the quickest of each kind."""
        names = ["byol: no predictor, shared target", "vicreg: no variance", "default", "byol"]
        status = health.main([*FAST, "--steps", "66", "--only", "; ".join(names)])
        printed = capsys.readouterr()
        (header, *rows) = tables(printed.out)[0]
        told = [dict(zip(header, row, strict=True)) for row in rows]
        assert [each["run"] for each in told] == names and printed.err.count(" left") == len(names)
        assert status == 0, printed.out
        assert "collapses caught: 2 of 2" in printed.out and "alarms of healthy runs: 0 of 2" in printed.out
        assert all(int(each["collapsed at"]) <= 66 for each in told[:2])

    def test_a_folder_of_pictures(self, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
        images.write_jpegs(tmp_path / "train", 96, 16, seed=0, classes=3)
        health.main(["--data", str(tmp_path / "train"), *FAST[:-2], "--batch", "16", "--steps", "6", "--only", "simclr"])
        assert tables(capsys.readouterr().out)[0][1][:3] == ["simclr", "healthy", "10"], "two epochs of five steps"

    def test_what_counts(self) -> None:
        broken, caught, fine, alarmed = Outcome(), Outcome(collapsed=40, first_alarm=30), Outcome(), Outcome(first_alarm=9)
        first, second = list(BROKEN)[:2]
        assert counts({first: broken, second: caught, "simclr": fine, "byol": alarmed}) == [
            "collapses caught: 1 of 2, the last of them at step 40",
            "alarms of healthy runs: 1 of 2: byol",
        ]
        assert [missed(first, broken), missed(first, caught), missed("byol", fine), missed("byol", alarmed)] == [
            True,
            False,
            False,
            True,
        ]

    def test_an_unknown_name_is_told(self) -> None:
        with pytest.raises(SystemExit, match="'byll' is neither a preset nor one of: byol: no"):
            health.main(["--only", "byll"])


class TestStudy:
    def test_from_end_to_end(self, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
        """Two methods of seven runs, of one epoch of two steps each: about 20 s."""
        images.write_jpegs(tmp_path / "train", 32, 32, seed=0, classes=4)
        images.write_jpegs(tmp_path / "test", 32, 32, seed=1, classes=4)
        health_study.main(
            [str(tmp_path), "--images", "32", "--epochs", "1", "--methods", "simclr,vicreg", "--batch", "16", *FAST[:2]]
        )
        printed = capsys.readouterr()
        runs, correlations = tables(printed.out)
        assert len(runs) == 1 + 2 * len(health_study.VARIANTS) and printed.err.count(" left") == len(runs) - 1
        assert {row[0] for row in correlations[1:]} == set(health_study.MEASURES)
        for row in correlations[1:]:
            assert all(cell == "+nan" or -1 <= float(cell) <= 1 for cell in row[1:])

    def test_correlations_are_of_ranks_signed_and_within_methods(self) -> None:
        """uniformity falls exactly as accuracy rises within each method; over both, one method is better at equal uniformity."""
        runs = [("a", {"linear_top1": 10.0 + i**3, "uniformity": -float(i)}) for i in range(4)]
        runs += [("b", {"linear_top1": 5.0 + i, "uniformity": -10.0 * i}) for i in range(4)]
        rows = {row[0]: row for row in health_study.correlations(runs)}
        assert rows["uniformity"][2:] == ["+1.00", "+1.00", "+1.00"] and float(rows["uniformity"][1]) < 1
        assert math.isnan(float(rows["batch_rank"][1])), "it was not measured"

    def test_every_variant_changes_what_its_name_says(self) -> None:
        arguments = type("Arguments", (), {"images": 1500, "epochs": 5, "arch": "resnet18", "batch": 128, "seed": 0})
        specs = {variant[0]: health_study.spec_of("simclr", variant, arguments) for variant in health_study.VARIANTS}  # type: ignore[arg-type]
        base = specs["as it is"]
        assert (
            specs["lr × 5"].optim.lr == pytest.approx(5 * base.optim.lr)
            and specs["a fifth of the epochs"].trainer.max_epochs == 1
        )
        assert len({spec.model_dump_json() for spec in specs.values()}) == len(health_study.VARIANTS)
        assert len(health_study.VARIANTS) * 4 >= 20
