"""The model card of an encoder: what it is, what it saw, what it is worth, how to load it. Markdown from facts; knows no torch.

What the manifest does not hold (curves, health, measurements of later) comes from whoever knows it, as CardFacts.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ssl_core.manifest import Manifest
from ssl_core.portable.curves import svg
from ssl_core.portable.forms import ABOUT_FILE, CURVES_FILE, RECIPES, Form, needs, program

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,39}")
NOT_STATED = (
    "Not stated. The terms of the pictures that it was learned from may apply; whoever publishes it says which, "
    "by a label `license` of the job."
)


class Evaluation(BaseModel):
    """Figures of one protocol on one set of pictures. data: where they are; figures: name to percent or number."""

    model_config = ConfigDict(extra="forbid")

    protocol: str
    data: str
    figures: dict[str, float]
    seeds: int = 1


class CardFacts(BaseModel):
    """What is known of an encoder beside its manifest."""

    model_config = ConfigDict(extra="forbid")

    encoder: str | None = Field(None, description="Its id in the service.")
    name: str | None = Field(None, description="What its job was called.")
    license: str | None = None
    held_out: int | None = Field(None, description="Pictures that were not learned from.")
    classes: int | None = None
    epochs: float | None = None
    curves: dict[str, list[tuple[float, float]]] = {}
    verdict: str | None = Field(None, description="Health at the end.")
    reasons: list[str] = []
    evaluations: list[Evaluation] = []


def curves_of(facts: CardFacts) -> str | None:
    """curves.svg, if there is anything to draw."""
    return svg(facts.curves)


def card(
    manifest: Manifest, facts: CardFacts, form: Form, agreement: dict[str, Any] | None = None, *, inline: bool = False
) -> str:
    """The card as Markdown. agreement: how near the export is to the encoder. inline: the curves inside of it, not beside it."""
    title = _text(facts.name) if facts.name else f"{_text(manifest.arch)}, pretrained by {_text(manifest.method)}"
    parts = [
        _front(manifest, facts, form),
        f"# {title}",
        f"An image encoder: a picture in, a vector of {manifest.dim} numbers out. {_origin(manifest)}",
        _rows(_what(manifest, facts)),
        f"## Load it\n\n{RECIPES[form].what}\n\n```\npip install {needs(form, manifest)}\n```\n\n"
        f"In this folder, beside a `picture.jpg`:\n\n```python\n{program(form, manifest)}```",
        f"## Preprocessing\n\n{_preprocessing(manifest)}",
        *_learned(facts, inline),
        f"## What it is worth\n\n{_worth(manifest, facts)}",
    ]
    if agreement is not None:
        parts.append(
            f"## Check\n\nCompared with the encoder (fp32, torch) on {agreement['images']} {agreement['pictures']} pictures when "
            f"this was written: cosine of the worst {agreement['least_cosine']:.6f}, largest difference of a number "
            f"{agreement['largest_difference']:g} (the largest number is {agreement['largest_value']:g})."
        )
    parts.append(f"## Limits\n\n{_limits(manifest)}")
    parts.append(f"## License\n\n{_text(facts.license) if facts.license else NOT_STATED}")
    return "\n\n".join(parts) + "\n"


def _origin(manifest: Manifest) -> str:
    if manifest.imported is not None:
        return "Trained elsewhere, and imported into Imprint."
    return "Pretrained without labels by Imprint."


def _front(manifest: Manifest, facts: CardFacts, form: Form) -> str:
    """What the hub reads."""
    known = facts.license if facts.license and _LICENCE.fullmatch(facts.license) else None
    library = {"onnx": "onnx", "timm": "timm"}.get(form, "timm" if manifest.arch.startswith("timm/") else "pytorch")
    tags = [
        "image-feature-extraction",
        "self-supervised-learning",
        "imprint",
        re.sub(r"[^a-z0-9_-]", "-", manifest.method.lower()),
    ]
    lines = [
        f"license: {(known or 'other').lower()}",
        f"library_name: {library}",
        "pipeline_tag: image-feature-extraction",
        "tags:",
    ]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _what(manifest: Manifest, facts: CardFacts) -> list[tuple[str, str]]:
    data = manifest.data
    counts = [f"{data.images:,} pictures"] if data.images else ["an unknown number of pictures"]
    counts += [f"{facts.held_out:,} more held out"] if facts.held_out else []
    counts += [f"{facts.classes} classes, which were not learned from"] if facts.classes else []
    rows = [
        ("network", f"`{manifest.arch}`, stem {manifest.stem}"),
        ("input", f"RGB, {manifest.size} × {manifest.size} px"),
        ("output", f"{manifest.dim} numbers (float32)"),
        ("method", _text(manifest.method)),
        ("learned from", f"{_text(data.source)}: {', '.join(counts)}"),
        ("fingerprint of the data", f"`{_text(data.fingerprint)}`"),
    ]
    if (imported := manifest.imported) is not None:
        rows.append(("imported from", f"`{_text(imported.file)}` ({_text(imported.form)}), SHA-256 `{imported.sha256}`"))
    if facts.epochs:
        rows.append(("epochs", f"{facts.epochs:g}"))
    rows += [
        ("weights", f"{manifest.size_bytes:,} bytes, SHA-256 `{manifest.sha256}`"),
        ("made", f"{manifest.created_at}, {', '.join(f'{name} {value}' for name, value in manifest.versions.items() if value)}"),
    ]
    return [*rows, ("id", f"`{facts.encoder}`")] if facts.encoder else rows


def _rows(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _preprocessing(manifest: Manifest) -> str:
    wanted = manifest.preprocessing
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (wanted.mean, wanted.std))
    return (
        f"Short side to {wanted.resize.short_side} px (bilinear, with antialiasing), the central {wanted.size} × {wanted.size}, "
        f"values divided by 255, minus ({mean}), divided by ({std}). Exact numbers: `preprocessing` in `{ABOUT_FILE}`."
    )


def _learned(facts: CardFacts, inline: bool) -> list[str]:
    drawn, said = curves_of(facts), []
    if drawn is not None:
        packed = base64.b64encode(drawn.encode()).decode()
        said.append(f"![Curves](data:image/svg+xml;base64,{packed})" if inline else f"![Curves]({CURVES_FILE})")
    if facts.verdict:
        why = f": {'; '.join(_text(reason) for reason in facts.reasons)}" if facts.reasons else ""
        said.append(f"Health at the end: **{_text(facts.verdict)}**{why}.")
    return ["## How it learned\n\n" + "\n\n".join(said)] if said else []


def _worth(manifest: Manifest, facts: CardFacts) -> str:
    rows = [
        f"| {_text(each.protocol)} | {_text(each.data)} | {name} | {value:.4g} | {each.seeds} |"
        for each in facts.evaluations
        for name, value in each.figures.items()
    ]
    if not facts.evaluations:
        rows = [
            f"| at the end of pretraining | {_text(manifest.data.source)}, held out | {name} | {value:.4g} | 1 |"
            for name, value in manifest.metrics.items()
            if value is not None and name in ("knn_top1", "linear_top1", "effective_rank")
        ]
    if not rows:
        return "Not measured. `imprint measure` fits a linear probe on labelled pictures."
    head = "| protocol | pictures | figure | value | seeds |\n|---|---|---|---|---|\n"
    note = (
        "Accuracies in percent, last epoch, on pictures held out. Figures compare only where pictures and protocol are the same."
    )
    return f"{head}{chr(10).join(rows)}\n\n{note}"


def _limits(manifest: Manifest) -> str:
    few = manifest.data.images and manifest.data.images < 10_000
    seen = "few pictures, and " if few else ""
    return (
        f"It has seen {seen}only such as are described above; what its vectors say of other pictures is not known. "
        "Nearness of vectors is likeness of looks, not of meaning, and carries whatever the pictures carry."
    )


def _text(text: str) -> str:
    """A user's words as one line of Markdown that is only text."""
    line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>|#!])", lambda found: {"<": "&lt;", ">": "&gt;"}.get(found[1], "\\" + found[1]), line)
