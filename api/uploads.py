"""POST /datasets with a ZIP: on the disk while it arrives, read when it is there, and a dataset only when all of it is right.

An upload with an `Idempotency-Key` that breaks off stays as far as it came, for a day: `GET /datasets/uploads` tells how far that
is, and the same request with `offset` goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.body import encodable_kind, from_strings, media_type, validated
from api.dataset_schemas import UploadQuery
from api.deps import Services
from api.errors import Problem, invalid
from api.jobs import first_of, idempotency_key
from api.middleware import drain
from api.zip_form import ZipForm
from jobs.errors import NoRoom
from jobs.ids import new_id
from jobs.records import DatasetDraft, DatasetRecord
from jobs.uploads import DiskFull, InUse, Uploads, is_full
from ssl_core.data.archive import Archive, BadArchive, Limits, TooLarge, read_archive
from ssl_core.data.errors import DataError
from ssl_core.data.sources import describe
from ssl_core.data.unpack import Unpacked, unpack
from ssl_core.spec import FolderData

ZIPS = frozenset({"application/zip", "application/x-zip-compressed"})
FORM = "multipart/form-data"
PIECE = 2**20  # bytes that are written at a time
MOST = 4  # uploads of one key at a time
_OTHERS = {
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
}


def is_upload(request: Request) -> bool:
    """Whether the body is an archive, or might be meant as one."""
    kind = media_type(request)
    return kind in ZIPS or kind == FORM or any(word in kind for word in ("tar", "zip", "7z", "rar", "octet-stream"))


async def upload(request: Request, services: Services) -> tuple[DatasetRecord, bool]:
    """Receive an archive and publish what is in it; and whether an earlier request with the same key had done so.

    Raises Problem 409, 413, 415, 422, 429 and 507.
    """
    kind = media_type(request)
    if kind not in ZIPS and kind != FORM:
        detail = f"Only ZIP archives are taken (Content-Type: application/zip), not {encodable_kind(kind)}: make a ZIP of it."
        raise Problem("unsupported-media-type", detail)
    _must_be_private(services)
    key = idempotency_key(request)
    asked = validated(UploadQuery, from_strings(UploadQuery, dict(request.query_params)))
    if asked.offset and (key is None or kind == FORM):
        raise invalid([("/offset", "goes on with an upload of the same Idempotency-Key, sent as application/zip")])
    name = Uploads.name_of(services.caller.owner, key) if key else new_id("up")
    begun = services.uploads.receiving(name)
    with _one_more(services), first_of(services, f"dataset {key}" if key else None), _problems(), begun as file:
        keep = False
        try:
            await run_in_threadpool(_must_have_room, services, key)
            fields = await _receive(request, services, file, asked.offset, kind == FORM)
            title = validated(UploadQuery, from_strings(UploadQuery, {**fields, **request.query_params})).name
            if title is None:
                raise invalid([("/name", "is required: /datasets?name=photos, or a field of the form")])
            return await run_in_threadpool(_finish, services, file, title, key)
        except (ClientDisconnect, asyncio.CancelledError):
            keep = key is not None and kind != FORM
            raise
        except Problem as problem:
            keep = problem.kind in ("slow", "conflict") and key is not None
            raise await _after_the_rest(request, problem) from None
        finally:
            if not keep:
                services.uploads.forget(name)


def _must_be_private(services: Services) -> None:
    """Raises Problem 409 where folders below the data root, which anybody may name, would be uploads."""
    if services.settings.datasets.resolve().is_relative_to(services.settings.data_root.resolve()):
        raise Problem("conflict", "Uploads are off: IMPRINT_HOME lies below IMPRINT_DATA_ROOT, where all may read; move one.")


async def _receive(request: Request, services: Services, file: BinaryIO, offset: int, in_form: bool) -> dict[str, str]:
    """Write the body to the end of `file`; gives the fields of a form. Raises Problem."""
    have = file.seek(0, 2)
    if offset > have:
        detail = f"offset = {offset}, and {have} bytes of this upload are here: go on from there."
        raise Problem("conflict", detail)
    file.seek(offset)
    file.truncate()
    most = int(services.settings.upload_bytes)
    form = ZipForm(request.headers["content-type"]) if in_form else None
    total, waiting, first = offset, bytearray(), offset == 0
    async for piece in _stream(request):
        data = form.feed(piece) if form else piece
        total += len(data)
        if total > most:
            raise Problem("too-large", f"The archive has more than {most:,} bytes.", headers={"Connection": "close"})
        waiting += data
        if len(waiting) >= PIECE:
            if first:
                _must_be_zip(bytes(waiting[:512]))
                first = False
            await asyncio.to_thread(_write, services.uploads, file, bytes(waiting))
            waiting.clear()
    if form:
        form.finish()
    if first:
        _must_be_zip(bytes(waiting[:512]))
    await asyncio.to_thread(_write, services.uploads, file, bytes(waiting))
    return form.fields if form else {}


async def _after_the_rest(request: Request, refusal: Problem) -> Problem:
    """The refusal, once some of what is still on its way was read: else the client, busy with writing, would not see it."""
    if getattr(request.state, "whole", False):
        return refusal
    with suppress(Problem, RuntimeError):
        await drain(request.receive)
    refusal.headers.setdefault("Connection", "close")
    return refusal


async def _stream(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece
    request.state.whole = True


def _write(uploads: Uploads, file: BinaryIO, data: bytes) -> None:
    uploads.need(len(data))
    file.write(data)
    file.flush()


def _must_be_zip(beginning: bytes) -> None:
    """Raises Problem 415 for other archives, 422 for what is none."""
    if beginning.startswith(b"PK"):
        return
    other = next((name for magic, name in _OTHERS.items() if beginning.startswith(magic)), None)
    if beginning[257:262] == b"ustar":
        other = "a tar archive"
    if other:
        raise Problem("unsupported-media-type", f"This is {other}; only ZIP archives are taken.")
    raise invalid([("", "the body is not a ZIP archive" if beginning else "the body is empty; send the bytes of a ZIP archive")])


def _finish(services: Services, file: BinaryIO, name: str, key: str | None) -> tuple[DatasetRecord, bool]:
    """Read, unpack, publish and record what has arrived."""
    file.seek(0)
    digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    request_hash = hashlib.sha256(f"{name}\0{digest}".encode()).hexdigest()
    found = services.repository.find_dataset_by_key(key, request_hash) if key else None
    if found is not None:
        return found, True
    limits = Limits(unpacked=_room(services))
    archive = read_archive(file, limits)
    services.uploads.need(min(sum(archive.sizes), limits.unpacked))
    dataset_id = new_id("ds")
    with services.uploads.unpacking(dataset_id) as folder:
        unpacked = _unpacked(services, file, archive, folder, limits)
        facts = describe(FolderData(path="."), folder)
        services.uploads.publish(dataset_id, folder)
    known = {
        "images": facts.images,
        "held_out": facts.held_out,
        "classes": None if facts.classes is None else len(facts.classes),
        "fingerprint": facts.fingerprint,
        "archive": _about(unpacked, digest, file.seek(0, 2)),
    }
    try:
        draft = DatasetDraft(name, ".", known, idempotency_key=key, request_hash=request_hash, id=dataset_id)
        record = services.repository.create_dataset(draft, owner_bytes=services.settings.owner_bytes)
    except BaseException:
        services.uploads.remove(dataset_id)
        raise
    if record.id != dataset_id:  # another process has done the same
        services.uploads.remove(dataset_id)
    return record, record.id != dataset_id


def _must_have_room(services: Services, key: str | None) -> None:
    """Before anything comes. Raises Problem 413; what was uploaded with this key is answered all the same."""
    if key is not None and services.repository.dataset_made_by_key(key) is not None:
        return
    try:
        _room(services)
    except NoRoom as error:
        raise Problem("too-large", f"{error}.") from None


def _room(services: Services) -> int:
    """Bytes that the pictures of an archive may have. Raises NoRoom where the owner has used up all."""
    most, owner_bytes = int(services.settings.unpacked_bytes), services.settings.owner_bytes
    return most if owner_bytes is None else min(most, services.repository.room_for_uploads(owner_bytes))


def _unpacked(services: Services, file: BinaryIO, archive: Archive, folder: Path, limits: Limits) -> Unpacked:
    """The pictures of an archive, in `folder`. Raises BadArchive, DiskFull."""
    written = 0

    def before_writing(size: int) -> None:
        nonlocal written
        written += size
        if written >= 64 * PIECE:
            services.uploads.need(written)
            written = 0

    try:
        unpacked = unpack(file, archive, folder, limits, before_writing)
    except TooLarge:
        if limits.unpacked == services.settings.unpacked_bytes:
            raise
        may = f"one owner's uploaded pictures may have {services.settings.owner_bytes:,} bytes together"
        left = f"{limits.unpacked:,} are left, and these are more; delete a dataset that you no longer need"
        raise TooLarge(f"{may}; {left}") from None
    if not unpacked.kept:
        others = f" ({unpacked.left_out:,} other files, such as {unpacked.examples[0]!r})" if unpacked.left_out else ""
        raise BadArchive(f"the archive holds no pictures{others}")
    return unpacked


def _about(unpacked: Unpacked, digest: str, size: int) -> dict[str, object]:
    return {
        "sha256": digest,
        "size_bytes": size,
        "unpacked_bytes": unpacked.size_bytes,
        "left_out": unpacked.left_out,
        "left_out_examples": list(unpacked.examples),
    }


@contextmanager
def _one_more(services: Services) -> Iterator[None]:
    who = services.caller.key
    if services.uploading[who] >= MOST:
        detail = f"{MOST} uploads of this key are under way, the most there may be; wait for one of them."
        raise Problem("busy", detail, headers={"Retry-After": "10"})
    services.uploading[who] += 1
    try:
        yield
    finally:
        services.uploading[who] -= 1


@contextmanager
def _problems() -> Iterator[None]:
    """What goes wrong with archives and disks, as answers."""
    try:
        yield
    except InUse:
        detail = "Another request receives this upload; send it again in a moment."
        raise Problem("conflict", detail, headers={"Retry-After": "1"}) from None
    except DiskFull as full:
        raise Problem("disk-full", f"{full}.") from None
    except (TooLarge, NoRoom) as error:
        raise Problem("too-large", f"{error}.") from None
    except BadArchive as error:
        raise invalid([("", str(error))]) from None
    except DataError as error:
        raise invalid([("", f"{error.message} {error.hint}".strip())]) from None
    except OSError as error:
        if not is_full(error):
            raise
        raise Problem("disk-full", "The disk of the service is full; nothing of the upload was kept.") from None
