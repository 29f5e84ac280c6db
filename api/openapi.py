"""The OpenAPI document: FastAPI's own, joined with the schema of TrainSpec and an example for every body.

The routes read their bodies themselves (strict JSON, every problem at once), so what a body looks like is said here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import examples
from api.access import OPEN
from api.bulk_schemas import EmbedCreate
from api.dataset_schemas import DatasetCreate
from api.embed_schemas import EmbedOptions, EmbedRequest
from api.map_schemas import MapCreate, MapExport
from api.measure_schemas import MeasureCreate
from api.openai import OpenAIProblem, OpenAIRequest
from api.pictures import MAX_IMAGES
from api.planned import SHARED
from api.planning import SECTIONS
from api.schemas import AliasPut, JobCreate, ProblemBody
from api.search_schemas import IndexCreate, IndexJobCreate, SearchOptions, SearchRequest
from api.sharing import JobPatch
from api.tracking import ABOUT as TRACKING
from api.tracking import Tracking
from api.webhook_schemas import WebhookCreate, WebhookPatch
from ssl_core.presets import PRESETS
from ssl_core.spec import TrainSpec
from ssl_core.spec.embed import EmbedSpec
from ssl_core.spec.imported import ImportSpec
from ssl_core.spec.index import IndexSpec
from ssl_core.spec.map import MapSpec
from ssl_core.spec.probe import SPECS

KEY = {"type": "http", "scheme": "bearer", "description": "An API key. Asked for where there is one, see docs/operations.md."}
_REF = "#/components/schemas/"
_MEASURES = tuple(model.__name__ for model in SPECS.values())
_BODIES: dict[tuple[str, str], tuple[type[BaseModel], dict[str, Any]]] = {
    ("post", "/preview"): (JobCreate, examples.PREVIEW),
    ("post", "/v1/embeddings"): (OpenAIRequest, {"picture": examples.OPENAI}),
    ("post", "/datasets"): (DatasetCreate, {"folder": examples.DATASET_CREATE}),
    ("patch", "/jobs/{job_id}"): (JobPatch, {"share": examples.JOB_PATCH}),
    ("put", "/aliases/{name}"): (AliasPut, {"encoder": examples.ALIAS_PUT}),
    ("post", "/encoders/{encoder_id}/index"): (IndexCreate, {"vectors": examples.INDEX_CREATE}),
    ("post", "/webhooks"): (WebhookCreate, {"ends_of_jobs": examples.WEBHOOK_CREATE}),
    ("patch", "/webhooks/{webhook_id}"): (WebhookPatch, {"enable": examples.WEBHOOK_PATCH}),
    ("post", "/jobs/{job_id}/map/export"): (MapExport, {"selection": examples.MAP_EXPORT}),
}
_FILES: dict[tuple[str, str], tuple[str, ...]] = {  # (method, path): the forms of the answer that are files or streams
    ("get", "/encoders/{encoder_id}/download"): ("application/zip",),
    ("get", "/encoders/{encoder_id}/report"): ("text/csv",),
    ("get", "/jobs/{job_id}/events"): ("text/event-stream",),
    ("get", "/jobs/{job_id}/vectors/{part}"): ("application/vnd.apache.parquet",),
    ("post", "/embed"): ("application/x-npy", "application/vnd.apache.arrow.stream"),
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once and kept."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(_models())
        for name in ("JobBody", "Validated"):
            names = ("TrainSpec", "EmbedSpec", "IndexSpec", "MapSpec", "ImportSpec", *_MEASURES)
            specs = [{"$ref": _REF + spec} for spec in names]
            schemas[name]["properties"]["spec"] = {"anyOf": specs, "description": "Complete, with every default."}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for (method, path), (model, shown) in _BODIES.items():
            content = {"schema": {"$ref": _REF + model.__name__}, "examples": _examples(shown)}
            made["paths"][path][method]["requestBody"] = {"required": True, "content": {"application/json": content}}
        made["paths"]["/jobs"]["post"]["requestBody"] = body = _jobs_body()
        for each in body["content"]["application/json"]["schema"]["anyOf"]:  # every kind may be shared, and tracked
            properties = schemas[each["$ref"].removeprefix(_REF)]["properties"]
            properties["shared"] = {"type": "boolean", "default": False, "description": SHARED}
            properties["tracking"] = {"allOf": [{"$ref": _REF + "Tracking"}], "description": TRACKING}
        _embed(made["paths"]["/embed"]["post"], schemas["EmbedOptions"])
        _upload(made["paths"]["/datasets"]["post"])
        _search(made["paths"]["/encoders/{encoder_id}/search"]["post"], schemas["SearchOptions"])
        made["paths"]["/encoders"]["post"]["requestBody"] = _weights()
        for (method, path), kinds in _FILES.items():
            content = made["paths"][path][method]["responses"]["200"].setdefault("content", {})
            content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
        result = made["paths"]["/jobs/{job_id}/result"]["get"]["responses"]["200"]
        result["content"] = {"application/json": {"schema": {"type": "object"}}}
        made["components"]["securitySchemes"] = {"key": KEY}
        for path, operations in made["paths"].items():
            for operation in operations.values():
                operation["security"] = [{"key": []}] if path not in OPEN else []
                _problems(operation, path)
        app.openapi_schema = made
    return app.openapi_schema


def _models() -> dict[str, Any]:
    """Schemas of the bodies and of TrainSpec; the sections of JobCreate and the spec of a job are TrainSpec's own."""
    bodies = (
        JobCreate, EmbedCreate, IndexJobCreate, IndexCreate, MeasureCreate, DatasetCreate, AliasPut, JobPatch, ProblemBody,
        OpenAIProblem,
    )  # fmt: skip
    outbound = (WebhookCreate, WebhookPatch, Tracking)
    embedding, searching = (EmbedOptions, EmbedRequest, OpenAIRequest), (SearchOptions, SearchRequest)
    mapping, specs = (MapCreate, MapExport), (TrainSpec, EmbedSpec, IndexSpec, MapSpec, ImportSpec, *SPECS.values())
    models: tuple[type[BaseModel], ...] = (*bodies, *outbound, *embedding, *searching, *mapping, *specs)
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REF + "{model}")
    schemas: dict[str, Any] = found["$defs"]
    sections, body = schemas["TrainSpec"]["properties"], schemas["JobCreate"]["properties"]
    for name in SECTIONS:
        description = f"{body[name].get('description', '')} Every field is optional; what is given overrides the preset."
        section = {key: value for key, value in sections[name].items() if key not in {"default", "description"}}
        body[name] = {**section, "description": description}
    recipes = [
        {"const": name, "title": (recipe.__doc__ or "").strip().splitlines()[0], "description": recipe().origin}
        for name, recipe in PRESETS.items()
    ]
    body["preset"]["anyOf"][0] = {"type": "string", "oneOf": recipes}
    data = schemas["EmbedCreate"]["properties"]["data"]
    schemas["EmbedCreate"]["properties"]["data"] = {**sections["data"], "description": data["description"]}
    own = schemas.pop("MeasureCreate")["properties"]
    for model in SPECS.values():
        whole = schemas[model.__name__]
        made = {**whole, "properties": {**own, **whole["properties"]}, "required": ["kind", "encoder", "data"]}
        made["description"] = f"{whole['description']} What is left out has the values of the protocol."
        schemas[model.__name__.replace("Spec", "Create")] = made
    return schemas


