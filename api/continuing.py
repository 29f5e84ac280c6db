"""Encoders that a body of POST /jobs names, looked up.

put_encoders(services, sections, problems) -> notes
    encoder.weights     what the job goes on from, and takes over arch, size and normalisation from
    method.teacher      whom method distill learns from
"""

from __future__ import annotations

from typing import Any

from api.deps import Services
from api.planning import Found
from jobs.errors import NotFound
from ssl_core.manifest import EncoderError, Manifest, read_manifest
from ssl_core.takeover import differences, take_over


def put_encoders(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Both. Raises Conflict for a job without an encoder yet."""
    return put_teacher(services, sections, problems) + put_weights(services, sections, problems)


def put_teacher(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Put the encoder's id into `method.teacher` where its job's is given; returns notes. Files are looked at elsewhere.

    Raises Conflict for a job without an encoder yet.
    """
    found = _looked_up(services, sections, "method", "teacher", problems)
    return [] if found is None else found[1]


def put_weights(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Fill what is left open in `sections` from the encoder that `encoder.weights` names by its id or its job's; returns notes.

    Files and published weights are looked at elsewhere. Raises Conflict for a job without an encoder yet.
    """
    found = _looked_up(services, sections, "encoder", "weights", problems)
    if found is None:
        return []
    manifest, notes = found
    problems += [(f"/encoder/{field}", why) for field, why in differences(sections["encoder"], manifest)]
    return [*notes, *take_over(sections, manifest)]


def _looked_up(
    services: Services, sections: dict[str, Any], section: str, field: str, problems: Found
) -> tuple[Manifest, list[str]] | None:
    """The manifest of the encoder that section.field names, whose id is then put there, and a note where that is another name.

    None where nothing or something else than an encoder is named; one that cannot be had is taken out of `sections`.
    """
    given = sections.get(section, {})
    name = given.get(field)
    if not isinstance(name, str) or not name.startswith(("enc_", "job_")) or not name.isprintable():
        return None
    try:
        record = services.repository.resolve_encoder(name)
        manifest = read_manifest(services.encoder_folder(record))
    except (NotFound, EncoderError) as error:
        gone = f"the files of {name} are damaged or gone"
        problems.append((f"/{section}/{field}", f"{error if isinstance(error, NotFound) else gone}; GET /encoders lists them"))
        sections[section] = {key: value for key, value in given.items() if key != field}
        return None
    sections[section] = {**given, field: record.id}
    return manifest, [] if name == record.id else [f"{section}.{field} = {record.id}: the encoder of {name}"]
