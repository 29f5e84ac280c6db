"""What belongs together on the map: HDBSCAN (Campello, Moulavi & Sander, "Density-based clustering based on hierarchical density
estimates", 2013), by scikit-learn.

On the two dimensions of the map and not on the vectors: it needs no number of clusters, what one sees is what is coloured, and
density says little in 512 dimensions. A picture that is in no cluster has -1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clusters(positions: NDArray[np.float32], fewest: int | None) -> NDArray[np.int32]:
    """The cluster of each position (N, 2), the largest is 0; -1: none. fewest: pictures of one, None for one in a hundred."""
    from sklearn.cluster import HDBSCAN

    count = len(positions)
    fewest = min(fewest or max(5, count // 100), count)
    found = HDBSCAN(min_cluster_size=max(2, fewest), min_samples=min(5, count), copy=True).fit_predict(positions)
    sizes = np.bincount(found[found >= 0], minlength=1)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(found >= 0, rank[np.maximum(found, 0)], -1).astype(np.int32)