def _jobs_body() -> dict[str, Any]:
    """One of the kinds' bodies."""
    kinds = [model.__name__ for model in (JobCreate, EmbedCreate, IndexJobCreate, MapCreate)]
    kinds += [name.replace("Spec", "Create") for name in _MEASURES]
    schema = {"anyOf": [{"$ref": _REF + name} for name in kinds]}
    others = {"vectors_of_a_folder": examples.EMBED_CREATE, "index_of_vectors": examples.INDEX_JOB, **examples.MEASURE_CREATE}
    others["map_of_vectors"] = examples.MAP_CREATE
    shown = _examples({**examples.JOB_CREATE, **others})
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _embed(operation: dict[str, Any], options: dict[str, Any]) -> None:
    image = {"type": "string", "format": "binary"}
    images = {"images": {"type": "array", "items": image, "minItems": 1, "maxItems": MAX_IMAGES}}
    form = {**options, "properties": {**options["properties"], **images}, "required": ["images"]}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "examples": {"files": {"summary": "curl -F encoder=latest -F images=@a.jpg -F images=@b.png", "value": {}}},
            },
            "application/json": {"schema": {"$ref": _REF + "EmbedRequest"}, "examples": _examples({"data_uri": examples.EMBED})},
            "image/*": {"schema": image, "examples": {"raw": {"summary": "curl --data-binary @a.jpg '/embed?encoder=latest'"}}},
        },
    }


def _upload(operation: dict[str, Any]) -> None:
    """Beside the JSON of a folder: a ZIP."""
    archive = {"type": "string", "format": "binary"}
    fields = {"file": archive, "name": {"type": "string", "maxLength": 200}}
    form = {"type": "object", "required": ["file"], "properties": fields}
    operation["requestBody"]["content"] |= {
        "application/zip": {
            "schema": archive,
            "examples": {"zip": {"summary": "curl -H Content-Type:application/zip --data-binary @a.zip '/datasets?name=a'"}},
        },
        "multipart/form-data": {
            "schema": form,
            "examples": {"form": {"summary": "curl -F name=photos -F file=@photos.zip /datasets", "value": {}}},
        },
    }


def _search(operation: dict[str, Any], options: dict[str, Any]) -> None:
    image = {"type": "string", "format": "binary"}
    form = {**options, "properties": {**options["properties"], "image": image}, "required": ["image"]}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "examples": {"file": {"summary": "curl -F image=@a.jpg -F k=10", "value": {}}},
            },
            "application/json": {"schema": {"$ref": _REF + "SearchRequest"}, "examples": _examples({"image": examples.SEARCH})},
            "image/*": {"schema": image, "examples": {"raw": {"summary": "curl --data-binary @a.jpg '…/search?k=10'"}}},
        },
    }


def _weights() -> dict[str, Any]:
    shown = {"file": {"summary": "curl --data-binary @epoch=319.ckpt -H 'content-type: application/octet-stream' '/encoders'"}}
    schema = {"type": "string", "format": "binary"}
    return {"required": True, "content": {"application/octet-stream": {"schema": schema, "examples": shown}}}


def _examples(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: {"summary": name.replace("_", " "), "value": value} for name, value in shown.items()}


def _problems(operation: dict[str, Any], path: str) -> None:
    """One entry for everything that is not a success, instead of FastAPI's 422 in a form that is not ours."""
    operation["responses"].pop("422", None)
    kind, model = (
        ("application/json", "OpenAIProblem") if path.startswith("/v1/") else ("application/problem+json", "ProblemBody")
    )
    content = {kind: {"schema": {"$ref": _REF + model}}}
    operation["responses"]["default"] = {"description": "What was wrong, and what would be right.", "content": content}
