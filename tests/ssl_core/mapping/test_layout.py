"""UMAP as it is called here, and what is placed and clustered, on groups that are known. The first layout compiles: some 10 s."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from ssl_core.events import Events, Stopped
from ssl_core.mapping.clusters import clusters
from ssl_core.mapping.layout import placed, principal
from ssl_core.mapping.neighbours import apart
from ssl_core.mapping.run import make_map
from ssl_core.mapping.table import MapCorrupt, read_map
from ssl_core.search.build import build_index
from ssl_core.search.facts import BadVectors
from ssl_core.search.index import PictureIndex
from ssl_core.search.report import distances
from ssl_core.spec.map import MapSpec
from support.vectors import ENCODER, clustered, write_vectors

COUNT, GROUPS = 400, 8
BAD = (0, 70, 399)
GOOD = [row for row in range(COUNT) if row not in BAD]
PATHS = [f"{row % GROUPS}/ü {row}.jpg" for row in range(COUNT)]


def spec(**fields: Any) -> MapSpec:
    return MapSpec(encoder=ENCODER, vectors="job_x", **fields)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = clustered(COUNT, clusters=GROUPS)
    return write_vectors(tmp_path_factory.mktemp("vectors") / "job.1", values, PATHS, bad=BAD)


def mapped(vectors: Path, out: Path, said: list[dict[str, Any]] | None = None, **fields: Any) -> Any:
    out.mkdir()
    return read_map(make_map(spec(**fields), vectors, out, events=Events(None, None if said is None else said.append)))


@pytest.fixture(scope="module")
def said() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def table(vectors: Path, said: list[dict[str, Any]]) -> Any:
    return mapped(vectors, vectors.parent / "out", said)


def places(table: Any) -> Any:
    return np.stack([table.column("x").to_numpy(), table.column("y").to_numpy()], 1)


def test_a_row_for_every_vector_in_their_order(table: Any) -> None:
    assert table.column("path").to_pylist() == [PATHS[row] for row in GOOD]
    assert table.column("folder").to_pylist() == [str(row % GROUPS) for row in GOOD]
    assert np.isfinite(places(table)).all() and np.abs(places(table).mean(0)).max() < 1e-3


def test_groups_lie_together_and_are_found(table: Any) -> None:
    """Every picture's nearest on the map is of its own group, and the clusters are the groups."""
    xy, truth = places(table), np.array(GOOD) % GROUPS
    away = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.diag(np.full(len(xy), np.inf))
    assert (truth[away.argmin(1)] == truth).mean() > 0.98
    assert adjusted_rand_score(truth, table.column("cluster").to_numpy()) > 0.9


def test_outliers_and_neighbours_are_those_of_the_index(table: Any, vectors: Path) -> None:
    build_index(vectors, vectors.parent / "index", threads=1)
    index = PictureIndex.open(vectors.parent / "index")
    assert np.allclose(table.column("outlier").to_numpy(), distances(index), atol=1e-3)
    nearest = np.array(table.column("nearest").to_pylist())
    assert (nearest == index.rows).mean() > 0.99


def test_the_same_seed_gives_the_same_map(table: Any, vectors: Path, tmp_path: Path) -> None:
    assert mapped(vectors, tmp_path / "again").equals(table)
    assert not mapped(vectors, tmp_path / "other", seed=1).equals(table)


def test_landmarks_place_the_others_in_their_groups(vectors: Path, tmp_path: Path) -> None:
    table = mapped(vectors, tmp_path / "out", landmarks=150)
    truth, xy = np.array(GOOD) % GROUPS, places(table)
    centres = np.array([np.median(xy[truth == group], 0) for group in range(GROUPS)])
    nearest = np.linalg.norm(xy[:, None] - centres[None], axis=2).argmin(1)
    assert (nearest == truth).mean() > 0.95
    facts = json.loads((tmp_path / "out" / "map" / "result.json").read_bytes())
    assert (facts["count"], facts["left_out"], facts["landmarks"]) == (len(GOOD), len(BAD), 150)


