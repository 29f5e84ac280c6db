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
from ssl_core.manifest import EncoderError, read_manifest
from ssl_core.takeover import differences, take_over


def put_encoders(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Both. Raises Conflict for a job without an encoder yet."""
    return put_teacher(services, sections, problems) + put_weights(services, sections, problems)


def put_teacher(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Put the encoder's id into `method.teacher` where its job's is given; returns notes. Files are looked at elsewhere.

    Raises Conflict for a job without an encoder yet.
    """
    method = sections.get("method", {})
    name = method.get("teacher")
    if not isinstance(name, str) or not name.startswith(("enc_", "job_")) or not name.isprintable():
        return []
    try:
        record = services.repository.resolve_encoder(name)
        read_manifest(services.encoder_folder(record))
    except (NotFound, EncoderError) as error:
        gone = f"the files of {name} are damaged or gone"
        problems.append(("/method/teacher", f"{error if isinstance(error, NotFound) else gone}; GET /encoders lists them"))
        sections["method"] = {field: value for field, value in method.items() if field != "teacher"}
        return []
    sections["method"] = {**method, "teacher": record.id}
    return [] if name == record.id else [f"method.teacher = {record.id}: the encoder of {name}"]


def put_weights(services: Services, sections: dict[str, Any], problems: Found) -> list[str]:
    """Fill what is left open in `sections` from the encoder that `encoder.weights` names by its id or its job's; returns notes.

    Files and published weights are looked at elsewhere. Raises Conflict for a job without an encoder yet.
    """
    encoder = sections.get("encoder", {})
    name = encoder.get("weights")
    if not isinstance(name, str) or not name.startswith(("enc_", "job_")) or not name.isprintable():
        return []
    try:
        record = services.repository.resolve_encoder(name)
        manifest = read_manifest(services.encoder_folder(record))
    except (NotFound, EncoderError) as error:
        gone = f"the files of {name} are damaged or gone"
        problems.append(("/encoder/weights", f"{error if isinstance(error, NotFound) else gone}; GET /encoders lists them"))
        sections["encoder"] = {field: value for field, value in encoder.items() if field != "weights"}
        return []
    problems += [(f"/encoder/{field}", why) for field, why in differences(encoder, manifest)]
    sections["encoder"] = {**encoder, "weights": record.id}
    notes = take_over(sections, manifest)
    return notes if name == record.id else [f"encoder.weights = {record.id}: the encoder of {name}", *notes]
