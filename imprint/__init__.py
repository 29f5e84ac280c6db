"""What a user types and imports: the `imprint` command, the Python client, the one-machine stack.

from imprint import Client

client = Client()                                   # http://127.0.0.1:8000, or IMPRINT_SERVER
job = client.submit(data={"source": "digits"})
client.wait(job.id)
vectors = client.embed(["a.png", "b.png"])          # (2, dim) float32

`AsyncClient` has the same methods, awaited.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imprint.aio import AsyncClient as AsyncClient
    from imprint.client import Client as Client
    from imprint.datasets import Dataset as Dataset
    from imprint.errors import ConnectionFailed as ConnectionFailed
    from imprint.errors import ImprintError as ImprintError
    from imprint.errors import JobFailed as JobFailed
    from imprint.errors import Rejected as Rejected
    from imprint.errors import ServiceError as ServiceError
    from imprint.records import Embedded as Embedded
    from imprint.records import Encoder as Encoder
    from imprint.records import Job as Job

    __version__: str

# Loaded when first asked for, so that `import imprint` and `imprint --help` cost next to nothing.
_HOMES = {
    "AsyncClient": "imprint.aio",
    "Client": "imprint.client",
    "ConnectionFailed": "imprint.errors",
    "Dataset": "imprint.datasets",
    "Embedded": "imprint.records",
    "Encoder": "imprint.records",
    "ImprintError": "imprint.errors",
    "Job": "imprint.records",
    "JobFailed": "imprint.errors",
    "Rejected": "imprint.errors",
    "ServiceError": "imprint.errors",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from imprint.version import version

        return version()
    if name not in _HOMES:
        raise AttributeError(f"module 'imprint' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
