"""What every answer tells a browser: take it for what it says it is, keep nothing, tell no other site where you were.

There is no CORS anywhere: a page of another site gets no permission to read an answer.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    # For what a browser would show in spite of its type; pages of our own say what they need.
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class SafeHeaders:
    """Plain ASGI around all of the application: adds what an answer does not say itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in SAFE.items() if each[0] not in said)]
            await send(message)

        await self.app(scope, receive, send_with_headers)
