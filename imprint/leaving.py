"""Encoders in other forms, as files: flows for GET /encoders/{id}/export, /download and /card."""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from imprint.bulk import on_disk, replacing
from imprint.calls import encoder_id
from imprint.errors import ImprintError, UsageError
from imprint.flow import Call, Flow, Work, download, part

FORMS = ("onnx", "torchscript", "safetensors", "timm", "hf")
SECONDS = 600.0  # that a server may take to make an export


def export(encoder: str, form: str, to: str | Path) -> Flow[Path]:
    """Save an export: as a zip where `to` ends in .zip, else unpacked into the new folder `to`; whole, or not at all."""
    target = Path(to)
    if form not in FORMS:
        raise UsageError(f"format {form!r} is not known", f"choose among {', '.join(FORMS)}")
    if target.suffix != ".zip" and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{str(target)!r} is there already", "name a new folder, or a file that ends in .zip")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {str(target.parent)!r} to write {target.name} into")
    found = yield from encoder_id(encoder)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        packed = Path(folder, "export.zip")
        with packed.open("w+b") as file:
            headers = yield from download(f"/encoders/{part(found)}/export", file, {"format": form}, SECONDS)
            yield on_disk(file)
        yield Work(partial(_verify, packed, headers.get("Repr-Digest")))
        if target.suffix == ".zip":
            packed.replace(target)
        else:
            yield Work(partial(_unpack, packed, Path(folder, "unpacked")))
            if target.is_dir():
                target.rmdir()  # empty, as was seen above
            Path(folder, "unpacked").rename(target)
    return target


def card(encoder: str, form: str) -> Flow[str]:
    """The model card, as Markdown."""
    found = yield from encoder_id(encoder)
    answer = yield Call("GET", f"/encoders/{part(found)}/card", params={"format": form})
    return str(answer.text)


def saved(encoder: str, to: str | Path) -> Flow[Path]:
    """The encoder as it is served (weights and manifest), as the zip file `to`, which appears when it is whole."""
    path = Path(to)
    found = yield from encoder_id(encoder)
    with replacing(path) as file:
        yield from download(f"/encoders/{part(found)}/download", file)
        yield on_disk(file)
    return path


def _verify(path: Path, said: str | None) -> None:
    """Against RFC 9530's Repr-Digest, where the server sends one. Raises ImprintError."""
    if said is None or not said.startswith("sha-256=:"):
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if base64.b64encode(digest).decode() != said.removeprefix("sha-256=:").rstrip(":"):
        raise ImprintError("what arrived is not what the server sent: its SHA-256 is another", "try again")


def _unpack(packed: Path, folder: Path) -> None:
    """Plain files, none of them outside of the folder. Raises ImprintError."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(packed) as archive:
            for name in archive.namelist():
                if Path(name).name != name or name in (".", ".."):
                    raise ImprintError(f"the server sent a file named {name!r}, which is refused")
                with archive.open(name) as source, (folder / name).open("xb") as file:
                    shutil.copyfileobj(source, file, 2**20)
    except zipfile.BadZipFile as error:
        raise ImprintError(f"the server sent no zip: {error}") from error
