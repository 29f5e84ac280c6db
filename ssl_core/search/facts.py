"""index.json: what an index holds, and what its files must be. Written last, so that a folder which has it is whole.

SearchError           a sentence for the person who asked
├── BadVectors        the vectors cannot be indexed
└── IndexCorrupt      a file of an index is missing, cut off, changed, or of another version
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssl_core.durable import write_atomically

FACTS = "index.json"
GRAPH, ROWS, SCORES, PATHS, ENDS = "graph.usearch", "neighbours.npy", "scores.npy", "paths.utf8", "ends.npy"
FILES = (GRAPH, ROWS, SCORES, PATHS, ENDS)


class SearchError(Exception):
    """Something about an index that the person who asked should know."""


class BadVectors(SearchError):
    """The vectors cannot be indexed."""


class IndexCorrupt(SearchError):
    """A file of an index is missing, cut off, changed, or of another version."""


class FileFacts(BaseModel):
    """Of one file."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str


class IndexFacts(BaseModel):
    """The content of index.json, format 1."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: Literal[1] = 1
    encoder: str
    vectors: str = Field(description="The job that made the vectors.")
    data: dict[str, Any] = Field(default={}, description="The pictures, as that job's spec names them.")
    count: int = Field(ge=1, description="Pictures in the index.")
    left_out: int = Field(ge=0, description="Pictures without a vector.")
    dim: int = Field(ge=1)
    dimensions: int | None = Field(default=None, description="Principal components that the vectors were shortened to.")
    dtype: str
    neighbours: int = Field(ge=0, description="Nearest neighbours written down for each picture.")
    library: str
    created_at: str
    seconds: float
    files: dict[str, FileFacts]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(each.size_bytes for each in self.files.values())


def file_facts(path: Path) -> FileFacts:
    """Read the whole file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileFacts(size_bytes=path.stat().st_size, sha256=digest)


def write_facts(folder: Path, facts: IndexFacts) -> None:
    """index.json, whole or not at all."""
    text = json.dumps(facts.model_dump(mode="json"), indent=1)
    write_atomically(folder / FACTS, lambda file: file.write(text.encode()))


def read_facts(folder: Path) -> IndexFacts:
    """What index.json says; the files are not looked at. Raises FileNotFoundError, IndexCorrupt."""
    content = (folder / FACTS).read_bytes()
    try:
        return IndexFacts.model_validate_json(content)
    except ValidationError as error:
        raise IndexCorrupt(f"{folder.name}/{FACTS}: {error.errors()[0]['msg']}; build the index again") from None


def verify(folder: Path, facts: IndexFacts) -> None:
    """Every file as it was written: a changed graph would be followed into memory that is not its own. Raises IndexCorrupt."""
    for name in FILES:
        wanted, path = facts.files.get(name), folder / name
        if wanted is None or not path.is_file():
            raise IndexCorrupt(f"{folder.name}/{name} is missing; build the index again")
        if path.stat().st_size != wanted.size_bytes:
            said = f"has {path.stat().st_size} bytes and should have {wanted.size_bytes}"
            raise IndexCorrupt(f"{folder.name}/{name} {said}; build the index again")
        if file_facts(path).sha256 != wanted.sha256:
            raise IndexCorrupt(f"{folder.name}/{name} has changed since it was written (SHA-256); build the index again")
