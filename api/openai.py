"""/v1: what OpenAI's clients speak, so that programs written for them need another address and no other line.

`input` takes pictures, as base64 or data URIs, where OpenAI's own models take text. Problems come in OpenAI's form
(`errors.openai_body`).
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from pydantic import ConfigDict, Field

from api import examples
from api.answers import in_base64
from api.body import aside, json_object, validated
from api.deps import ServicesDep
from api.embed_schemas import EmbedOptions
from api.embedding import Embedded, embedded
from api.pictures import MAX_IMAGES, Asked, counted, from_text
from api.schemas import Answer
from jobs.records import EncoderRecord
from ssl_core.spec.base import Config

router = APIRouter(prefix="/v1", tags=["openai"])
MOST_MODELS = 1000


class OpenAIRequest(Config):
    """The body of POST /v1/embeddings."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.OPENAI]})

    model: str = Field("latest", max_length=200, description="Encoder id, job id, alias, or `latest`.")
    input: str | Annotated[list[str], Field(fail_fast=True)] = Field(
        description=f"Pictures, base64 or data URIs; 1 to {MAX_IMAGES}."
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="So many principal components instead of the whole vector.")
    normalize: bool = Field(False, description="Ours: scale every embedding to length 1, as those of OpenAI's own models are.")
    user: str | None = Field(None, max_length=1000, description="Not used.")


class OpenAIEmbedding(Answer):
    """One picture's embedding."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIEmbeddings(Answer):
    """Embeddings in the order of the pictures. There are no tokens: usage is zero."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: dict[str, int]


class OpenAIModel(Answer):
    """An encoder, or another name for one."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "imprint"


class OpenAIModels(Answer):
    """Encoders, newest first, then aliases."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class OpenAIFault(Answer):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIProblem(Answer):
    """Every answer of /v1 that is not a success."""

    error: OpenAIFault


@router.post("/embeddings", response_model=OpenAIEmbeddings, summary="Embed pictures, for OpenAI's clients")
async def embeddings(request: Request, services: ServicesDep) -> Response:
    """As POST /embed, in the form of OpenAI's embeddings."""
    given = await aside(validated, OpenAIRequest, await json_object(request), size=len(await request.body()))
    texts = [given.input] if isinstance(given.input, str) else given.input
    counted(len(texts), "/input")
    fields = ("encoding_format", "dimensions", "normalize")
    options = EmbedOptions(encoder=given.model, **{name: getattr(given, name) for name in fields})
    asked = Asked(options, [from_text(text) for text in texts], "/input/{}")

    async def answer(found: Embedded) -> Response:
        started = time.perf_counter()
        base64 = options.encoding_format == "base64"
        vectors = [in_base64(vector) if base64 else vector for vector in found.values]
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        body: dict[str, Any] = {"object": "list", "data": data, "model": found.loaded.id, "usage": usage}
        content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"Server-Timing": found.timing(time.perf_counter() - started)}
        return Response(content, media_type="application/json", headers=headers)

    return await embedded(request, services, asked, answer)


@router.get("/models", response_model=OpenAIModels, summary="List encoders, for OpenAI's clients")
def models(services: ServicesDep) -> OpenAIModels:
    """The thousand newest encoders, then every alias. `GET /encoders` has pages."""
    found = [_model(each.id, each) for each in services.repository.encoders(limit=MOST_MODELS).data]
    found += [OpenAIModel(id=each.name, created=_seconds(each.updated_at)) for each in services.repository.aliases()]
    return OpenAIModels(data=found)


@router.get("/models/{model}", response_model=OpenAIModel, summary="Look at an encoder, for OpenAI's clients")
def model(model: Annotated[str, PathParameter(max_length=200)], services: ServicesDep) -> OpenAIModel:
    """By its id, its job's id, an alias or `latest`."""
    return _model(model, services.repository.resolve_encoder(model))


def _model(name: str, record: EncoderRecord) -> OpenAIModel:
    return OpenAIModel(id=name, created=_seconds(record.created_at))


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
