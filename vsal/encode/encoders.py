"""One way to every encoder that vsal drives."""

from __future__ import annotations

from vsal.encode.av_chunk import encode_av_chunk
from vsal.encode.chunk_input import ChunkInput
from vsal.encode.kvazaar import encode_kvazaar_chunk
from vsal.encode.settings import Codec
from vsal.encode.svtav1 import encode_svtav1_chunk

_PROGRAMS = {Codec.SVTAV1: encode_svtav1_chunk, Codec.KVAZAAR: encode_kvazaar_chunk}


def encode_frames(chunk: ChunkInput, path: str) -> list[int]:
    """Encode a run of frames into a file that holds nothing else: MP4, or IVF from SVT-AV1.

    Args:
        chunk: frames, maps and settings.
        path: local file to write.

    Returns:
        Timestamps of the frames, in the source's time base. Those in the file only say in which order they are shown.

    Raises:
        TitleFailed: source, maps and encoder do not fit each other.
        SettingsError: the encoder does not take a setting.
    """
    return _PROGRAMS.get(chunk.settings.codec, encode_av_chunk)(chunk, path)
