"""make audit: whether a weakness is known in any version of constraints.txt. What cannot be looked up counts as a failure too.

Asks PyPI's advisory data by pip-audit; offline it cannot tell, and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
COMMAND = (sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json")


def findings(report: dict[str, Any]) -> list[str]:
    """A sentence for every weakness, and for every package that was passed over."""
    found = []
    for each in report["dependencies"]:
        if "skip_reason" in each:
            found.append(f"{each['name']} was skipped, so nothing is known about it: {each['skip_reason']}")
        for weakness in each.get("vulns", ()):
            mended = ", ".join(weakness["fix_versions"]) or "no version yet"
            found.append(f"{each['name']} {each['version']}: {weakness['id']}, mended in {mended}")
    return found


def main() -> int:
    ran = subprocess.run([*COMMAND, f"--requirement={CONSTRAINTS}"], capture_output=True, text=True)
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        reason = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"The audit could not be made, which is not a pass: advisory data cannot be had ({reason[:200]}).", file=sys.stderr)
        return 2
    found = findings(report)
    missing = pinned() - {each["name"].lower().replace("_", "-") for each in report["dependencies"]}
    found += [f"{name} is not in the report, so nothing is known about it" for name in sorted(missing)]
    print(
        "\n".join(found) if found else f"No weakness is known in the {len(report['dependencies'])} packages of constraints.txt."
    )
    return 1 if found else 0


def pinned() -> set[str]:
    """Names of the packages of constraints.txt."""
    lines = [line.split("#")[0].strip() for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()]
    return {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}


if __name__ == "__main__":
    sys.exit(main())
