"""Writes the generated parts of the documentation: the presets' table, the API's calls and openapi.json.

`python docs/generate.py` writes them; `python docs/generate.py --check` fails when they are not what the code says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent


def presets_table() -> str:
    """A row per preset: what it is, and whose values it has."""
    from ssl_core.presets import PRESETS

    rows = ["| preset | what | whose values |", "|---|---|---|"]
    for name, recipe in PRESETS.items():
        what = (recipe.__doc__ or "").strip().splitlines()[0]
        rows.append(f"| `{name}` | {what} | {recipe().origin} |")
    return "\n".join(rows)


def calls(document: dict[str, Any]) -> str:
    """Each call with its parameters and an example of its body and of its answer."""
    parts = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            about = f"{operation['summary']}. {_one_line(operation.get('description', ''))}".rstrip()
            parts.append(f"### {method.upper()} {path}\n\n{about}")
            if query := [each for each in operation.get("parameters", []) if each["in"] == "query"]:
                parts.append("\n".join(f"- `{each['name']}`: {_one_line(_described(each))}" for each in query))
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                parts += _examples(kind, content)
            parts += _answer(document, operation)
    return "\n\n".join(parts)


def _described(parameter: dict[str, Any]) -> str:
    return str(parameter.get("description") or parameter["schema"].get("description") or parameter["schema"].get("title", ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _examples(kind: str, content: dict[str, Any]) -> list[str]:
    shown = []
    for example in content.get("examples", {}).values():
        if example.get("value"):
            body = json.dumps(example["value"], ensure_ascii=False)
            shown.append(f"{example['summary'].capitalize()} (`{kind}`):\n\n```json\n{_short(body)}\n```")
        else:
            shown.append(f"As `{kind}`: `{example['summary']}`")
    return shown


def _short(text: str) -> str:
    """Long base64 is cut: it is there to be replaced."""
    start = text.find("base64,")
    return text if start < 0 else text[: start + 27] + "…" + text[text.index('"', start) :]


def _answer(document: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {}) if status.startswith("2") else {}
        name = schema.get("$ref", "").rpartition("/")[2]
        examples = document["components"]["schemas"].get(name, {}).get("examples")
        if examples:
            return [f"Answers {status}:\n\n```json\n{json.dumps(examples[0], ensure_ascii=False, indent=1)}\n```"]
    return []


def filled(page: str, part: str, text: str) -> str:
    """A page with what stands between its markers replaced."""
    begin, end = f"<!-- {part}:begin (written by docs/generate.py) -->", f"<!-- {part}:end -->"
    before, rest = (DOCS / page).read_text(encoding="utf-8").split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def pages() -> dict[Path, str]:
    """What each generated file should hold."""
    from api.main import create_app

    document = create_app(warm=False).openapi()
    return {
        DOCS / "methods.md": filled("methods.md", "presets", presets_table()),
        DOCS / "api.md": filled("api.md", "calls", calls(document)),
        DOCS / "openapi.json": json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
    }


def main() -> int:
    """Write, or with --check compare."""
    wanted = pages()
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
