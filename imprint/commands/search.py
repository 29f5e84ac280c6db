"""`imprint index` and `imprint report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console, job_id

REPORT_EPILOG = """
[bold]Examples[/bold]

  imprint report --threshold 0.98            [dim]groups of near-duplicates, then what stands apart[/dim]

  imprint report -o report.csv               [dim]every picture, a row each[/dim]
"""


def index(
    vectors: Annotated[str, typer.Argument(metavar="JOB", help="The id of an embed job that has succeeded, or `latest`.")],
    encoder: EncoderName = "latest",
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Index the vectors of an embed job, so that they can be searched. Waits for the end."""
    from imprint import progress

    client = connect(server)
    job = client.index(encoder).build(job_id(client, vectors))
    if as_json:
        job = client.wait(job.id)
        print(json.dumps(job.raw))
        return
    job = progress.succeed(client, job, console())
    made = job.raw["result"]
    encoder = job.raw["spec"]["encoder"]
    print(f"{made['count']:,} pictures of {encoder} in {made['seconds']:g} s; imprint search PICTURE finds them")


def report(
    encoder: EncoderName = "latest",
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Cosine from which two are near-duplicates.")] = 0.95,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many groups and outliers.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write every picture to a .csv file instead.")
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """List near-duplicates, and pictures unlike any other."""
    from imprint.errors import UsageError

    if output is not None and output.suffix.lower() != ".csv":
        raise UsageError(f"{output} is not a .csv file", "for JSON: imprint report --json > report.json")
    index = connect(server).index(encoder)
    if output is not None:
        output.write_bytes(index.report_csv(threshold))
        print(f"a row for every picture: {output}")
        return
    body = index.report(threshold, limit=limit)
    if as_json:
        print(json.dumps(body))
        return
    same, apart = body["duplicates"], body["outliers"]
    print(f"{same['count']} groups of near-duplicates (cosine from {threshold:g}), {same['extra']} pictures too many")
    for group in same["data"]:
        print(f"\n{group['size']} pictures, {group['lowest']:.4f} to {group['highest']:.4f}")
        for each in group["data"]:
            print(f"  {each['score']:.4f}  {each['path']}")
    print("\nfarthest from all others")
    for each in apart["data"]:
        print(f"  {each['distance']:.4f}  {each['path']}")
