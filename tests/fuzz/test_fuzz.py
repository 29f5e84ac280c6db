"""A few hundred requests of `make fuzz`, always the same: no 5xx, and every answer as the OpenAPI document says.

About 30 s: a service is started, with an encoder, and schemathesis reads its document.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from fuzz.run import fuzz
from fuzz.seeded import target

QUICK = "^/(datasets|encoders|aliases|jobs/[{]job_id[}](/(cancel|pause|resume|metrics|events|logs))?|livez|readyz|v1/models)$"


def test_a_selection(tmp_path: Path) -> None:
    with target(tmp_path) as service:
        words = (f"--include-path-regex={QUICK}", "--phases=examples,fuzzing", "--generation-deterministic")
        found = fuzz(service, tmp_path, 8, 1, 25, *words)
        found.statuses, found.faults = service.statuses(), service.faults()
        assert service.process.poll() is None
    assert found.good, found.report[-4000:] + "\n".join(found.faults)
    assert found.cases >= 100 and {"200", "404", "422"} <= set(found.statuses)
