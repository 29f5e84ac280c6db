"""make fuzz: thousands of requests, drawn from the OpenAPI document, right ones and wrong ones, against a running service.

    python tests/fuzz/run.py [--examples 60] [--seed 1] [--seconds 240] [--only '/jobs|/embed'] [--json FILE]

Every check of schemathesis is on, for every address; schemathesis.toml says what is loosened, and why. After it: the number of
requests and of findings, what the service's log tells of faults, and its memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0:1] = [str(HERE.parents[1]), str(HERE.parent)]  # our packages, then `fuzz` and `support`, as pytest has them

from fuzz.seeded import Target, target  # noqa: E402

_CASES = re.compile(r"(\d[\d,]*) generated")
LONG = "^/(jobs|preview)$"  # bodies of a thousand fields: alone, so that they take no other's time


@dataclass
class Found:
    """What a run came to."""

    cases: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)  # lines of the service's log
    report: str = ""
    failed: bool = False

    def add(self, other: Found) -> None:
        self.cases += other.cases
        self.seconds += other.seconds
        self.report += other.report
        self.failed = self.failed or other.failed

    @property
    def good(self) -> bool:
        return not (self.failed or self.faults or any(status.startswith("5") for status in self.statuses))


def fuzz(service: Target, folder: Path, examples: int, seed: int, seconds: int, *words: str) -> Found:
    """One run of schemathesis. The service is asked afterwards what it has answered."""
    begun = time.monotonic()
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{service.url}/openapi.json",
        f"--max-examples={examples}",
        f"--seed={seed}",
        f"--max-time={seconds}",
        "--no-color",
        *words,
    ]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    cases = _CASES.search(ran.stdout)
    number = int(cases[1].replace(",", "")) if cases else 0
    return Found(number, time.monotonic() - begun, {}, [], ran.stdout + ran.stderr, ran.returncode != 0 or not number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=60, help="drawn for each address, beside those that cover the schema")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=240, help="for each of the two halves")
    parser.add_argument("--only", help="a pattern of addresses")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    halves = [(f"--include-path-regex={options.only}",)] if options.only else [
        (f"--exclude-path-regex={LONG}",), (f"--include-path-regex={LONG}",),
    ]  # fmt: skip
    found = Found()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as service:
        for words in halves:
            part = fuzz(service, Path(folder), options.examples, options.seed, options.seconds, *words)
            print(part.report, flush=True)
            found.add(part)
        found.statuses = service.statuses()
        found.faults = service.faults()
        memory = service.memory()
        alive = service.process.poll() is None
    for line in found.faults[:20]:
        print(line)
    fives = sum(count for status, count in found.statuses.items() if status.startswith("5"))
    print(f"| requests drawn | answers | 5xx | findings | faults in the log | memory at the end | seconds |\n{'|---' * 7}|")
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    fives += sum("failed" in line for line in found.faults)  # answered outside of what counts
    print(f"| {found.cases} | {answers} | {fives} | {'some' if found.failed else 'none'} | {len(found.faults)} | {memory} MiB | "
          f"{found.seconds:.0f} |")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"cases": found.cases, "statuses": found.statuses, "faults": len(found.faults)}))
    return 0 if found.good and alive else 1


if __name__ == "__main__":
    sys.exit(main())
