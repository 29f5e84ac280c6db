"""The two pages of plain HTML: what this is, and every address with its schemas and examples. No script, nothing fetched."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from api.errors import KINDS

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --accent: #0a6e5c; }
@media (prefers-color-scheme: dark) { :root { --accent: #5fd1b8; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1rem; }
a { color: var(--accent); } h1 { margin-bottom: .2rem; } h2 { margin-top: 2.4rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; } pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; } summary { cursor: pointer; }
summary b { display: inline-block; min-width: 3.6rem; color: var(--accent); } summary span { opacity: .7; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .25rem .8rem .25rem 0; }
td, th { text-align: left; vertical-align: top; }
td { border-top: 1px solid var(--line); }
"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def home(version: str) -> str:
    """The front door."""
    first = 'curl localhost:8000/jobs -H \'Content-Type: application/json\' -d \'{"data": {"source": "digits"}}\''
    return _page(
        "Imprint",
        f"""<h1>Imprint</h1>
<p>Point it at your unlabelled pictures, get an encoder, get its embeddings over HTTP.
<small>Version {escape(version)}</small></p>
<ul><li><a href="/docs">Documentation</a> of every address, with examples (<a href="/openapi.json">OpenAPI</a>)</li>
<li><a href="/jobs">Jobs</a></li><li><a href="/encoders">Encoders</a></li><li><a href="/readyz">State of the service</a></li></ul>
<p>A first job, on the digits that come with scikit-learn:</p><pre>{escape(first)}</pre>
<p>And, when it has succeeded, vectors of your pictures:</p><pre>curl localhost:8000/embed -F images=@a.jpg</pre>""",
    )


def docs(openapi: dict[str, Any]) -> str:
    """Everything in the OpenAPI document, in the order of its paths."""
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
    return _page(
        "Imprint: documentation",
        f"""<h1>{escape(openapi["info"]["title"])}</h1><p>{escape(openapi["info"].get("description", ""))}
<a href="/openapi.json">OpenAPI</a> for programs.</p>{"".join(parts)}
<h2 id="problems">problems</h2><p>Every answer that is not a success is <code>application/problem+json</code> (RFC 9457); its
<code>type</code> is one of these.</p><table><tr><th>type</th><th>status</th><th>title</th></tr>{kinds}</table>
<h2 id="schemas">schemas</h2>{"".join(_schema(name, schema) for name, schema in sorted(schemas.items()))}""",
    )


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n'


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [_paragraphs(operation.get("description", ""))]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
            f"<td>{_type(each.get('schema', {}))}</td><td>{escape(each.get('description', ''))}</td></tr>"
            for each in parameters
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>{rows}</table>")
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


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td><td>{_type(part)}</td>"
        f"<td>{_default(part)}</td><td>{escape(part.get('description', ''))}</td></tr>"
        for field, part in schema.get("properties", {}).items()
    )
    table = f"<table><tr><th>field</th><th>type</th><th>default</th><th></th></tr>{rows}</table>" if rows else ""
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
