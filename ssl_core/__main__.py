"""python -m ssl_core SPEC.json --out DIR: the whole of training, of embedding a folder, of indexing or mapping its
vectors, or of measuring an encoder on labelled pictures, without any service.

The spec's `kind` says what is done; RUNS is the one place that knows the kinds.

Exit status: 0 done (the encoder is exported, or the vectors are written); 2 usage; 3 stopped on request, a checkpoint is written;
4 would fail again the same way (the error event says why); anything else is a crash, and a new attempt with --resume goes on from
the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_core.data.machine import make_way, share_processors
from ssl_core.events import Events, Stopped, print_event
from ssl_core.manifest import EncoderError, read_manifest
from ssl_core.presets import complete
from ssl_core.ranks import rank
from ssl_core.signals import StopFlag, die_with_parent
from ssl_core.spec import TrainSpec, ValidationError, explain_all
from ssl_core.takeover import take_over

if TYPE_CHECKING:
    from ssl_core.data.cache import Cache

FINISHED, USAGE, STOPPED, HOPELESS = 0, 2, 3, 4
_DIVERGED_HINT = "lower optim.lr, lengthen optim.warmup_epochs, or set trainer.gradient_clip"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ssl_core", description="Pretrain an encoder, or embed a folder, without a service."
    )
    parser.add_argument("spec", type=Path, help='JSON, e.g. {"data": {"source": "digits"}}; what is left open gets a default')
    parser.add_argument("--out", type=Path, required=True, help="folder for events.jsonl, checkpoints/ and encoder/")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("IMPRINT_DATA_ROOT", ".")), help="default: here")
    words = "what files of weights and labels in the spec are relative to; default: the data root"
    parser.add_argument("--files-root", type=Path, help=words)
    parser.add_argument("--preset", help="a recipe to start from")
    words = "folder of the encoder, for a spec of kind embed, linear_probe or finetune, or with an id in encoder.weights"
    parser.add_argument("--encoder", type=Path, help=words)
    parser.add_argument("--teacher", type=Path, help="folder of the encoder that method distill learns from")
    parser.add_argument("--vectors", type=Path, help="folder of an embed job's vectors, for a spec of kind index or map")
    parser.add_argument("--upload", type=Path, help="file of weights, for a spec of kind import")
    parser.add_argument("--cache", type=Path, help="folder of prepared images that runs share; default: they are kept in memory")
    parser.add_argument("--cache-bytes", type=int, help="most that it may take; default: a quarter of its disk")
    parser.add_argument("--resume", type=Path, action="append", default=[], help="folder of an earlier attempt, newest first")
    parser.add_argument("--parent-pipe", action="store_true", help="end when stdin ends: the supervisor holds the other end")
    return parser.parse_args()


def read_spec(path: Path, preset: str | None, data_root: Path, weights: Path | None = None) -> TrainSpec:
    """A spec file, completed unless it is complete; `weights`: the encoder that it continues from, whose arch, stem, size, mean
    and std stand where the file leaves them open. Raises ValueError, OSError, DataError, EncoderError."""
    sections = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(sections, dict):
        raise ValueError('must be a JSON object such as {"data": {"source": "digits"}}')
    if preset is None and {"data", "method", "encoder", "augment", "optim", "trainer", "evaluate"} <= set(sections):
        return TrainSpec.model_validate(sections)
    from ssl_core.data.sources import describe

    if weights is not None:
        take_over(sections, read_manifest(weights))
    first = complete(sections, preset).spec
    return complete(sections, preset, describe(first.data, data_root)).spec


def main() -> int:
    """Do as the command line says; returns the exit status. `python -m ssl_core export …` writes an encoder in another form."""
    share_processors()
    if "--parent-pipe" in sys.argv:
        die_with_parent()
        make_way()
    if sys.argv[1:2] == ["export"]:
        from ssl_core.portable.command import main as export

        return export(sys.argv[2:])
    arguments = _arguments()
    stop = StopFlag()
    stop.install()
    arguments.out.mkdir(parents=True, exist_ok=True)
    leads = rank() == 0
    events = Events(arguments.out / "events.jsonl" if leads else None, print_event if leads else None)
    try:
        return _run(arguments, stop, events)
    finally:
        events.close()


def _run(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> int:
    from ssl_core.data.sources import DataError

    try:
        RUNS[_kind(arguments.spec)](arguments, stop, events)
    except Stopped as stopped:
        events.emit("stopped", step=stopped.step)
        return STOPPED
    except _Hopeless as error:
        why = error
    except DataError as error:
        why = _Hopeless("data_error", str(error), error.hint)
    except EncoderError as error:
        why = _Hopeless("encoder_error", str(error), "train the encoder again, or restore its files")
    except ValidationError as error:
        problems = "; ".join(f"{pointer}: {text}" for pointer, text in explain_all(error))
        why = _Hopeless("invalid_spec", problems, "docs/methods.md lists every field")
    except ValueError as error:
        why = _Hopeless("invalid_spec", str(error))
    else:
        events.emit("finished")
        return FINISHED
    events.emit("error", code=why.code, message=why.message, hint=why.hint)
    return HOPELESS


class _Hopeless(Exception):
    """It would fail again the same way."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def _kind(path: Path) -> str:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _Hopeless("invalid_spec", f"{path}: {error}") from error
    kind = spec.get("kind", "pretrain") if isinstance(spec, dict) else "pretrain"
    if kind not in RUNS:
        raise _Hopeless("invalid_spec", f"{path}: kind = {kind!r} is not known; valid: {', '.join(RUNS)}")
    return str(kind)


