"""What a supervisor does for a job of kind import: the file that was sent is named to the child, and goes when it is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from jobs.artifacts import Artifacts
from jobs.errors import NotFound
from jobs.records import Claim
from worker.kinds import KINDS

JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


def claim(upload: str) -> Claim:
    return Claim(JOB, 1, {"kind": "import", "upload": upload, "filename": "a.ckpt"}, "import")


def test_the_file_is_named_and_goes_when_it_is_taken(tmp_path: Path) -> None:
    kind, nobody = KINDS["import"], cast(Any, None)
    with pytest.raises(NotFound, match=r"the file a\.ckpt that was sent is gone; import it again"):
        kind.arguments(claim("up_1"), nobody, tmp_path)
    file = tmp_path / "imports" / "up_1"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert kind.arguments(claim("up_1"), nobody, tmp_path) == ["--upload", str(file)]
    assert kind.arguments(claim("../imports/up_1"), nobody, tmp_path) == ["--upload", str(file)]
    kind.clear(claim("up_1"), Artifacts(tmp_path))
    kind.clear(claim("up_1"), Artifacts(tmp_path))  # twice does no harm
    assert list(file.parent.iterdir()) == []
