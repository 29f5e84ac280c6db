"""The page of the API: every address with its schemas and examples, from the OpenAPI document. No script is needed to read it."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import Request
from markupsafe import Markup
from starlette.responses import HTMLResponse

from api.errors import KINDS
from api.web import shell


def page(request: Request, openapi: dict[str, Any]) -> HTMLResponse:
    """Everything in the OpenAPI document, in its frame; written once."""
    state = request.app.state
    if not hasattr(state, "reference"):
        state.reference = Markup(reference(openapi))
    return shell.page(request, "reference.html", "API", body=state.reference)


def reference(openapi: dict[str, Any]) -> str:
    """Everything in the OpenAPI document as HTML, in the order of its paths."""
    groups: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            group = (operation.get("tags") or ["service"])[0]
            groups.setdefault(group, []).append(_operation(method.upper(), path, operation))
    schemas = openapi.get("components", {}).get("schemas", {})
    parts = [f'<h2 id="{escape(name)}">{escape(name)}</h2>{"".join(items)}' for name, items in groups.items()]
    kinds = "".join(
        f'<tr id="{kind}"><td><code>{kind}</code></td><td>{status}</td><td>{escape(title)}</td></tr>'
        for kind, (status, title) in KINDS.items()
    )
    contents = "".join(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in [*groups, "problems", "schemas"])
    return f"""<h1>The HTTP API</h1>
<p class="lead">{escape(openapi["info"].get("description", ""))} For programs: <a href="/openapi.json">OpenAPI</a>.</p>
<nav aria-label="On this page"><ul class="contents">{contents}</ul></nav>{"".join(parts)}
<h2 id="problems">problems</h2><p>Every answer that is not a success is <code>application/problem+json</code> (RFC 9457); its
<code>type</code> is one of these.</p>{_table("type status title", kinds)}
<h2 id="schemas">schemas</h2>{"".join(_schema(name, schema) for name, schema in sorted(schemas.items()))}"""


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [_paragraphs(operation.get("description", ""))]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
            f"<td>{_type(each.get('schema', {}))}</td><td>{escape(each.get('description', ''))}</td></tr>"
            for each in parameters
        )
        parts.append(_table("parameter in type meaning", rows))
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body <code>{escape(kind)}</code>: {_type(media.get('schema', {}))}</p>")
        for name, example in media.get("examples", {}).items():
            parts.append(f"<p>{escape(example.get('summary', name))}</p>{_json(example.get('value'))}")
    for status, answer in operation.get("responses", {}).items():
        forms = "; ".join(
            f"<code>{escape(kind)}</code> {_type(media.get('schema', {}))}" for kind, media in answer.get("content", {}).items()
        )
        parts.append(f"<p><b>{escape(status)}</b> {escape(answer.get('description', ''))} {forms}</p>")
    summary = (
        f"<summary><b>{method}</b> <code>{escape(path)}</code> <span>{escape(operation.get('summary', ''))}</span></summary>"
    )
    return f"<details>{summary}{''.join(parts)}</details>"


def _table(columns: str, rows: str) -> str:
    head = "".join(f"<th scope='col'>{column}</th>" for column in columns.split())
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td><td>{_type(part)}</td>"
        f"<td>{_default(part)}</td><td>{escape(part.get('description', ''))}</td></tr>"
        for field, part in schema.get("properties", {}).items()
    )
    table = _table("field type default meaning", rows) if rows else ""
    examples = "".join(_json(each) for each in schema.get("examples", []))
    about = _paragraphs(schema.get("description", ""))
    return f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>{about}{table}{examples}</details>'


def _type(schema: dict[str, Any]) -> str:
    """A type in words, with links to the schemas it names, and its bounds."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(_type(each) for each in schema[key])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    kind = str(schema.get("type", "anything"))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"array of {_type(schema['items'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {schema[key]:g}" for key, sign in signs.items() if isinstance(schema.get(key), int | float))
    return escape(f"{kind} ({bounds})" if bounds else kind)


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return ""
    text = json.dumps(schema["default"])
    return f"<code>{escape(text if len(text) <= 60 else text[:57] + '…')}</code>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
