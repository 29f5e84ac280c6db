"""python -m ssl_core export DIR --format onnx -o OUT: an encoder in another form, without any service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ssl_core.manifest import EncoderError
from ssl_core.portable.card import CardFacts
from ssl_core.portable.forms import FORMS


def main(words: Sequence[str]) -> int:
    """Exit status: 0 written, 1 it could not be (why is on stderr), 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m ssl_core export", description="Write an encoder in another form.")
    parser.add_argument("encoder", type=Path, metavar="DIR", help="folder of the encoder: manifest.json and model.safetensors")
    parser.add_argument("--format", required=True, choices=FORMS)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder, or a file that ends in .zip")
    parser.add_argument("--images", type=Path, help="folder of pictures to check on; default: seeded ones")
    parser.add_argument("--facts", type=Path, help="JSON with what the card should say beside the manifest")
    parser.add_argument("--parent-pipe", action="store_true", help="end when stdin ends: whoever started it holds the other end")
    arguments = parser.parse_args(words)

    from ssl_core.portable.export import export_folder, export_zip

    write = export_zip if arguments.output.suffix == ".zip" else export_folder
    try:
        facts = CardFacts() if arguments.facts is None else CardFacts.model_validate_json(arguments.facts.read_bytes())
        found = write(arguments.encoder, arguments.format, arguments.output, facts, arguments.images)
    except (EncoderError, ValidationError, ValueError, OSError) as error:  # NoSuchForm and Disagrees are ValueErrors
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(
        f"{arguments.output}: agrees with the encoder on {found.images} {found.pictures} pictures "
        f"(cosine at least {found.least_cosine:.6f}, numbers within {found.largest_difference:g})"
    )
    return 0
