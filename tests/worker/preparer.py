"""A trainer that only prepares its pictures, with the real cache and its decoders, and says so: for tests of slow sources."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ssl_core.data.cache import Cache
from ssl_core.data.scan import scan
from ssl_core.events import Events
from ssl_core.preparing import preparing
from ssl_core.signals import die_with_parent

parser = argparse.ArgumentParser()
parser.add_argument("spec", type=Path)
for name in ("--out", "--data-root", "--cache", "--resume"):
    parser.add_argument(name, type=Path)
parser.add_argument("--parent-pipe", action="store_true")
arguments = parser.parse_args()
die_with_parent()
events = Events(arguments.out / "events.jsonl")
with preparing(events, lambda: False) as progress:
    root = arguments.data_root / json.loads(arguments.spec.read_text())["photos"]
    Cache(arguments.cache).prepared(scan(root, arguments.data_root), "sha256:a", 16, progress)
events.emit("error", code="prepared", message="all that was wanted", hint="")
events.close()
sys.exit(4)
