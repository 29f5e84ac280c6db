"""Which pictures of a folder look most like this one?

python examples/find_similar.py query.jpg ~/Pictures/cats
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from imprint import Client

query, folder = Path(sys.argv[1]), Path(sys.argv[2])

with Client() as client:
    # Files that cannot be read come back with an error instead of a vector; leave them out.
    answers = [answer for answer in client.embed_each(sorted(folder.rglob("*.jpg"))) if answer.vector is not None]
    wanted = client.embed([query])[0]  # (dim,)

matrix = np.stack([answer.vector for answer in answers])  # (N, dim)
cosine = matrix @ wanted / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(wanted))
for best in np.argsort(-cosine)[:10]:
    print(f"{cosine[best]:.3f}  {answers[best].name}")
