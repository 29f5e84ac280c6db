"""`imprint map`: a folder's embeddings, or those of an embed job, in two dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console

if TYPE_CHECKING:
    from imprint.client import Client
    from imprint.records import Job

EPILOG = """
[bold]Examples[/bold]

  imprint map ~/Pictures/cats                   [dim]embed the folder, map it, and say where to look at it[/dim]

  imprint map job_01JZ8X3M6Q4T9V2B7C5D8E1F0G    [dim]the vectors of an embed job[/dim]

  imprint map ~/Pictures/cats -o cats.csv       [dim]path, folder, x, y, cluster, outlier[/dim]
"""
FORMS = (".arrow", ".parquet", ".csv")


def make(
    what: Annotated[str, typer.Argument(metavar="FOLDER|JOB", help="A folder that the server sees, or an embed job's id.")],
    encoder: EncoderName = "latest",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save it: .arrow, .parquet or .csv.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=2, max=100, help="Few show small groups, many the large shape.")] = 15,
    min_dist: Annotated[float, typer.Option(min=0, max=0.99, help="How close two pictures may lie.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same map.")] = 0,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Map embeddings: similar pictures lie near each other, with clusters and outliers. Waits for the end."""
    from imprint import progress
    from imprint.errors import UsageError

    if output is not None and output.suffix not in FORMS:
        raise UsageError(f"{output} has none of the endings {', '.join(FORMS)}", "choose one, for example -o map.parquet")
    client = connect(server)
    vectors = what if what.startswith("job_") else _embedded(client, what, encoder, as_json)
    job = client.make_map(vectors, neighbours=neighbours, min_dist=min_dist, seed=seed)
    job = client.wait(job.id) if as_json else progress.succeed(client, job, console())
    if output is not None:
        client.save_map(job.id, output)
    if as_json:
        print(json.dumps(job.raw))
        return
    made = job.raw["result"]
    said = f"{made['count']:,} pictures, {made['clusters']} clusters, {made['unclustered']:,} in none: "
    print(said + f"{client.base_url}/ui/explore/{job.id}" + (f"\nsaved as {output}" if output else ""))


def _embedded(client: Client, folder: str, encoder: str, quiet: bool) -> str:
    """The id of a job that has embedded a folder."""
    from imprint import progress
    from imprint.commands.bulk import seen_by_server
    from imprint.errors import UsageError

    place = seen_by_server(client, [Path(folder)]) if Path(folder).is_dir() else folder
    if place is None:
        hint = "put it below the server's data root, or give its path there"
        raise UsageError(f"the server does not see {folder}", hint)
    job: Job = client.embed_folder(place, client.encoder(encoder).id, name=f"embed {place}"[:200])
    return (client.wait(job.id) if quiet else progress.succeed(client, job, console())).id
