"""Verifying the encodes of a folder: each by its record, with a picture of the proof beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vsal import storage
from vsal.encode.proof.picture import proof_picture
from vsal.encode.proof.verify import verify_title
from vsal.encode.record import SUFFIX, holds, looking_in, read_record, record_uri
from vsal.encode.settings import EncodeSettings
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.manifest import read_manifest
from vsal.storage import SourceInfo


@dataclass(frozen=True, slots=True)
class Verification:
    """What is verified, and how.

    Attributes:
        out: where `vsal prepare` wrote.
        encoded: folder of the encodes.
        plain: folder of plain twins; None to make them as needed.
        most_shots: of a title that are looked at, spread evenly.
        pictures: write a picture of each proof beside the encode.
    """

    out: str
    encoded: str
    plain: str | None = None
    most_shots: int = 12
    pictures: bool = True


def encodes_in(folder: str) -> dict[str, SourceInfo]:
    """The record of each title that is encoded there, by its id; one listing.

    Raises:
        SettingsError: there is none.
    """
    listed = storage.list_files(folder, recursive=False)
    found = {storage.name(info.uri).removesuffix(SUFFIX): info for info in listed if info.uri.endswith(SUFFIX)}
    if not found:
        raise SettingsError(f"{folder} holds no encode of vsal: write some with `vsal encode MANIFEST --dest {folder}`")
    return found


def verify_encode(asked: Verification, title_id: str) -> dict[str, Any]:
    """The proof of one title's encode, in figures.

    Raises:
        TitleFailed: source, record or encode cannot be read, or they are not of one title.
        ManifestError: the title has no maps, or they are damaged.
    """
    uri = record_uri(asked.encoded, title_id)
    record = read_record(asked.encoded, title_id)
    if record is None:
        raise TitleFailed(Reason.UNREADABLE, f"{uri} is no record of an encode: encode the title again")
    if not holds(record, looking_in(asked.encoded)):
        raise TitleFailed(
            Reason.UNREADABLE,
            f"what {uri} tells of does not lie beside it any more, or is another file: encode the title again",
        )
    try:
        settings, gain = EncodeSettings.from_json(record["settings"]), record["gain"]
        outputs = [str(file["name"]) for file in record["outputs"]]
    except (LookupError, TypeError, ValueError) as error:
        told = f"{uri} is no record of an encode ({type(error).__name__}: {error}): encode the title again"
        raise TitleFailed(Reason.UNREADABLE, told) from error
    # Twins are made as chunks are, by one thread: the figures are the same wherever they are taken.
    settings = replace(settings, threads=settings.threads or 1)
    twin = None if asked.plain is None else storage.join(asked.plain, outputs[0])
    with read_manifest(asked.out).title(title_id) as title:
        encode = storage.join(asked.encoded, outputs[0])
        proof = verify_title(title, encode, settings, twin, gain, most_shots=asked.most_shots)
    if asked.pictures:
        storage.write_bytes(storage.join(asked.encoded, f"{title_id}.proof.png"), proof_picture(proof))
    return proof.to_json()
