"""A trainer whose first attempt is a recording: the checkpoints of a run that was paused come from a folder, whole; every other
attempt is `python -m ssl_core` as ever.

python replay.py FOLDER SPEC.json --out OUT … : FOLDER holds what the recorded attempt left when it was stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

STOPPED = 3


def main() -> None:
    recorded, *words = sys.argv[1:]
    if "--resume" in words:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "ssl_core", *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    out = Path(words[words.index("--out") + 1])
    shutil.copytree(recorded, out, dirs_exist_ok=True)
    signal.sigwait({signal.SIGTERM})
    sys.exit(STOPPED)


if __name__ == "__main__":
    main()
