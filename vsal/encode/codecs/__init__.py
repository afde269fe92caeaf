"""The encoders that vsal drives, one file each."""

from __future__ import annotations

from vsal.encode.codecs.base import Encoder, FrameRun
from vsal.encode.codecs.colour import in_coded_colour
from vsal.encode.codecs.kvazaar import Kvazaar
from vsal.encode.codecs.svtav1 import SvtAv1
from vsal.encode.codecs.vp9 import Vp9
from vsal.encode.codecs.x264 import X264
from vsal.encode.codecs.x265 import X265
from vsal.errors import SettingsError

__all__ = ["ENCODERS", "Encoder", "FrameRun", "encode_frames", "encoder_of"]

ENCODERS: dict[str, Encoder] = {encoder.name: encoder for encoder in (X264(), X265(), Vp9(), SvtAv1(), Kvazaar())}


def encoder_of(codec: str) -> Encoder:
    """The encoder of that name.

    Raises:
        SettingsError: there is none.
    """
    if codec not in ENCODERS:
        raise SettingsError(f"--codec is {', '.join(ENCODERS)}, not {codec!r}")
    return ENCODERS[codec]


def encode_frames(run: FrameRun, path: str) -> list[int]:
    """Encode a run of frames with the encoder that its settings name; as `Encoder.encode` says."""
    encoder = encoder_of(run.settings.codec)
    pix_fmt = encoder.pixel_format(run.settings, run.facts)
    return encoder.encode(in_coded_colour(run, pix_fmt), path)
