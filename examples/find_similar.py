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
    known = {each.name: each.vector for each in client.embed_each(sorted(folder.rglob("*.jpg"))) if each.vector is not None}
    wanted = client.embed([query])[0]  # (dim,)

names, matrix = list(known), np.stack(list(known.values()))  # (N, dim)
cosine = matrix @ wanted / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(wanted))
for best in np.argsort(-cosine)[:10]:
    print(f"{cosine[best]:.3f}  {names[best]}")