def test_progress_goes_up_to_the_end(table: Any, said: list[dict[str, Any]]) -> None:
    phases = [event["phase"] for event in said if event["type"] == "phase"]
    assert phases == ["reading", "indexing", "neighbours", "compiling", "layout", "clusters", "saving"]
    steps = [event["step"] for event in said if event["type"] == "progress"]
    assert steps == sorted(steps) and steps[-1] == COUNT


@pytest.mark.parametrize("phase", ["indexing", "layout", "clusters"])
def test_it_ends_in_the_middle_when_asked_to(table: Any, vectors: Path, tmp_path: Path, phase: str) -> None:
    said: list[dict[str, Any]] = []

    def asked() -> bool:
        return any(event.get("phase") == phase for event in said)

    with pytest.raises(Stopped):
        make_map(spec(), vectors, tmp_path, events=Events(None, said.append), asked_to_stop=asked)
    assert not (tmp_path / "map").exists()


def test_few_pictures_and_copies_of_one(tmp_path: Path) -> None:
    values = np.ones((5, 8), np.float32)
    values[4] = -1
    folder = write_vectors(tmp_path / "job.1", values, [f"{row}.jpg" for row in range(5)])
    assert np.isfinite(places(mapped(folder, tmp_path / "out"))).all()


@pytest.mark.parametrize("fault", ["another encoder", "three vectors"])
def test_what_cannot_be_mapped_is_said(tmp_path: Path, fault: str) -> None:
    folder = write_vectors(tmp_path / "job.1", clustered(3), ["a.jpg", "b.jpg", "c.jpg"])
    asked = spec() if fault == "three vectors" else MapSpec(encoder="enc_other", vectors="job_x")
    with pytest.raises(BadVectors, match=r"made by|a map is made of 4 or more"):
        make_map(asked, folder, tmp_path, events=Events(None))


def test_principal_components_are_those_of_scikit_learn() -> None:
    values = clustered(500, dim=24)
    mean, found = principal([values[:200], values[200:]], 24)
    theirs = PCA(24, svd_solver="full").fit(values.astype(np.float64))
    assert np.allclose(mean, theirs.mean_, atol=1e-4)
    assert np.allclose(np.abs((found.T[:5] * theirs.components_[:5]).sum(1)), 1, atol=1e-4)


def test_the_mean_of_landmarks_is_nearer_to_the_nearest() -> None:
    """Two landmarks at (0, 0) and (1, 0): as near to both, in the middle; nearer to the second, to its right."""
    landmarks = np.array([[0, 0], [1, 0]], np.float32)
    rows, scores = np.array([[0, 1], [1, 0], [1, -1]], np.int32), np.array([[0.5, 0.5], [0.9, 0.5], [0.9, np.nan]], np.float32)
    xy = placed(rows, scores, landmarks)
    assert xy[0] == pytest.approx([0.5, 0]) and xy[1, 0] > 0.7 and xy[2] == pytest.approx([1, 0])


def test_apart_by_hand() -> None:
    """1 - 0.8 and 1 - 0.4: 0.4 in the mean; missing neighbours do not count; who is alone has 0."""
    scores = np.array([[0.8, 0.4], [0.7, np.nan], [np.nan, np.nan]], np.float32)
    assert apart(scores) == pytest.approx([0.4, 0.3, 0])


def test_clusters_are_numbered_by_size_and_noise_is_none() -> None:
    rng = np.random.default_rng(0)
    xy = np.concatenate([rng.normal(0, 0.1, (30, 2)), rng.normal(9, 0.1, (60, 2)), [[4.5, -90.0]]]).astype(np.float32)
    assert clusters(xy, 10).tolist() == [1] * 30 + [0] * 60 + [-1]


def test_a_map_that_is_cut_off_is_said(table: Any, vectors: Path, tmp_path: Path) -> None:
    whole = (vectors.parent / "out" / "map" / "map.arrow").read_bytes()
    (tmp_path / "map.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MapCorrupt, match=r"map\.arrow cannot be read"):
        read_map(tmp_path)
    with pytest.raises(MapCorrupt):
        read_map(tmp_path / "nowhere")
