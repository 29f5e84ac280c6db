"""The page of what a job's body may hold: every field of every kind, with type, default and meaning, as OpenAPI has them."""

from __future__ import annotations

import json
from typing import Any

HEAD = """# The body of a job

Every field of `POST /jobs`, of `imprint train --set FIELD=VALUE` and of `Client.submit`. Only `data` is required. What is left
out has the preset's value, or else the default that stands here; `validate_only` answers with the complete spec. Unknown fields
are refused, and the nearest name is suggested. Presets are listed in [Methods](../methods.md#presets); what follows from the
data, [there too](../methods.md#what-follows-the-data).
"""
_REF = "#/components/schemas/"
LEFT_OUT = ("kind", "name", "source")  # constants that choose a member of a union, told in its heading


def page(document: dict[str, Any]) -> str:
    """All bodies, each followed by its parts; what two have in common is written once."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    body = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    parts, told = [HEAD], set()
    for each in body["anyOf"]:
        name = each["$ref"].removeprefix(_REF)
        parts.append(f"## kind: {_kind(schemas[name])}\n")
        parts += _sections(name, schemas, told, depth=3)
    return "\n".join(parts).rstrip() + "\n"


def _kind(schema: dict[str, Any]) -> str:
    kind = schema["properties"].get("kind", {})
    return f"`{kind.get('const') or kind.get('default')}`"


def _sections(name: str, schemas: dict[str, Any], told: set[str], depth: int, common: frozenset[str] = frozenset()) -> list[str]:
    """A table of a schema's fields, then its parts, depth first. `common`: fields that are told elsewhere."""
    told.add(name)
    schema = schemas[name]
    shown = {
        field: about
        for field, about in schema["properties"].items()
        if field not in common and not (field in LEFT_OUT and "const" in about)
    }
    below = [_members(about) for about in shown.values()]
    rows = [_row(field, about, schemas, field in schema.get("required", [])) for field, about in shown.items()]
    parts = [f"{_cell(schema.get('description', ''))}\n", _table(rows)]
    for members in below:
        parts += _parts(members, schemas, told, depth)
    return [part for part in parts if part]


def _parts(members: list[str], schemas: dict[str, Any], told: set[str], depth: int) -> list[str]:
    """Sections of what a field may be; what all choices have in common is told before them, once."""
    new = [member for member in members if member not in told]
    parts: list[str] = []
    common: frozenset[str] = frozenset()
    if len(new) > 2:
        first = schemas[new[0]]["properties"]
        same = [each for each in first if all(schemas[member]["properties"].get(each) == first[each] for member in new)]
        common = frozenset(same)
        title = _title(new[0], schemas).partition(":")[0]
        if same:
            parts.append(f"{'#' * depth} {title.partition('.')[0]}: in all of them\n")
            parts.append(_table([_row(each, first[each], schemas, False) for each in same]))
    for member in new:
        parts.append(f"{'#' * depth} {_title(member, schemas)}\n")
        parts += _sections(member, schemas, told, depth, common)
    for each in common:
        parts += _parts(_members(schemas[new[0]]["properties"][each]), schemas, told, depth)
    return parts


def _meaning(about: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Its own description, or else the first sentence of what it is."""
    members = _members(about)
    said = about.get("description") or (schemas[members[0]].get("description", "") if len(members) == 1 else "")
    return _cell(said if about.get("description") else said.split(". ")[0])


def _table(rows: list[str]) -> str:
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n" if rows else ""


def _row(field: str, about: dict[str, Any], schemas: dict[str, Any], required: bool) -> str:
    titles = [_title(member, schemas) for member in _members(about)]
    links = ", ".join(f"[{title.rpartition(': ')[2]}](#{_anchor(title)})" for title in titles)
    default = "required" if required else _default(about, schemas)
    return f"| `{field}` | {links or _type(about)} | {default} | {_meaning(about, schemas)} |"


def _title(name: str, schemas: dict[str, Any]) -> str:
    """data.source: folder; method.name: moco; else the schema's name without its last word."""
    for field, what in (("source", "data.source"), ("name", "method.name")):
        if const := schemas[name]["properties"].get(field, {}).get("const"):
            return f"{what}: {const}"
    return name.removesuffix("Config").removesuffix("Spec")


def _anchor(title: str) -> str:
    return "".join(each for each in title.lower() if each.isalnum() or each in " -_").replace(" ", "-")


def _members(about: dict[str, Any]) -> list[str]:
    """Names of the schemas that a field's value may have."""
    options = [about, *about.get("anyOf", []), *about.get("oneOf", []), *about.get("allOf", [])]
    return [each["$ref"].removeprefix(_REF) for each in options if "$ref" in each]


def _type(about: dict[str, Any]) -> str:
    if "const" in about:
        return f"`{json.dumps(about['const'])}`"
    if "enum" in about:
        return ", ".join(f"`{each}`" for each in about["enum"])
    if options := about.get("anyOf") or about.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(each) for each in options if each.get("type") != "null"))
    kind = {"integer": "integer", "number": "number", "boolean": "true, false", "string": "text", "object": "object"}
    if about.get("type") == "array":
        items = about.get("items") or {}
        return f"list of {_type(items)}" if items else "list"
    return kind.get(about.get("type", ""), "any") + _range(about)


def _range(about: dict[str, Any]) -> str:
    """' from 1', ' above 0 to 1', …"""
    low = next(
        (f" {word} {_number(about[key])}" for key, word in (("minimum", "from"), ("exclusiveMinimum", "above")) if key in about),
        "",
    )
    high = next(
        (f" {word} {_number(about[key])}" for key, word in (("maximum", "to"), ("exclusiveMaximum", "below")) if key in about), ""
    )
    return low + high


def _number(value: float) -> str:
    return f"{value:,}" if value >= 10_000 else f"{value:g}"


def _default(about: dict[str, Any], schemas: dict[str, Any]) -> str:
    """As JSON; of a section, what differs from its own fields' defaults."""
    if "default" not in about:
        return ""
    if not isinstance(about["default"], dict):
        return f"`{json.dumps(about['default'], ensure_ascii=False)}`"
    return "<br>".join(_differences(about["default"], _members(about), schemas, ""))


def _differences(given: dict[str, Any], members: list[str], schemas: dict[str, Any], before: str) -> list[str]:
    own = schemas[members[0]]["properties"] if len(members) == 1 else {}
    found: list[str] = []
    for field, value in given.items():
        usual = own.get(field, {})
        if isinstance(value, dict) and _members(usual):
            changed = {**_filled(usual, schemas), **value}
            found += (
                [] if changed == _filled(usual, schemas) else _differences(value, _members(usual), schemas, f"{before}{field}.")
            )
        elif value != usual.get("default", ...):
            found.append(f"`{before}{field}`: `{json.dumps(value, ensure_ascii=False)}`")
    return found


def _filled(about: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A section's default with every field of its schema."""
    members = _members(about)
    own = schemas[members[0]]["properties"] if len(members) == 1 else {}
    return {**{name: each["default"] for name, each in own.items() if "default" in each}, **(about.get("default") or {})}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
