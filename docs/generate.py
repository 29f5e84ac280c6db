"""Writes the generated parts of the documentation: the presets' table and openapi.json.

`python docs/generate.py` writes them; `python docs/generate.py --check` fails when they are not what the code says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

BEGIN, END = "<!-- presets:begin (written by docs/generate.py) -->", "<!-- presets:end -->"


def presets_table() -> str:
    """A row per preset: what it is, and whose values it has."""
    from ssl_core.presets import PRESETS

    rows = ["| preset | what | whose values |", "|---|---|---|"]
    for name, recipe in PRESETS.items():
        what = (recipe.__doc__ or "").strip().splitlines()[0]
        rows.append(f"| `{name}` | {what} | {recipe().origin} |")
    return "\n".join(rows)


def methods_page() -> str:
    """docs/methods.md with its table renewed."""
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{presets_table()}\n{END}{rest.split(END)[1]}"


def openapi() -> str:
    """The API's description, as the server gives it at /openapi.json."""
    from api.main import create_app

    return json.dumps(create_app().openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Write, or with --check compare."""
    wanted = {DOCS / "methods.md": methods_page(), DOCS / "openapi.json": openapi()}
    stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        if stale:
            print(f"out of date: {', '.join(stale)}; run python docs/generate.py")
        return bool(stale)
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
