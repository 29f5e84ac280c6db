"""The kinds of jobs, as far as a supervisor has to tell them apart. Adding one is a class here and a line in KINDS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

from jobs.artifacts import Artifacts
from jobs.errors import NotFound
from jobs.indexes import IndexPlace
from jobs.records import Claim, EncoderDraft, ResultDraft
from jobs.repository import Repository
from ssl_core.spec.encoder import is_encoder_id

SHOWN_CLASSES = 50  # with more, a job's body has the figures alone, and result.json the rest


class Kind(Protocol):
    """What is asked of a kind; everything else in a job's life is the same for all."""

    product: str  # what it leaves behind, in words
    missing: str  # the code of the error when what it starts from is gone

    def arguments(self, claim: Claim, repository: Repository, home: Path) -> list[str]:
        """More words for the command line. Raises NotFound."""
        ...

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> Any:
        """Put what the trainer left in `out` where it is served from; returns what `record` is to write.

        May be called again after it has succeeded. Raises OSError, ValueError, KeyError or TypeError.
        """
        ...

    def record(self, claim: Claim, repository: Repository, draft: Any) -> str:
        """Write that the job has succeeded, and with what; returns the name of it. Raises Fenced, Unavailable."""
        ...

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        """Remove what only an attempt to come would have needed."""
        ...


class Pretrain:
    """From pictures to an encoder."""

    product = "encoder"
    missing = "encoder_error"

    def arguments(self, claim: Claim, repository: Repository, home: Path) -> list[str]:
        weights, teacher = claim.spec.get("encoder", {}).get("weights"), claim.spec.get("method", {}).get("teacher")
        named = {"--encoder": ("encoder.weights", weights), "--teacher": ("method.teacher", teacher)}
        words: list[str] = []
        for option, (field, name) in named.items():
            if is_encoder_id(name):
                try:
                    words += [option, str(home / repository.encoder(name).folder)]
                except NotFound as missing:
                    raise NotFound(f"{field}: {missing}") from missing
        return words

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> EncoderDraft:
        manifest = json.loads((out / "encoder" / "manifest.json").read_text(encoding="utf-8"))
        known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
        folder = artifacts.publish(claim.job_id, claim.attempt, out / "encoder")
        # Relative, so that the home can be moved or mounted elsewhere.
        return EncoderDraft(folder=str(folder.relative_to(artifacts.home)), **known)

    def record(self, claim: Claim, repository: Repository, draft: EncoderDraft) -> str:
        return repository.succeed(claim.job_id, claim.attempt, draft)

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        artifacts.clear_checkpoints(claim.job_id, claim.attempt)


class _WithResult:
    """What ends with a result of the job, and starts from an encoder unless it says otherwise."""

    missing = "encoder_error"

    def arguments(self, claim: Claim, repository: Repository, home: Path) -> list[str]:
        return ["--encoder", str(home / repository.encoder(claim.spec["encoder"]).folder)]

    def record(self, claim: Claim, repository: Repository, draft: ResultDraft) -> str:
        repository.finish(claim.job_id, claim.attempt, draft)
        return draft.folder


class Embed(_WithResult):
    """From pictures and an encoder to vectors."""

    product = "vectors"

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> ResultDraft:
        folder = artifacts.publish_vectors(claim.job_id, claim.attempt, out / "vectors")
        made = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        facts = {name: made[name] for name in ("images", "errors", "dim", "size_bytes")}
        return ResultDraft(str(folder.relative_to(artifacts.home)), {**facts, "shards": len(made["shards"])})

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        artifacts.clear(claim.job_id, claim.attempt, "vectors")


class _OfVectors(_WithResult):
    """What starts from the vectors of an embed job."""

    missing = "bad_vectors"

    def arguments(self, claim: Claim, repository: Repository, home: Path) -> list[str]:
        made = repository.get(claim.spec["vectors"]).result
        if made is None:
            raise NotFound(f"job {claim.spec['vectors']} has no vectors")
        return ["--vectors", str(home / str(made["folder"]))]


class Index(_OfVectors):
    """From vectors to what finds the nearest of them."""

    product = "index"

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> ResultDraft:
        """The new index is searched from here on: should the record fail, the next attempt puts its own in this one's place."""
        place = IndexPlace(artifacts.home, claim.spec["encoder"])
        folder = place.publish(out / "index", f"{claim.job_id}.{claim.attempt}")
        made = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        facts = {name: made[name] for name in ("count", "left_out", "dim", "seconds")}
        size = sum(each["size_bytes"] for each in made["files"].values())
        return ResultDraft(str(folder.relative_to(artifacts.home)), {**facts, "size_bytes": size})

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        """What earlier attempts left half built."""
        for folder in artifacts.earlier_attempts(claim.job_id, claim.attempt):
            shutil.rmtree(folder / "index", ignore_errors=True)


class Map(_OfVectors):
    """From vectors to where each picture lies in two dimensions."""

    product = "map"

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> ResultDraft:
        folder = artifacts.publish_map(claim.job_id, claim.attempt, out / "map")
        made = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        del made["format_version"]
        size = (folder / "map.arrow").stat().st_size
        return ResultDraft(str(folder.relative_to(artifacts.home)), {**made, "size_bytes": size})

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        artifacts.clear(claim.job_id, claim.attempt, "map")


class Measure(_WithResult):
    """From labelled pictures and an encoder to what it is worth: kinds linear_probe and finetune."""

    product = "result"

    def publish(self, claim: Claim, artifacts: Artifacts, out: Path) -> ResultDraft:
        folder = artifacts.publish_result(claim.job_id, claim.attempt, out / "result")
        made = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        del made["format_version"]
        if len(made["classes"]) > SHOWN_CLASSES:
            made = {name: value for name, value in made.items() if name not in ("confusion", "per_class", "classes")}
        return ResultDraft(str(folder.relative_to(artifacts.home)), made)

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        artifacts.clear(claim.job_id, claim.attempt, "features", "checkpoints")


class Import(Pretrain):
    """From a file of weights that was sent to an encoder."""

    missing = "upload_gone"

    def arguments(self, claim: Claim, repository: Repository, home: Path) -> list[str]:
        file = self._upload(claim, home)
        if not file.is_file():
            raise NotFound(f"the file {claim.spec['filename']} that was sent is gone; import it again")
        return ["--upload", str(file)]

    def clear(self, claim: Claim, artifacts: Artifacts) -> None:
        self._upload(claim, artifacts.home).unlink(missing_ok=True)

    @staticmethod
    def _upload(claim: Claim, home: Path) -> Path:
        return home / "imports" / Path(claim.spec["upload"]).name


KINDS: dict[str, Kind] = {
    "pretrain": Pretrain(),
    "embed": Embed(),
    "index": Index(),
    "linear_probe": Measure(),
    "finetune": Measure(),
    "import": Import(),
    "map": Map(),
}
