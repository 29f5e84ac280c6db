"""A report as JSON, a page of it, or as CSV, whole and while it is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from api.search_schemas import GroupBody, Groups, Indexed, Member, Outlier, Outliers, ReportBody
from ssl_core.search.index import PictureIndex
from ssl_core.search.report import Group, distances, duplicates, outliers

MOST_MEMBERS = 100  # of a group that are listed
ROWS = 4096  # of a CSV at a time


def report_body(encoder_id: str, about: Indexed, index: PictureIndex, threshold: float, skip: int, limit: int) -> ReportBody:
    """Groups and outliers number skip to skip + limit."""
    found, distance = duplicates(index, threshold), distances(index)
    rows = outliers(distance, skip, skip + limit)
    groups = Groups(
        threshold=threshold,
        count=len(found.groups),
        extra=found.extra,
        data=[_group(index, group) for group in found.groups[skip : skip + limit]],
        has_more=len(found.groups) > skip + limit,
    )
    apart = Outliers(
        count=len(index),
        data=[Outlier(path=index.path(row), distance=round(float(distance[row]), 6)) for row in rows],
        has_more=len(index) > skip + limit,
    )
    return ReportBody(encoder=encoder_id, index=about, duplicates=groups, outliers=apart)


def _group(index: PictureIndex, group: Group) -> GroupBody:
    members = [Member(path=index.path(row), score=_nearest(index, row)) for row in group.rows[:MOST_MEMBERS]]
    return GroupBody(size=len(group.rows), lowest=round(group.lowest, 6), highest=round(group.highest, 6), data=members)


def _nearest(index: PictureIndex, row: int) -> float:
    score = float(index.scores[row, 0])
    return round(score, 6) if np.isfinite(score) else 0.0


def as_csv(index: PictureIndex, threshold: float) -> Iterator[bytes]:
    """A row for each picture, in the order of the vectors."""
    found, distance = duplicates(index, threshold), distances(index)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["path", "group", "nearest", "distance"])
    for begin in range(0, len(index), ROWS):
        for row in range(begin, min(begin + ROWS, len(index))):
            group = int(found.label[row])
            writer.writerow([index.path(row), group if group >= 0 else "", _nearest(index, row), f"{distance[row]:.6f}"])
        yield out.getvalue().encode("utf-8", "replace")
        out.seek(0)
        out.truncate()
