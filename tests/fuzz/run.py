"""make fuzz: thousands of requests, drawn from the OpenAPI document, right ones and wrong ones, against a running service.

    python tests/fuzz/run.py [--examples 60] [--seed 1] [--seconds 240] [--slice-seconds 20] [--only '/embed'] [--json FILE]

Every check of schemathesis is on, for every address; schemathesis.toml says what is loosened, and why. The bodies of POST /jobs
and /preview are drawn slice by slice (slices.py). After it: the number of requests, by address too, and of findings, what the
service's log tells of faults, and its memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0:1] = [str(HERE.parents[1]), str(HERE.parent)]  # our packages, then `fuzz` and `support`, as pytest has them

from fuzz.seeded import KEY, Target, target  # noqa: E402
from fuzz.slices import JOBS, PREVIEW, slices  # noqa: E402

_CASES = re.compile(r"(\d[\d,]*) generated")
LONG = f"^({JOBS}|{PREVIEW})$"  # bodies of a thousand fields


@dataclass
class Found:
    """What a run came to."""

    cases: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
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

    def ask(self, service: Target) -> None:
        """What the service has answered, and what it tells of faults."""
        self.statuses, self.addresses, self.faults = service.counted("status"), service.counted("route"), service.faults()


def fuzz(
    service: Target, folder: Path, examples: int, seed: int, seconds: int, *words: str, document: Path | None = None
) -> Found:
    """One run of schemathesis, by the service's own document or one of ours. The service is asked afterwards what it answered."""
    begun = time.monotonic()
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        str(document or f"{service.url}/openapi.json"),
        f"--url={service.url}",
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


def fuzz_slices(
    service: Target, folder: Path, examples: int, seed: int, seconds: int, only: str = ""
) -> Iterator[tuple[str, Found]]:
    """A run for each slice whose name `only` matches."""
    request = urllib.request.Request(f"{service.url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        whole = json.loads(answer.read())
    for name, small in slices(whole):
        if re.search(only, name):
            document = folder / "slice.json"
            document.write_text(json.dumps(small))
            yield name, fuzz(service, folder, examples, seed, seconds, "--include-method=POST", document=document)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=60, help="drawn for each address, beside those that cover the schema")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=240, help="for all addresses but POST /jobs and /preview")
    parser.add_argument("--slice-seconds", type=int, default=20, help="for each slice of these two")
    parser.add_argument("--only", help="a pattern of addresses; without it all, and the slices")
    parser.add_argument("--slices", help="a pattern of slices, and nothing else")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    found = Found()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as service:
        if options.slices is None:
            words = f"--include-path-regex={options.only}" if options.only else f"--exclude-path-regex={LONG}"
            found.add(fuzz(service, Path(folder), options.examples, options.seed, options.seconds, words))
            print(found.report, flush=True)
        if options.only is None:
            each = (options.examples, options.seed, options.slice_seconds)
            for name, part in fuzz_slices(service, Path(folder), *each, options.slices or ""):
                said = "findings" if part.failed else "none wrong"
                print(f"{name}: {part.cases} requests in {part.seconds:.0f} s, {said}", flush=True)
                if part.failed:
                    print(part.report, flush=True)
                found.add(part)
        found.ask(service)
        memory = service.memory()
        alive = service.process.poll() is None
    for address, count in sorted(found.addresses.items()):
        print(f"{count:7,}  {address}")
    for line in found.faults[:20]:
        print(line)
    fives = sum(count for status, count in found.statuses.items() if status.startswith("5"))
    print(f"| requests drawn | answers | 5xx | findings | faults in the log | memory at the end | seconds |\n{'|---' * 7}|")
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    fives += sum("failed" in line for line in found.faults)  # answered outside of what counts
    print(f"| {found.cases} | {answers} | {fives} | {'some' if found.failed else 'none'} | {len(found.faults)} | {memory} MiB | "
          f"{found.seconds:.0f} |")  # fmt: skip
    if options.json:
        figures = {"cases": found.cases, "statuses": found.statuses, "addresses": found.addresses, "faults": len(found.faults)}
        options.json.write_text(json.dumps(figures))
    return 0 if found.good and alive else 1


if __name__ == "__main__":
    sys.exit(main())
