"""What a contact sheet says beside its pictures: headings, and the settings of the views in short. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

from ssl_core.spec import AugmentConfig, TrainSpec, ViewConfig

NBSP = "\u00a0"  # between a number and its unit, so that no line ends there


def title(spec: TrainSpec, images: int) -> str:
    """The data and what decides the draws."""
    data = spec.data
    where = getattr(data, "path", "")
    named = f"{data.source}" + (f" {where}" if where not in ("", ".") else "")
    return f"{named}: {images:,} images to train on, views of {data.size}{NBSP}px, seed{NBSP}{spec.trainer.seed}"


def view_names(count: int) -> list[str]:
    """view a, view b, …"""
    letters = (ascii_lowercase[at] if at < 26 else str(at + 1) for at in range(count))
    return [f"view {letter}" for letter in letters]


def settings(augment: AugmentConfig) -> list[str]:
    """A line for the first view, and one for each other that is drawn from another distribution: what is different in it."""
    views = [_described(view) for view in augment.views()]
    names = view_names(len(views))
    first = views[0]
    lines = [(f"{', '.join(first.values())}", [names[0]])]
    for name, view in zip(names[1:], views[1:], strict=True):
        changed = [text for what, text in view.items() if first.get(what) != text]
        changed += [f"no {what}" for what in first if what not in view]
        text = f"as view a, but {', '.join(changed)}" if changed else lines[0][0]
        if lines[-1][0] == text:
            lines[-1][1].append(name)
        else:
            lines.append((text, [name]))
    return [f"{_joined(names)}: {text}" for text, names in lines]


def passed_over(named: Sequence[tuple[str, str]], count: int) -> str:
    """A line about files that could not be read, or nothing."""
    if not count:
        return ""
    more = f" and {count - len(named):,} more" if count > len(named) else ""
    listed = "; ".join(f"{path}: {reason}" for path, reason in named)
    return f"passed over, as in training: {listed}{more}"


def _described(view: ViewConfig) -> dict[str, str]:
    """What happens in a view, by name. What never happens is left out."""
    jitter = {name: getattr(view, name) for name in ("brightness", "contrast", "saturation", "hue")}
    strengths = ", ".join(f"{name} {value:g}" for name, value in jitter.items() if value)
    said = {
        "crop": f"crop {_percent(view.crop_scale[0])} to {_percent(view.crop_scale[1])} of the area, "
        f"ratio {view.crop_ratio[0]:.2g} to {view.crop_ratio[1]:.3g}",
        "flip": view.flip and f"flip {_percent(view.flip)}",
        "vertical flip": view.vertical_flip and f"vertical flip {_percent(view.vertical_flip)}",
        "rotation": view.degrees and f"rotation ±{view.degrees:g}°",
        "shift": view.translate and f"shift ±{_percent(view.translate)}",
        "shear": view.shear and f"shear ±{view.shear:g}°",
        "jitter": view.jitter and strengths and f"jitter {_percent(view.jitter)} ({strengths})",
        "grayscale": view.grayscale and f"grayscale {_percent(view.grayscale)}",
        "blur": view.blur and f"blur {_percent(view.blur)} (sigma {view.blur_sigma[0]:g} to {view.blur_sigma[1]:g}{NBSP}px)",
        "solarise": view.solarize and f"solarise {_percent(view.solarize)}",
    }
    return {name: text for name, text in said.items() if isinstance(text, str) and text}


def _percent(share: float) -> str:
    return f"{100 * share:.3g}{NBSP}%"


def _joined(names: list[str]) -> str:
    """view a / views a and b / views c to h."""
    letters = [name.removeprefix("view ") for name in names]
    if len(letters) == 1:
        return names[0]
    return f"views {letters[0]} {'and' if len(letters) == 2 else 'to'} {letters[-1]}"
