"""Near-duplicates and outliers of sets whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ssl_core.search.build import build_index
from ssl_core.search.index import PictureIndex
from ssl_core.search.report import distances, duplicates, outliers
from support.vectors import clustered, write_vectors


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PictureIndex:
    """200 pictures in 20 clusters; 10 to 12 are nearly 5, 60 is exactly 61; 150 is unlike any other."""
    folder: Path = tmp_path_factory.mktemp("report")
    vectors = clustered(200)
    noise = np.random.default_rng(2).standard_normal((3, 32)).astype(np.float32)
    vectors[10:13] = vectors[5] + 0.02 * noise
    vectors[60] = 7 * vectors[61]
    vectors[150] = -10 * vectors[:20].mean(0)
    build_index(write_vectors(folder / "job.1", vectors, [f"{row}.jpg" for row in range(200)]), folder / "index")
    return PictureIndex.open(folder / "index")


class TestDuplicates:
    def test_the_groups_are_found_largest_first(self, index):
        found = duplicates(index, 0.999)
        assert [group.rows.tolist() for group in found.groups] == [[5, 10, 11, 12], [60, 61]]
        assert found.extra == 4
        assert np.flatnonzero(found.label == 0).tolist() == [5, 10, 11, 12] and found.label[60] == found.label[61] == 1
        assert (found.label >= 0).sum() == 6
        assert found.groups[1].lowest == pytest.approx(1, abs=1e-3)
        assert 0.999 <= found.groups[0].lowest <= found.groups[0].highest <= 1

    def test_a_lower_threshold_joins_more(self, index):
        sizes = [sum(len(group.rows) for group in duplicates(index, threshold).groups) for threshold in (1.01, 0.999, 0.9, 0.5)]
        assert sizes[0] == 0 and sizes == sorted(sizes) and sizes[-1] > 150

    def test_they_are_the_components_of_brute_force(self, index):
        """Union of all pairs of neighbours by repeated relabelling, an independent way."""
        label = np.arange(200)
        pairs = [(a, b) for a in range(200) for b, s in zip(index.rows[a], index.scores[a], strict=True) if s >= np.float32(0.9)]
        for _ in range(200):
            for a, b in pairs:
                label[a] = label[b] = min(label[a], label[b])
        wanted = sorted(sorted(np.flatnonzero(label == each)) for each in set(label) if (label == each).sum() > 1)
        assert sorted(group.rows.tolist() for group in duplicates(index, 0.9).groups) == wanted


class TestOutliers:
    def test_the_odd_one_comes_first(self, index):
        found = distances(index)
        order = outliers(found, 0, 200)
        assert order[0] == 150 and found[150] > 2 * found[order[1]]
        assert sorted(order.tolist()) == list(range(200)) and (np.diff(found[order]) <= 0).all()

    def test_pages_are_parts_of_the_whole(self, index):
        found = distances(index)
        whole = outliers(found, 0, 200)
        assert [*outliers(found, 0, 7), *outliers(found, 7, 30), *outliers(found, 30, 500)] == [*whole]
        assert outliers(found, 300, 310).size == 0
