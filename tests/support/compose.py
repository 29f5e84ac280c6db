"""Reads docker-compose.yml and the Dockerfile as the engine would, so that tests can check them and run what they say.

Only what these files use: variables with `:-default` and `:?message`, merging of override files, stages, and the instructions
that say what runs (ENV, USER, CMD, HEALTHCHECK, STOPSIGNAL).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker" / "compose.gpu.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\}")


class Missing(Exception):
    """A required variable is not set; the file's own message."""


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Variables replaced in every text of a document. Raises Missing."""
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        given = variables.get(match["name"], "")
        if given:
            return given
        if match["kind"] == ":?":
            raise Missing(f"{match['name']}: {match['rest']}")
        return match["rest"] or ""

    return _VARIABLE.sub(replace, value)


def load(variables: Mapping[str, str], *files: Path) -> dict[str, Any]:
    """The files, one merged over the other: mappings are merged, anything else is replaced."""
    merged: dict[str, Any] = {}
    for file in files or (COMPOSE,):
        merged = _merge(merged, yaml.safe_load(file.read_text(encoding="utf-8")))
    result: dict[str, Any] = interpolate(merged, variables)
    return result


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def seconds(duration: str) -> float:
    """`90s`, `1m30s`, `500ms` in seconds."""
    parts = re.findall(r"(\d+)(ms|s|m|h)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is not a duration")
    return sum(int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


@dataclass
class Image:
    """What a stage of the Dockerfile runs, with what it inherits."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    """As Compose writes it: ["CMD", …] or ["CMD-SHELL", line]."""
    stop_signal: str = "SIGTERM"
    runs: list[str] = field(default_factory=list)
    """The RUN instructions, as they stand."""


def image(target: str) -> Image:
    """The stage `target` of the Dockerfile."""
    stages: dict[str, Image] = {}
    current = Image("")
    for word, rest in _instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if word == "FROM":
            base, _, name = rest.split()
            above = stages.get(base)
            current = Image(base) if above is None else _inherit(above)
            stages[name] = current
        elif word == "ENV":
            for pair in shlex.split(rest.replace("$", "\0")):  # shlex would not mind $, but we replace it ourselves
                key, _, value = pair.replace("\0", "$").partition("=")
                current.environment[key] = value
        elif word == "USER":
            current.user = rest
        elif word == "CMD":
            current.command = _form(rest)[1:]
        elif word == "HEALTHCHECK":
            current.health = _form(rest[rest.index("CMD") + 3 :].strip())
        elif word == "STOPSIGNAL":
            current.stop_signal = rest
        elif word == "RUN":
            current.runs.append(rest)
    return stages[target]


def _inherit(above: Image) -> Image:
    return Image(
        above.base, dict(above.environment), above.user, list(above.command), list(above.health), above.stop_signal, [*above.runs]
    )


def _form(text: str) -> list[str]:
    """The exec form (a JSON list) or the shell form."""
    return ["CMD", *json.loads(text)] if text.startswith("[") else ["CMD-SHELL", text]


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]
