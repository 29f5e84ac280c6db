"""Bodies of the routes below /webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from api import examples
from api.schemas import Answer
from jobs.addresses import checked, networks
from jobs.outbox import TYPES
from ssl_core.spec.base import Config, nearest

EVENTS = f"Which of {', '.join(TYPES)} to send."


class WebhookCreate(Config):
    """An address that is told what happens to jobs."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_CREATE]})

    url: str = Field(min_length=1, description="https://… (or http://…), where messages are sent with POST.")
    events: Annotated[list[str], Field(min_length=1, max_length=20)] = Field(default=list(TYPES), description=EVENTS)

    @field_validator("events")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in TYPES:
                hint = nearest(name[:100], list(TYPES))
                raise PydanticCustomError(
                    "unknown_event", "{name} is not an event; {hint}", {"name": repr(name[:100]), "hint": hint}
                )
        return list(dict.fromkeys(value))


class WebhookPatch(Config):
    """Send to it again, or not any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK_PATCH]})

    enabled: bool = Field(description="true sends what waits, at once; false lets it wait, for a week.")


class WebhookBody(Answer):
    """A webhook."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.WEBHOOK]})

    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_why: str | None = Field(None, description="Who or what has disabled it.")
    created_at: datetime
    delivered_at: datetime | None = Field(None, description="When it last took a message.")
    delivered: int = Field(description="Messages that it took.")
    failed: int = Field(description="Messages that were given up.")
    owner: str | None = Field(None, description="Whose jobs it is told of; null: those that are everybody's.")


class WebhookMade(WebhookBody):
    """With its secret, which is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**examples.WEBHOOK, "secret": examples.WEBHOOK_SECRET}]})

    secret: str = Field(description="`whsec_…`, to verify signatures with. Shown this once.")


class DeliveryBody(Answer):
    """A message to a webhook. `id` is the `webhook-id` that it is sent with, every time."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DELIVERY]})

    id: str
    type: str
    job: str | None
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: datetime
    tried_at: datetime | None = Field(description="When the last attempt ended.")
    next_at: datetime | None = Field(description="When the next one is due.")
    answer: int | None = Field(description="The HTTP status that the last attempt was answered with.")
    error: str | None = Field(description="What was wrong with it.")


def sendable(url: str, private: str) -> str | None:
    """Why a URL cannot be a webhook's or a tracker's, or None."""
    try:
        checked(url, networks(private))
    except ValueError as error:
        return str(error)
    return None
