"""python -m ssl_core.preview SPEC.json --out sheet.png: what the network will see, without any service."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ssl_core.__main__ import read_spec
from ssl_core.data.errors import DataError
from ssl_core.durable import write_atomically
from ssl_core.preview import contact_sheet
from ssl_core.spec import ValidationError, explain_all


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ssl_core.preview", description="Draw pictures beside their views, as a PNG.")
    parser.add_argument("spec", type=Path, help='JSON, e.g. {"data": {"source": "digits"}}; what is left open gets a default')
    parser.add_argument("--out", type=Path, default=Path("views.png"), help="the PNG to write; default: views.png")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("IMPRINT_DATA_ROOT", ".")), help="default: here")
    parser.add_argument("--preset", help="a recipe to start from")
    parser.add_argument("--images", type=int, default=8, choices=range(1, 33), metavar="1-32", help="pictures; default: 8")
    return parser.parse_args()


def main() -> int:
    """Write the sheet. Exit status: 0 written, 1 it could not be (why is on stderr), 2 usage."""
    arguments = _arguments()
    try:
        spec = read_spec(arguments.spec, arguments.preset, arguments.data_root)
        sheet = contact_sheet(spec, arguments.data_root, arguments.images)
        write_atomically(arguments.out, lambda file: file.write(sheet))
    except ValidationError as error:
        return _wrong("; ".join(f"{pointer}: {text}" for pointer, text in explain_all(error)))
    except DataError as error:
        return _wrong(f"{error.pointer}: {error}")
    except (ValueError, OSError) as error:
        return _wrong(str(error))
    print(f"{arguments.out}: {len(sheet):,} bytes")
    return 0


def _wrong(sentence: str) -> int:
    print(f"Error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
