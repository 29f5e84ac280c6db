"""How a contact sheet is drawn, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ssl_core.preview import drawing, words
from ssl_core.spec import AugmentConfig
from support.sheets import holds, pixels


class TestDrawing:
    def cells(self, *sides: int) -> list[NDArray[np.uint8]]:
        random = np.random.default_rng(0)
        return [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in sides]

    def draw(self, cells: list[NDArray[np.uint8]], size: int, label: str = "") -> NDArray[np.uint8]:
        groups = [drawing.Group("picture", ["kept"]), drawing.Group("epoch 1", words.view_names(len(cells) - 1))]
        return pixels(
            drawing.draw("title", ["a line"], groups, [drawing.Row([drawing.scaled(cell, size) for cell in cells], label)], size)
        )

    def test_small_views_are_repeated_pixels(self) -> None:
        cells = self.cells(32, 32, 16)
        sheet = self.draw(cells, 32)
        for cell in cells:
            assert holds(sheet, cell.repeat(4, 0).repeat(4, 1))

    def test_large_views_are_shown_smaller_and_all_at_one_scale(self) -> None:
        sheet = self.draw(self.cells(584, 512, 256), 512)
        white = Image.fromarray(np.full((584, 584, 3), 255, np.uint8))
        assert drawing.scaled(np.asarray(white), 512).size == (292, 292)
        assert sheet.shape[1] < 800

    def test_views_of_several_sizes_are_columns_of_their_own(self) -> None:
        """Multi-crop: two large views, and six of less than half their side."""
        cells = self.cells(110, 96, 96, *[40] * 6)
        sheet = self.draw(cells, 96)
        assert all(holds(sheet, cell) for cell in cells)

    @pytest.mark.parametrize("label", ["", "x" * 5000, "\ufdfa" * 4000, "a\n\x00\ud800b", "日本語.jpg", "\u202e" * 300])
    def test_whatever_a_file_is_called_a_line_holds_it(self, label: str) -> None:
        cells = self.cells(32, 32)
        assert self.draw(cells, 32, label).shape == self.draw(cells, 32, "short").shape

    def test_text_keeps_to_its_width(self) -> None:
        font = drawing._font(13)
        text = "one two three " * 20 + "y" * 300
        lines = drawing.wrapped(text, 13, 200)
        assert len(lines) > 5 and all(font.getlength(line) <= 200 for line in lines)
        assert "".join(lines[:-1]).replace(" ", "") == "onetwothree" * 20
        short = drawing.shortened("begin" + "-" * 300 + "end.jpg", 13, 200)
        assert short.startswith("begin") and short.endswith("end.jpg") and font.getlength(short) <= 200
        assert drawing.shown("Größe №½ 日") == "Gro?e No1?2 ?"


class TestWords:
    def lines(self, **augment: Any) -> list[str]:
        return [line.replace(words.NBSP, " ") for line in words.settings(AugmentConfig.model_validate(augment))]

    def test_what_never_happens_is_not_said(self) -> None:
        (line,) = self.lines(blur=0, grayscale=0, hue=0)
        assert line.startswith("views a and b: crop 20 % to 100 % of the area, ratio 0.75 to 1.33, flip 50 %, jitter 80 % (")
        assert "blur" not in line and "grayscale" not in line and "hue" not in line

    def test_the_second_view_says_what_is_different(self) -> None:
        first, second = self.lines(blur=1.0, flip=0.5, second_view={"blur": 0.1, "solarize": 0.2, "flip": 0.0})
        assert first.startswith("view a: ") and "blur 100 % (sigma 0.1 to 2 px)" in first
        assert second == "view b: as view a, but blur 10 % (sigma 0.1 to 2 px), solarise 20 %, no flip"
