"""A job's metrics at a few steps only, for drawing: so many points of each, however long it ran."""

from __future__ import annotations

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from jobs.models import Metric


def thinned(session: Session, job_id: str, points: int, *, name: str | None, after_step: int | None) -> list[Metric]:
    """At most `points` values of each name by rising step, the last one always: the last of each of so many equal parts of the
    steps after `after_step`.
    """
    wanted = [Metric.job_id == job_id, Metric.step > (-1 if after_step is None else after_step)]
    if name is not None:
        wanted.append(Metric.name == name)
    first, last = session.execute(select(func.min(Metric.step), func.max(Metric.step)).where(*wanted)).one()
    if first is None:
        return []
    width = (last - first) // points + 1  # steps of a part
    part = (Metric.step - first) // width
    kept = select(Metric.name, func.max(Metric.step)).where(*wanted).group_by(Metric.name, part)
    query = select(Metric).where(*wanted, tuple_(Metric.name, Metric.step).in_(kept)).order_by(Metric.step, Metric.name)
    return list(session.scalars(query))
