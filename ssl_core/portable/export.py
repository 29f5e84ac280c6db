"""From an encoder's folder to a folder that leaves: written, read back and compared; whole, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_core import __version__
from ssl_core.durable import write_atomically
from ssl_core.inference.load_torch import load_encoder
from ssl_core.manifest import Manifest, read_manifest
from ssl_core.portable.card import CardFacts, card, curves_of
from ssl_core.portable.check import Agreement, agreement, pictures_of
from ssl_core.portable.forms import ABOUT_FILE, CARD_FILE, CURVES_FILE, Form, check_form
from ssl_core.portable.written import FORMATS, encoder_run


def export_folder(encoder: Path, form: str, out: Path, facts: CardFacts | None = None, pictures: Path | None = None) -> Agreement:
    """Write the encoder of a folder in a form to the folder `out`, which must not be there. pictures: a folder with real ones to
    check on; without, seeded ones.

    Raises EncoderError (a damaged encoder), NoSuchForm, Disagrees, ValueError, FileExistsError.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
        found = _make(encoder, form, Path(made, "export"), facts or CardFacts(), pictures)
        if out.is_dir():
            out.rmdir()  # empty, as was seen above
        Path(made, "export").rename(out)
    return found


def export_zip(encoder: Path, form: str, out: Path, facts: CardFacts | None = None, pictures: Path | None = None) -> Agreement:
    """The same as one zip file, which takes the place of an earlier one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
        folder = Path(made, "export")
        found = _make(encoder, form, folder, facts or CardFacts(), pictures)
        write_atomically(out, lambda file: _zip(folder, file))
    return found


def _make(encoder: Path, form: str, folder: Path, facts: CardFacts, pictures: Path | None) -> Agreement:
    manifest = read_manifest(encoder)
    chosen = check_form(form, manifest)
    folder.mkdir()
    images, kind = pictures_of(pictures, manifest.size, manifest.preprocessing.resize.short_side)
    network = load_encoder(encoder, manifest).eval()
    expected = encoder_run(network, manifest)(images)
    found = agreement(FORMATS[chosen](network, manifest, folder), expected, images, kind)
    _describe(manifest, chosen, folder, facts, found)
    return found


def _describe(manifest: Manifest, form: Form, folder: Path, facts: CardFacts, found: Agreement) -> None:
    if (drawn := curves_of(facts)) is not None:
        (folder / CURVES_FILE).write_text(drawn, encoding="utf-8")
    (folder / CARD_FILE).write_text(card(manifest, facts, form, found.as_dict()), encoding="utf-8")
    about: dict[str, Any] = {
        "format": form,
        "arch": manifest.arch,
        "stem": manifest.stem,
        "dim": manifest.dim,
        "size": manifest.size,
        "method": manifest.method,
        "preprocessing": manifest.preprocessing.model_dump(mode="json"),
        "encoder": {"id": facts.encoder, "sha256": manifest.sha256, "created_at": manifest.created_at},
        "check": found.as_dict(),
        "imprint": __version__,
        "files": {each.name: _sha256(each) for each in sorted(folder.iterdir())},
    }
    (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zip(folder: Path, file: Any) -> None:
    """Stored: weights do not shrink. Always the same date, so that the same files give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            about = zipfile.ZipInfo(path.name, (1980, 1, 1, 0, 0, 0))
            about.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(about, "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member, 2**20)
