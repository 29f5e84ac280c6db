"""Train an encoder on a folder of pictures and save a vector for each of them.

Start the service first:   imprint up --data ~/Pictures
Then:                      python examples/train_and_embed.py ~/Pictures cats
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from imprint import Client, Job

data_root, folder = Path(sys.argv[1]), sys.argv[2]


def show(job: Job) -> None:
    """Called about once a second."""
    done = job.progress.fraction or 0.0
    print(f"\r{job.status:10} {100 * done:5.1f} %   loss {job.metrics.get('train_loss', float('nan')):.3f}", end="", flush=True)


with Client() as client:
    job = client.submit(name=folder, data={"source": "folder", "path": folder})
    job = client.wait(job.id, on_update=show)
    print(f"\nencoder {job.encoder}")

    pictures = sorted(path for path in (data_root / folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    vectors = client.embed(pictures, encoder=job.id)  # (N, dim) float32, in the order of the pictures
    np.save("vectors.npy", vectors)
    print(f"vectors.npy: {vectors.shape[0]} pictures, {vectors.shape[1]} numbers each")
