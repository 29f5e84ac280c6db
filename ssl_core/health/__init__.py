"""Is it learning? Measures that need no labels, and a verdict in words with what to try.

`measures.py` has the numbers, `verdict.py` what follows from them, `watch.py` remembers them over a run.
Thresholds and the runs behind them: docs/decisions/0014-job-health.md.
"""

from ssl_core.health.measures import alignment, alpha_req, effective_rank, embedding_std, lidar, uniformity
from ssl_core.health.verdict import ALARMS, VERDICTS, Health, Signs, judge
from ssl_core.health.watch import Watch

__all__ = [
    "ALARMS",
    "VERDICTS",
    "Health",
    "Signs",
    "Watch",
    "alignment",
    "alpha_req",
    "effective_rank",
    "embedding_std",
    "judge",
    "lidar",
    "uniformity",
]
