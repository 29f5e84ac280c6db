"""Use a trained encoder in your own program, without a server: safetensors and a manifest, no pickle.

python examples/without_the_service.py picture.jpg
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from imprint import Client
from ssl_core.embedder import Embedder

folder = Path(tempfile.mkdtemp(prefix="encoder-"))
with Client() as client, zipfile.ZipFile(client.download("latest", folder / "encoder.zip")) as archive:
    archive.extractall(folder)

embedder = Embedder.load(folder)  # checks the weights against the manifest's sha256
vector = embedder.embed_images([Path(sys.argv[1]).read_bytes()])[0]
print(f"{embedder.dim} numbers, the first: {vector[:4]}")