def _pretrain(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    try:
        spec = read_spec(arguments.spec, arguments.preset, arguments.data_root, arguments.encoder)
    except ValidationError:
        raise
    except (ValueError, OSError) as error:
        raise _Hopeless("invalid_spec", f"{arguments.spec}: {error}") from error

    import torch

    from ssl_core.data.machine import keep_freed_memory
    from ssl_core.export import ExportError
    from ssl_core.fitting import OutOfMemory
    from ssl_core.loop import Diverged
    from ssl_core.train import train
    from ssl_core.vitals import Collapsed

    if not torch.cuda.is_available():
        keep_freed_memory()
    try:
        train(
            spec,
            arguments.out,
            data_root=arguments.data_root,
            files_root=arguments.files_root,
            weights=arguments.encoder,
            teacher=arguments.teacher,
            cache=_cache(arguments),
            events=events,
            resume=arguments.resume,
            asked_to_stop=stop,
        )
    except Diverged as error:
        raise _Hopeless("diverged", str(error), _DIVERGED_HINT) from error
    except Collapsed as error:
        raise _Hopeless("collapsed", str(error), error.hint) from error
    except OutOfMemory as error:
        raise _Hopeless("out_of_memory", str(error), error.hint) from error
    except torch.OutOfMemoryError as error:  # before the first step, or between two
        hint = "set trainer.activations to recompute, raise trainer.accumulate, or lower trainer.batch_size or data.size"
        raise _Hopeless("out_of_memory", str(error).splitlines()[0], hint) from error
    except ExportError as error:
        raise _Hopeless("diverged", str(error), _DIVERGED_HINT) from error


def _cache(arguments: argparse.Namespace) -> Cache | None:
    from ssl_core.data.cache import Cache

    return None if arguments.cache is None else Cache(arguments.cache, arguments.cache_bytes)


def _embed(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    from ssl_core.bulk.run import embed_folder
    from ssl_core.spec.embed import EmbedSpec

    spec = EmbedSpec.model_validate_json(arguments.spec.read_bytes())
    if arguments.encoder is None:
        raise _Hopeless("invalid_spec", "a spec of kind embed needs the folder of its encoder", "give it with --encoder FOLDER")
    embed_folder(
        spec,
        arguments.encoder,
        arguments.out,
        data_root=arguments.data_root,
        events=events,
        resume=arguments.resume,
        asked_to_stop=stop,
    )


def _index(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    from ssl_core.search.run import index_vectors
    from ssl_core.spec.index import IndexSpec

    spec = IndexSpec.model_validate_json(arguments.spec.read_bytes())
    _of_vectors(arguments, partial(index_vectors, spec, events=events, asked_to_stop=stop))


def _map(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    from ssl_core.mapping.run import make_map
    from ssl_core.spec.map import MapSpec

    spec = MapSpec.model_validate_json(arguments.spec.read_bytes())
    _of_vectors(arguments, partial(make_map, spec, events=events, asked_to_stop=stop))


def _of_vectors(arguments: argparse.Namespace, make: Callable[..., Path]) -> None:
    from ssl_core.search.facts import BadVectors

    if arguments.vectors is None:
        needs = f"a spec of kind {_kind(arguments.spec)} needs the folder of the vectors"
        raise _Hopeless("invalid_spec", needs, "give it with --vectors FOLDER")
    try:
        make(vectors=arguments.vectors, out=arguments.out)
    except BadVectors as error:
        raise _Hopeless("bad_vectors", str(error), "embed the pictures again (POST /jobs with kind embed)") from error


def _measure(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    from ssl_core.spec.probe import SPECS

    kind = _kind(arguments.spec)
    spec = SPECS[kind].model_validate_json(arguments.spec.read_bytes())
    if arguments.encoder is None:
        raise _Hopeless("invalid_spec", f"a spec of kind {kind} needs the folder of its encoder", "give it with --encoder FOLDER")

    import torch

    from ssl_core.data.machine import keep_freed_memory
    from ssl_core.probing.loop import Diverged
    from ssl_core.probing.run import measure

    if not torch.cuda.is_available():
        keep_freed_memory()
    try:
        measure(
            spec,
            arguments.encoder,
            arguments.out,
            data_root=arguments.data_root,
            files_root=arguments.files_root,
            cache=_cache(arguments),
            events=events,
            resume=arguments.resume,
            asked_to_stop=stop,
        )
    except Diverged as error:
        raise _Hopeless("diverged", str(error), "lower lr, or take another protocol") from error
    except torch.OutOfMemoryError as error:
        raise _Hopeless("out_of_memory", str(error).splitlines()[0], "lower batch_size") from error


def _import(arguments: argparse.Namespace, stop: StopFlag, events: Events) -> None:
    from ssl_core.importing.run import ImportFailed, import_weights
    from ssl_core.spec.imported import ImportSpec

    spec = ImportSpec.model_validate_json(arguments.spec.read_bytes())
    if arguments.upload is None:
        raise _Hopeless("invalid_spec", "a spec of kind import needs the file of weights", "give it with --upload FILE")
    try:
        import_weights(spec, arguments.upload, arguments.out, events)
    except ImportFailed as error:
        raise _Hopeless("bad_weights", str(error), "see imprint import --help for what can be said about a file") from error


RUNS: dict[str, Callable[[argparse.Namespace, StopFlag, Events], None]] = {
    "pretrain": _pretrain,
    "embed": _embed,
    "index": _index,
    "linear_probe": _measure,
    "finetune": _measure,
    "import": _import,
    "map": _map,
}


if __name__ == "__main__":
    sys.exit(main())
