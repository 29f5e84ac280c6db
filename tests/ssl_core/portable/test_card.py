"""The model card: facts in, Markdown out."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from ssl_core.manifest import read_manifest
from ssl_core.portable.card import CardFacts, Evaluation, card
from ssl_core.portable.curves import svg

FACTS = CardFacts(
    encoder="enc_1",
    name="cats <script> | *now*",
    license="CC-BY-4.0",
    held_out=360,
    classes=10,
    curves={"train_loss": [(0, 4.0), (10, 3.0), (20, 2.5)], "knn_top1": [(20, 91.0)]},
    verdict="healthy",
    reasons=["effective rank 38"],
    evaluations=[Evaluation(protocol="linear_probe lbfgs", data="folder pets", figures={"top1": 88.125}, seeds=3)],
)


@pytest.fixture
def manifest(encoder_folder):
    return read_manifest(encoder_folder())


class TestCard:
    def test_says_what_is_known(self, manifest):
        text = card(manifest, FACTS, "onnx")
        assert text.startswith("---\nlicense: cc-by-4.0\nlibrary_name: onnx\n")
        for part in (
            "| method | simclr |",
            "| learned from | digits: 1,437 pictures, 360 more held out, 10 classes, which were not learned from |",
            "`sha256:0`",
            f"SHA-256 `{manifest.sha256}`",
            "| linear\\_probe lbfgs | folder pets | top1 | 88.12 | 3 |",
            "Health at the end: **healthy**: effective rank 38.",
            "![Curves](curves.svg)",
            "minus (0.5, 0.4, 0.3), divided by (0.25, 0.2, 0.3)",
            "## License\n\nCC-BY-4.0",
        ):
            assert part in text, part

    def test_a_users_words_are_text(self, manifest):
        text = card(manifest, FACTS, "onnx")
        assert "# cats &lt;script&gt; \\| \\*now\\*" in text and "<script>" not in text

    def test_a_licence_cannot_break_the_head(self, manifest):
        text = card(manifest, FACTS.model_copy(update={"license": "mit\ntags: [evil]"}), "onnx")
        assert text.startswith("---\nlicense: other\n") and "\ntags: [evil]" not in text

    def test_without_facts(self, manifest):
        text = card(manifest, CardFacts(), "torchscript")
        assert "| at the end of pretraining | digits, held out | knn_top1 | 91.25 | 1 |" in text
        assert "Not stated." in text and "Curves" not in text and "license: other" in text

    def test_curves_inside(self, manifest):
        found = re.search(r"base64,([^)]+)\)", card(manifest, FACTS, "onnx", inline=True))
        assert found and base64.b64decode(found[1]).decode() == svg(FACTS.curves)


class TestCurves:
    def test_points_are_where_they_belong(self):
        """Three points: 4, 3 and 2.5 over 180 × 70 px below 18 px; a curve of one point is none."""
        root = ElementTree.fromstring(svg(FACTS.curves) or "")
        (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
        assert line.get("points") == "4.0,18.0 94.0,64.7 184.0,88.0"
        assert "training loss: 2.5 at the end" in "".join(root.itertext())

    def test_none(self):
        assert svg({"train_loss": [(1, 2.0)], "other": [(0, 1), (1, 2)]}) is None

    def test_long_ones_are_thinned_from_end_to_end(self):
        drawn = svg({"train_loss": [(step, step) for step in range(1000)]}) or ""
        assert drawn.count(",") == 120 and len(drawn) < 4000 and "999 (0 to 999)" in drawn
