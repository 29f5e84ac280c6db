"""Writes the generated parts of the documentation: tables of presets, methods and exit statuses, the API's calls, openapi.json,
the pages of reference/, and the drawings of a job's states and of its health.

`python docs/generate.py` writes them; `python docs/generate.py --check` fails when they are not what the code says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
if str(DOCS) not in sys.path:
    sys.path.insert(0, str(DOCS))


def presets_table() -> str:
    """A row per preset: what it is, and whose values it has."""
    from ssl_core.presets import PRESETS

    rows = ["| preset | what | whose values |", "|---|---|---|"]
    for name, recipe in PRESETS.items():
        what = (recipe.__doc__ or "").strip().splitlines()[0]
        rows.append(f"| `{name}` | {what} | {recipe().origin} |")
    return "\n".join(rows)


def methods_table() -> str:
    """A row per method: how it is tested, what it costs (as docs/measure_methods.py found), and its presets."""
    from ssl_core.presets import PRESETS
    from ssl_core.spec import METHOD_NAMES

    measured = json.loads((DOCS / "methods.json").read_text(encoding="utf-8"))
    presets: dict[str, list[str]] = {}
    for name, recipe in PRESETS.items():
        presets.setdefault(recipe().method.name, []).append(f"`{name}`")
    rows = ["| method | oracle: loss, gradient | learns | operations per image | presets |", "|---|---|---|---|---|"]
    for name in METHOD_NAMES:
        found = measured.get(name) or {}
        oracle, gains, cost = (found.get(part) for part in ("oracle", "learning", "cost"))
        cells = [
            ", ".join(f"{oracle[part]:.0e}" if oracle[part] else "0" for part in ("value", "gradient")) if oracle else "–",
            f"+{min(gains):.0f} to +{max(gains):.0f}" if gains else "–",
            _cost(cost) if cost else "–",
            ", ".join(presets.get(name, ["–"])),
        ]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cost(cost: dict[str, Any]) -> str:
    more = f", {cost['local_views']} local views" if cost["local_views"] else ""
    return f"{cost['ratio']:.2f} ({cost['encoder'].removeprefix('timm/')}{more})"


def calls(document: dict[str, Any]) -> str:
    """Each call with its parameters and an example of its body and of its answer; an answer that was shown is linked."""
    parts = []
    shown: dict[str, str] = {}  # the schema's name: the heading below which its example stands
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            about = f"{operation['summary']}. {_one_line(operation.get('description', ''))}".rstrip()
            parts.append(f"### {method.upper()} {path}\n\n{about}")
            if query := [each for each in operation.get("parameters", []) if each["in"] == "query"]:
                parts.append("\n".join(f"- `{each['name']}`: {_one_line(_described(each))}" for each in query))
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                parts += _examples(kind, content)
            parts += _answer(document, operation, f"{method.upper()} {path}", shown)
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


def _answer(document: dict[str, Any], operation: dict[str, Any], here: str, shown: dict[str, str]) -> list[str]:
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {}) if status.startswith("2") else {}
        name = schema.get("$ref", "").rpartition("/")[2]
        examples = document["components"]["schemas"].get(name, {}).get("examples")
        if examples and name in shown:
            return [f"Answers {status} as [{shown[name]}](#{_anchor(shown[name])})."]
        if examples:
            shown[name] = here
            return [f"Answers {status}:\n\n```json\n{json.dumps(examples[0], ensure_ascii=False, indent=1)}\n```"]
    return []


def exits_table() -> str:
    """A row per exit status of the command."""
    from imprint.exits import STATUSES

    return "\n".join(
        ["| status | meaning |", "|---|---|", *(f"| {status} | {meaning} |" for status, meaning in STATUSES.items())]
    )


def _anchor(heading: str) -> str:
    """As GitHub and the site make it."""
    return "".join(each for each in heading.lower() if each.isalnum() or each in " -_").replace(" ", "-")


def filled(page: str, part: str, text: str) -> str:
    """A page's text with what stands between the part's markers replaced."""
    begin, end = f"<!-- {part}:begin (written by docs/generate.py) -->", f"<!-- {part}:end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def pages() -> dict[Path, str]:
    """What each generated file should hold."""
    from generators import cli, client, health, spec, states

    from api.main import create_app

    document = create_app(warm=False).openapi()
    methods = filled((DOCS / "methods.md").read_text(encoding="utf-8"), "presets", presets_table())
    return {
        DOCS / "methods.md": filled(methods, "methods", methods_table()),
        DOCS / "api.md": filled((DOCS / "api.md").read_text(encoding="utf-8"), "calls", calls(document)),
        DOCS / "cli.md": filled((DOCS / "cli.md").read_text(encoding="utf-8"), "exits", exits_table()),
        DOCS / "openapi.json": json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        DOCS / "reference" / "spec.md": spec.page(document),
        DOCS / "reference" / "cli.md": cli.page(),
        DOCS / "reference" / "python.md": client.page(),
        DOCS / "pictures" / "job-states.svg": states.svg(),
        DOCS / "pictures" / "health.svg": health.svg(),
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
