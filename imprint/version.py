"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """As the package's metadata say; '0+source' where it runs from a checkout that is not installed."""
    try:
        return metadata.version("imprint")
    except metadata.PackageNotFoundError:
        return "0+source"
