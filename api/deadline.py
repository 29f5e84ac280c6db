"""How long a request may take as a whole: from its head to the head of its answer, whatever the route waits for.

The body has a time of its own (`body_seconds`, middleware.py); from its end on `request_seconds` count. What is sent after the
head of the answer, a download or a stream of events, may take as long as it likes.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, respond


class Deadline:
    """Plain ASGI within the gate. What runs in a thread is left to itself: threads cannot be stopped."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        answered = whole = False

        async def receive_in_time() -> Message:
            nonlocal whole
            if answered or whole:  # from here on it only tells when the client leaves
                return await receive()
            until.reschedule(None)  # the gate counts the time of the body
            message = await receive()
            whole = not message.get("more_body")
            until.reschedule(clock() + self.seconds)
            return message

        async def send_in_time(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                until.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self.seconds) as until:
                await self.app(scope, receive_in_time, send_in_time)
        except TimeoutError:
            if answered or not until.expired():
                raise
            detail = (
                f"The answer was not ready within {self.seconds:g} s. It may be done all the same: look before you repeat it."
            )
            problem = Problem("timeout", detail, headers={"Connection": "close"})
            await respond(scope["state"]["request_id"], problem, scope["path"])(scope, receive, send)
