"""make audit: what counts as a failure, and what it says where nothing can be looked up."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

AUDIT = Path(__file__).resolve().parents[1] / ".ci" / "audit.py"
FINE = {"name": "fine", "version": "1.0", "vulns": []}


def test_weak_and_skipped_packages_are_failures() -> None:
    findings = runpy.run_path(str(AUDIT))["findings"]
    weak = {"name": "weak", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"], "description": "…"}]}
    skipped = {"name": "odd", "skip_reason": "not found on PyPI"}
    assert findings({"dependencies": [FINE]}) == []
    assert findings({"dependencies": [FINE, weak, skipped]}) == [
        "weak 1.0: CVE-1, mended in 1.1",
        "odd was skipped, so nothing is known about it: not found on PyPI",
    ]


def test_offline_it_fails_in_one_sentence() -> None:
    """Through a proxy that is not there. About 4 s: pip-audit tries again."""
    nowhere = {name: "http://127.0.0.1:9" for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY")}
    ran = subprocess.run([sys.executable, AUDIT], env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2 and ran.stdout == ""
    (sentence,) = ran.stderr.splitlines()
    assert sentence.startswith("The audit could not be made, which is not a pass")


def test_every_line_of_constraints_is_looked_at() -> None:
    pinned = runpy.run_path(str(AUDIT))["pinned"]()
    assert len(pinned) > 100 and {"torch", "starlette", "pillow"} <= pinned
