"""A few hundred requests of `make fuzz`, always the same: no 5xx, and every answer as the OpenAPI document says.

About 30 s: a service is started, with an encoder, and schemathesis reads its document.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from fuzz.run import fuzz, fuzz_slices
from fuzz.seeded import target
from fuzz.slices import REF, WHOLE, slices

QUICK = "^/(datasets|encoders|aliases|jobs/[{]job_id[}](/(cancel|pause|resume|metrics|events|logs))?|livez|readyz|v1/models)$"


def test_a_selection(tmp_path: Path) -> None:
    with target(tmp_path) as service:
        words = (f"--include-path-regex={QUICK}", "--phases=examples,fuzzing", "--generation-deterministic")
        found = fuzz(service, tmp_path, 8, 1, 25, *words)
        found.ask(service)
        assert service.process.poll() is None
    assert found.good, found.report[-4000:] + "\n".join(found.faults)
    assert found.cases >= 100 and {"200", "404", "422"} <= set(found.statuses)


def test_all_slices_together_have_every_field_of_every_body(tmp_path: Path) -> None:
    """And each is small: of a pretraining job one method, and one section more or the fields that are none."""
    from api.main import create_app
    from jobs.settings import Settings

    whole = create_app(Settings(home=tmp_path)).openapi()
    fields, methods, bodies = set(), set(), set()
    for _, small in slices(whole):
        [body] = {
            path["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"] for path in small["paths"].values()
        }
        bodies.add(body)
        properties = small["components"]["schemas"][body.removeprefix(REF)]["properties"]
        if body == REF + WHOLE:
            fields |= set(properties)
            methods.add(properties["method"]["$ref"])
            assert len(properties) <= 3 + 5
    schemas = whole["components"]["schemas"]
    assert fields == set(schemas[WHOLE]["properties"])
    assert methods == set(schemas[WHOLE]["properties"]["method"]["discriminator"]["mapping"].values())
    every = whole["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert bodies == {each["$ref"] for each in every}


def test_a_slice(tmp_path: Path) -> None:
    """Some hundred bodies of one method's jobs, right and wrong ones. 25 s: as above."""
    with target(tmp_path) as service:
        [(_, found)] = fuzz_slices(service, tmp_path, 5, 1, 12, "^SimSiam")
        found.ask(service)
        assert service.process.poll() is None
    assert found.good, found.report[-4000:] + "\n".join(found.faults)
    assert found.cases >= 100 and {"200", "422"} <= set(found.statuses)
