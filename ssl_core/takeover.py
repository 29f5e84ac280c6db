"""What a job takes over from the encoder that it continues from. Knows no torch.

take_over(sections, manifest) -> notes          fills in `sections`, a partial spec
weights_file(data_root, path, field) -> Path    a file of weights, proven to lie below the data root
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_core.data.errors import DataError
from ssl_core.manifest import Manifest


def take_over(sections: dict[str, Any], manifest: Manifest) -> list[str]:
    """Put the encoder's arch, stem, size, mean and std where `sections` leave them open; returns notes.

    So the pictures arrive at the first step as the encoder knows them, and its features are those that it was served with.
    """
    preprocessing = manifest.preprocessing
    found: dict[str, dict[str, Any]] = {
        "encoder": {"arch": manifest.arch, "stem": manifest.stem},
        "data": {"size": manifest.size, "mean": list(preprocessing.mean), "std": list(preprocessing.std)},
    }
    taken = []
    for name, values in found.items():
        given = sections.get(name)
        if not isinstance(given, Mapping):  # a preset's own data, say, which is not to be replaced
            continue
        open_ones = {field: value for field, value in values.items() if given.get(field) in (None, "auto")}
        sections[name] = {**given, **open_ones}
        taken += [f"{name}.{field} = {value}" for field, value in open_ones.items()]
    return [f"{', '.join(taken)}: as the encoder that is continued from has it"] if taken else []


def differences(encoder: Mapping[str, Any], manifest: Manifest) -> list[tuple[str, str]]:
    """Why an encoder section with `arch` and `stem` cannot take the weights of `manifest`: (field, sentence) each."""
    return [
        (field, f"is {encoder[field]!r}, and the encoder in weights has {known!r}: use that, or leave {field} out")
        for field, known in (("arch", manifest.arch), ("stem", manifest.stem))
        if encoder.get(field) not in (known, None, "auto")
    ]


def weights_file(data_root: Path, path: str, field: str) -> Path:
    """data_root/path, proven to be a file and, links followed, to lie below the data root. Raises DataError at `field`."""
    file, bounds = data_root / path, Path(os.path.realpath(data_root))
    if not Path(os.path.realpath(file)).is_relative_to(bounds):
        raise DataError(field, f"{path!r} leads out of the data root.", "Use a file that lies below the data root.")
    if not os.path.exists(file):  # False for a name that is too long, where Path.exists raises
        hint = "Name a file of weights by its path there, or an encoder by its id (enc_…)."
        raise DataError(field, f"there is no file {path!r} below the data root.", hint)
    if not file.is_file():
        raise DataError(field, f"{path!r} is a folder, not a file.", "Name the file with the weights in it.")
    return file
