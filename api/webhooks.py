"""/webhooks: addresses that are told what happens to jobs. Sending is a worker's affair; here they are made, seen and ended."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Path as PathParameter

from api.body import json_object, validated
from api.deps import Limit, ServicesDep, cursor, known_id
from api.errors import invalid
from api.jobs import ends
from api.schemas import ListOf
from api.webhook_schemas import DeliveryBody, WebhookBody, WebhookCreate, WebhookMade, WebhookPatch, sendable
from jobs.webhooks import DeliveryRecord, WebhookRecord, Webhooks

audit = logging.getLogger("audit")
router = APIRouter(prefix="/webhooks", tags=["webhooks"])
JsonBody = Annotated[dict[str, Any], Depends(json_object)]


def webhooks(services: ServicesDep) -> Webhooks:
    """Those of whoever asks."""
    return Webhooks(services.repository.database, services.caller)


def _webhook_id(webhook_id: Annotated[str, PathParameter(description="The webhook's id, `wh_…`.")]) -> str:
    return known_id("wh", webhook_id)


Hooks = Annotated[Webhooks, Depends(webhooks)]
WebhookId = Annotated[str, Depends(_webhook_id)]
After = Annotated[str | None, Query(description="The `last_id` of the page before.")]


@router.post("", status_code=201, response_model=WebhookMade, summary="Have an address told")
def create(response: Response, services: ServicesDep, hooks: Hooks, body: JsonBody) -> WebhookMade:
    """Messages about the owner's jobs are sent there with POST, signed after Standard Webhooks with the secret that only this
    answer shows. Public addresses only, unless the service is told otherwise.
    """
    asked = validated(WebhookCreate, body)
    reason = sendable(asked.url, services.settings.outbound_private)
    if reason is not None:
        raise invalid([("/url", reason)])
    secret, record = hooks.create(asked.url, asked.events)
    audit.info("%s made webhook %s", services.caller.name, record.id)
    response.headers["Location"] = f"/webhooks/{record.id}"
    return WebhookMade(**webhook_body(record).model_dump(), secret=secret)


@router.get("", response_model=ListOf[WebhookBody], summary="List webhooks, newest first")
def list_webhooks(hooks: Hooks, limit: Limit = 20, after: After = None) -> ListOf[WebhookBody]:
    """One's own."""
    page = hooks.list(limit=limit, after=cursor("wh", after))
    return ListOf(data=[webhook_body(each) for each in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/{webhook_id}", response_model=WebhookBody, summary="Look at a webhook")
def get_webhook(webhook_id: WebhookId, hooks: Hooks) -> WebhookBody:
    """Without its secret."""
    return webhook_body(hooks.get(webhook_id))


@router.patch("/{webhook_id}", response_model=WebhookBody, summary="Enable or disable a webhook")
def patch(webhook_id: WebhookId, hooks: Hooks, body: JsonBody) -> WebhookBody:
    """One that took nothing for a day is disabled by itself, and one that answers 410 Gone at once; here it begins again."""
    return webhook_body(hooks.enable(webhook_id, validated(WebhookPatch, body).enabled))


@router.delete("/{webhook_id}", status_code=204, response_class=Response, summary="Delete a webhook")
def delete(webhook_id: WebhookId, services: ServicesDep, hooks: Hooks) -> None:
    """With its messages. One that is being sent at this moment still arrives."""
    hooks.remove(webhook_id)
    audit.info("%s deleted webhook %s", services.caller.name, webhook_id)


@router.post("/{webhook_id}/test", status_code=202, response_model=DeliveryBody, summary="Send a test message")
def test(webhook_id: WebhookId, hooks: Hooks) -> DeliveryBody:
    """A message of type `webhook.test`, on its way as any other; GET …/deliveries tells how it went."""
    return delivery_body(hooks.test(webhook_id))


@router.get("/{webhook_id}/deliveries", response_model=ListOf[DeliveryBody], summary="What was sent, and how it went")
def deliveries(webhook_id: WebhookId, hooks: Hooks, limit: Limit = 20, after: After = None) -> ListOf[DeliveryBody]:
    """Newest first: all that waits, and what was settled within the last seven days."""
    page = hooks.deliveries(webhook_id, limit=limit, after=cursor("msg", after))
    return ListOf(data=[delivery_body(each) for each in page.data], has_more=page.has_more, **ends(page.data))


def webhook_body(record: WebhookRecord) -> WebhookBody:
    fields = {name: getattr(record, name) for name in WebhookBody.model_fields if hasattr(record, name)}
    return WebhookBody(**{**fields, "enabled": record.disabled_at is None, "owner": record.owner or None})


def delivery_body(record: DeliveryRecord) -> DeliveryBody:
    return DeliveryBody.model_validate(record, from_attributes=True)
