"""The bodies of POST /jobs and /preview, a slice at a time.

Their schema has a thousand fields in six kinds of jobs: to draw from it takes minutes, and what is drawn is wrong in so many
places that it says little. A slice is a smaller document that tells no lie: whatever is right by it is right by the whole one. Of
a pretraining job it has one method, the digits and one source of pictures more, and one section more; of the other kinds, all of
their fields. All slices together have every field.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import cycle
from typing import Any

Document = dict[str, Any]
REF = "#/components/schemas/"
JOBS, PREVIEW = "/jobs", "/preview"
WHOLE, DIGITS = "JobCreate", "DigitsData"  # the body of a pretraining job, and pictures that are always there
SMALL = ("name", "preset", "labels", "shared", "tracking")  # its fields that are no sections


def slices(document: Document) -> Iterator[tuple[str, Document]]:
    """(what it has, an OpenAPI document of these addresses alone) for each slice."""
    body = document["components"]["schemas"][WHOLE]
    fields = body["properties"]
    methods = _members(fields["method"])
    sources = sorted(_members(fields["data"]), key=lambda each: each["$ref"] != f"{REF}{DIGITS}")  # what is there, first
    sections = [name for name in fields if name not in (*SMALL, "kind", "data", "method")]
    rest: list[dict[str, Any]] = [{name: fields[name]} for name in sections] + [{name: fields[name] for name in SMALL}]
    for method, source, more in zip(methods, cycle(sources[1:]), cycle(rest), strict=False):
        narrow = {"data": {"anyOf": [sources[0], source]}, "method": method, **more}
        name = ", ".join([method["$ref"].removeprefix(REF), source["$ref"].removeprefix(REF), *more])
        yield name, _document(document, {WHOLE: {**body, "properties": {"kind": fields["kind"], **narrow}}}, [WHOLE])
    for other in _members(document["paths"][JOBS]["post"]["requestBody"]["content"]["application/json"]["schema"]):
        kind = other["$ref"].removeprefix(REF)
        if kind != WHOLE:
            yield kind, _document(document, {}, [kind], (JOBS,))


def _members(schema: dict[str, Any]) -> list[dict[str, Any]]:
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return [member for each in schema[name] for member in _members(each)]
    return [schema] if "$ref" in schema else []


def _document(whole: Document, changed: dict[str, Any], kinds: list[str], paths: tuple[str, ...] = (JOBS, PREVIEW)) -> Document:
    small = copy.deepcopy({**whole, "paths": {path: whole["paths"][path] for path in paths}})
    schemas = small["components"]["schemas"]
    for path in paths:
        content = small["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        content["schema"] = {"anyOf": [{"$ref": REF + kind} for kind in kinds]} if len(kinds) > 1 else {"$ref": REF + kinds[0]}
        content.pop("examples", None)  # those of the whole body are tried with the other addresses
    schemas.update(copy.deepcopy(changed))
    for kind in kinds:
        schemas[kind].pop("examples", None)
    return small
