"""What all tests share: `from support.servers import postgres, valkey`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# pytest runs with --import-mode=importlib, which puts nothing on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

# Threads that wait for each other sleep soon, as in a trainer: tests share the processors with the processes they start.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
