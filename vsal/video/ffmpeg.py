"""The ffmpeg program: for what FFmpeg does and PyAV does not reach."""

from __future__ import annotations

import shutil

from vsal.errors import SettingsError


def find_ffmpeg() -> str:
    """An ffmpeg program: imageio-ffmpeg's, or the one on PATH.

    Raises:
        SettingsError: there is none.
    """
    path = bundled_ffmpeg() or shutil.which("ffmpeg")
    if path is None:
        raise SettingsError("no ffmpeg program is found: pip install imageio-ffmpeg brings one")
    return path


def bundled_ffmpeg() -> str | None:
    """imageio-ffmpeg's, or None."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
