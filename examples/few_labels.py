"""Sort a folder of pictures with a handful of labelled ones: one subfolder per class, a few pictures in each.

python examples/few_labels.py labelled/ unsorted/
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imprint import Client

labelled, unsorted = Path(sys.argv[1]), Path(sys.argv[2])
examples = sorted(labelled.glob("*/*"))
pictures = sorted(path for path in unsorted.iterdir() if path.is_file())

with Client() as client:
    encoder = client.encoder("latest").id
    known = client.embed(examples, encoder)
    unknown = client.embed(pictures, encoder)

classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
classifier.fit(known, [path.parent.name for path in examples])
for path, name, sure in zip(pictures, classifier.predict(unknown), classifier.predict_proba(unknown).max(axis=1), strict=True):
    print(f"{path.name}\t{name}\t{sure:.2f}")
