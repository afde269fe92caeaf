"""Keys: what an encode and its chunks depend on, in short. What has another key is never taken for it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vsal.encode.codecs import Encoder, encoder_of
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts

# How titles are cut into chunks, and these are joined and put into their container. Raised when the same settings come
# to another file, so that no chunk of the one way is joined to those of the other and what is encoded is encoded anew.
# How maps become what one encoder takes is its own: `Encoder.maps_version`.
LAYOUT_VERSION = 1

_HEX = 16  # digits: 64 bits tell a million titles of a hundred settings apart
# These say how a title is cut and packed: they are no part of what the bytes of one run of frames depend on.
_OF_TITLE = ("container", "chunked", "chunk_s")


def effective(settings: EncodeSettings) -> dict[str, Any]:
    """What of the settings can shape an encode, as plain values: a default that is named is no other than one that is
    not, and what nothing asks for is left out.

    Raises:
        SettingsError: the encoder, whose version is among them, is not there.
    """
    encoder = encoder_of(settings.codec)
    said: dict[str, Any] = {
        "codec": settings.codec,
        "version": encoder.version(settings),  # and not by which program
        "crf": _crf(encoder, settings),
        "preset": encoder.preset(settings),
        "encoder_options": dict(settings.encoder_options),
        "roi": settings.roi,
        "pix_fmt": settings.pix_fmt,
        "threads": settings.threads,
        "code_fields_as_frames": settings.code_fields_as_frames,
        "container": settings.container,
        "chunked": settings.chunked,
        "chunk_s": None if settings.chunked is False else settings.chunk_s,
    }
    if settings.roi:
        said["maps_version"] = encoder.maps_version
    if settings.roi and encoder.takes_regions:
        said["max_rectangles"] = settings.max_rectangles
    if settings.roi and settings.budget is not None:
        said["budget"] = [settings.budget.top_area, settings.budget.bit_share, settings.measure_share]
    return said


def _crf(encoder: Encoder, settings: EncodeSettings) -> float | None:
    """The rate factor that is followed; None where it is a rate of another kind."""
    options = encoder.options_of(settings)
    unsaid = settings.crf is None and not any(name in options for name in encoder.crf_options)
    by_rate = any(name in options for name in (*encoder.rate_options, *Encoder.rate_options))
    return None if unsaid and by_rate else float(encoder.crf(settings))


def settings_key(settings: EncodeSettings) -> str:
    """What all titles share that are encoded in the same way."""
    return _digest([LAYOUT_VERSION, effective(settings)])


def asked_key(fingerprint: str, of_settings: str) -> str:
    """What is asked for of one title: known before its source is opened.

    Args:
        fingerprint: of its manifest, which stands for source and maps.
        of_settings: their key.
    """
    return _digest([of_settings, fingerprint])


def chunk_key(fingerprint: str, facts: SourceFacts, settings: EncodeSettings, gain: float | None = None) -> str:
    """What the bytes of a run of frames of a title depend on.

    Args:
        fingerprint: of its manifest.
        facts: of its source.
        settings: of the encode.
        gain: strength of the maps, where a budget has solved for it.
    """
    shaping = {name: value for name, value in effective(settings).items() if name not in _OF_TITLE}
    shaping["pix_fmt"] = encoder_of(settings.codec).pixel_format(settings, facts)
    return _digest([LAYOUT_VERSION, fingerprint, shaping, str(facts), gain])


def title_key(chunks: str, bounds: list[int], container: str) -> str:
    """What a finished file depends on, whatever was asked for to come to it.

    Args:
        chunks: key of its chunks, before a budget has solved for a gain.
        bounds: first frame of each chunk, and the number of frames.
        container: as a file ending.
    """
    return _digest([chunks, bounds, container])


def _digest(shapes: list[Any]) -> str:
    return hashlib.sha256(json.dumps(shapes, sort_keys=True, allow_nan=False).encode()).hexdigest()[:_HEX]
