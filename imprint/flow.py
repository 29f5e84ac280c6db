"""What a client does, apart from how: a *flow* yields steps and is sent their answers; a client carries the steps out.

    def job(job_id) -> Flow[Job]:
        answer = yield Call("GET", f"/jobs/{part(job_id)}")
        return Job.parse(answer.json())

`Client` carries flows out blocking, `AsyncClient` on an event loop: what is asked, in which order, what is repeated and what is
made of the answers is written once. A step that fails is an ImprintError thrown into the flow, at its yield.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar
from urllib.parse import quote

from imprint.errors import ConnectionFailed, ImprintError, UsageError
from imprint.records import Json

T = TypeVar("T")
PAUSES = (0.2, 0.5, 1.0)  # seconds before each repetition
PIECE = 2**18  # bytes of an upload read at once


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as the body of a call, read anew for each time that it is sent: its bytes from `begin` to before `end` (default:
    all). `told`: is given how far into the file it was sent so far, in bytes."""

    path: Path
    told: Callable[[int], object] | None = None
    begin: int = 0
    end: int | None = None

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            done = self.begin
            while piece := self.read(file, done):
                yield piece
                done = self.sent(done, piece)

    def read(self, file: BinaryIO, at: int) -> bytes:
        """The piece that begins so far into the file; b"" at the end."""
        file.seek(at)
        return file.read(PIECE if self.end is None else min(PIECE, self.end - at))

    def sent(self, at: int, piece: bytes) -> int:
        """Tell it; where the next piece begins."""
        if self.told is not None:
            self.told(at + len(piece))
        return at + len(piece)


@dataclass(frozen=True, slots=True)
class Call:
    """A request; its answer is an httpx.Response that is a success, read whole.

    `repeatable`: whether sending it twice does no harm (default: GET and PUT); `timeout`: seconds that the server may take to
    answer (default: the client's).
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    data: Mapping[str, Any] | None = None
    files: Any = None
    content: Upload | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool | None = None
    timeout: float | None = None

    @property
    def harmless(self) -> bool:
        return self.method in ("GET", "PUT") if self.repeatable is None else self.repeatable

    @property
    def query(self) -> dict[str, Any]:
        return {name: value for name, value in (self.params or {}).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Open:
    """A request whose answer is read as it comes; its answer is an Opened, for `Next`. `lines`: text, without line ends."""

    path: str
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    lines: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that is being read."""

    status: int
    headers: Mapping[str, str]
    pieces: Any


@dataclass(frozen=True, slots=True)
class Next:
    """The next piece (bytes, or a line) of what was opened; None at its end."""

    of: Opened


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do here that takes long enough to hold an event loop up, which has it done in a thread; its answer is what
    `what` returns."""

    what: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Something for the loop of whoever asked."""

    value: T


Step = Call | Open | Next | Pause | Work | Item[Any]
Flow = Generator[Step, Any, T]


class Performer(Protocol):
    """Carries steps out, for one flow; `close` ends what it has opened."""

    def __call__(self, step: Step) -> Any: ...

    def close(self) -> Any: ...


def run(flow: Flow[T], perform: Performer) -> T:
    """Carry a flow out and give what it returns."""
    value: T
    (value,) = iterate(_result(flow), perform)
    return value


def iterate(flow: Flow[None], perform: Performer) -> Iterator[Any]:
    """Carry a flow out and give its items, as they are asked for."""
    answer: Any = None
    failed: ImprintError | None = None
    try:
        while True:
            step = flow.send(answer) if failed is None else flow.throw(failed)
            answer, failed = None, None
            if isinstance(step, Item):
                yield step.value
                continue
            try:
                answer = perform(step)
            except ImprintError as error:
                failed = error
    except StopIteration:
        return
    finally:
        flow.close()
        perform.close()


async def run_async(flow: Flow[T], perform: Performer) -> T:
    """`run` on an event loop; `perform` gives awaitables."""
    value: T
    (value,) = [value async for value in iterate_async(_result(flow), perform)]
    return value


async def iterate_async(flow: Flow[None], perform: Performer) -> AsyncIterator[Any]:
    """`iterate` on an event loop."""
    answer: Any = None
    failed: ImprintError | None = None
    try:
        while True:
            try:
                step = flow.send(answer) if failed is None else flow.throw(failed)
            except StopIteration:
                return
            answer, failed = None, None
            if isinstance(step, Item):
                yield step.value
                continue
            try:
                answer = await perform(step)
            except ImprintError as error:
                failed = error
    finally:
        flow.close()
        await perform.close()


def _result(flow: Flow[T]) -> Flow[None]:
    """The same flow, which has no items of its own, with what it returns as its only one."""
    yield Item((yield from flow))


def part(name: str) -> str:
    """One segment of a path: an id with a slash must not reach another route."""
    if not name or name in (".", ".."):
        raise UsageError(f"{name!r} is not an id")
    return quote(name, safe="")


def get(path: str, **params: Any) -> Flow[Json]:
    """The JSON of an address."""
    answer = yield Call("GET", path, params=params)
    body: Json = answer.json()
    return body


def pages(
    path: str, params: Mapping[str, Any], limit: int | None, *, page: int = 100, cursor: str = "after", field: str = "id"
) -> Flow[None]:
    """Items of a list; while there are more, the next page begins after the last item's `field`."""
    left = limit if limit is not None else float("inf")
    asked = dict(params)
    while left > 0:
        answer = (yield Call("GET", path, params={**asked, "limit": int(min(left, page))})).json()
        for item in answer["data"]:
            yield Item(item)
            left -= 1
        if not answer.get("has_more") or not answer["data"]:
            return
        asked[cursor] = answer["data"][-1][field]


def parsed(items: Flow[None], parse: Any) -> Flow[None]:
    """The same flow with `parse` of each item."""
    answer: Any = None
    try:
        while True:
            step = items.send(answer)
            try:
                answer = yield Item(parse(step.value)) if isinstance(step, Item) else step
            except ImprintError as error:
                items.throw(error)
                raise
    except StopIteration:
        return


def download(path: str, file: BinaryIO, params: Mapping[str, Any] | None = None, timeout: float | None = None) -> Flow[Any]:
    """Write an answer's body to the end of `file`, however large; goes on where it was when the connection breaks. Returns the
    answer's headers."""
    begin = file.tell()
    for pause in (*PAUSES, None):
        done = file.tell() - begin
        try:
            opened = yield Open(path, params, {"Range": f"bytes={done}-"} if done else None, timeout=timeout)
            if opened.status != 206:  # from its beginning
                file.seek(begin)
                file.truncate()
            while (piece := (yield Next(opened))) is not None:
                yield Work(partial(file.write, piece))
            return opened.headers
        except ConnectionFailed:
            if pause is None:
                raise
            yield Pause(pause)
    raise AssertionError("unreachable: the last repetition returns or raises")
