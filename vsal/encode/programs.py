"""Encoders that are programs of their own: finding them, and feeding them frames through a pipe."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame

from vsal.encode.settings import SettingIgnored
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.vitals import vitals

SVTAV1_OLDEST = (1, 6)  # the first with --roi-map-file
_LAST_WORDS_BYTES = 2000
# A program writes this of an option that it does not know, or of a value, and goes on as if nothing had been asked.
_REFUSALS = re.compile(r"Invalid option: ?(\S+?)\.?$|(Error: .* must be .*)", re.MULTILINE)

_COMPLAINT = re.compile(r"error|invalid|unprocessed|must be", re.IGNORECASE)


@lru_cache(maxsize=8)
def find_svtav1(program: str | None = None) -> tuple[str, tuple[int, int]]:
    """SvtAv1EncApp and its version.

    Raises:
        SettingsError: there is none.
        SettingIgnored: it is too old for maps.
    """
    path = shutil.which(program or "SvtAv1EncApp")
    if path is None:
        raise SettingsError(
            f"{program or 'SvtAv1EncApp'} is not found: install it (Debian 13, Ubuntu 24.10: apt install svt-av1), or "
            "name it with --encoder-program FILE"
        )
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v?(\d+)\.(\d+)", said.stdout + said.stderr)
    if found is None:
        raise SettingsError(f"{path} --version does not say which SVT-AV1 it is: {(said.stdout + said.stderr)[:200]!r}")
    version = int(found.group(1)), int(found.group(2))
    if version < SVTAV1_OLDEST:
        raise SettingIgnored(
            f"{path} is SVT-AV1 {version[0]}.{version[1]}, and ROI map files came with {SVTAV1_OLDEST[0]}."
            f"{SVTAV1_OLDEST[1]}: install a later one, or encode without maps with --no-roi."
        )
    return path, version


@lru_cache(maxsize=8)
def find_kvazaar_ffmpeg(program: str | None = None) -> str:
    """An ffmpeg program that holds kvazaar: the one asked for, imageio-ffmpeg's, or the one on PATH.

    Raises:
        SettingsError: none of them does.
    """
    tried = []
    for path in [program] if program else [_imageio_ffmpeg(), shutil.which("ffmpeg")]:
        if path is None or shutil.which(path) is None:
            continue
        tried.append(path)
        said = subprocess.run([path, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
        if "libkvazaar" in said.stdout:
            return path
    where = ", ".join(tried) or "no ffmpeg"
    raise SettingsError(
        f"kvazaar is not found ({where}): pip install imageio-ffmpeg brings an ffmpeg with it, or name one with "
        "--encoder-program FILE"
    )


def find_ffmpeg() -> str:
    """An ffmpeg program: imageio-ffmpeg's, or the one on PATH.

    Raises:
        SettingsError: there is none.
    """
    path = _imageio_ffmpeg() or shutil.which("ffmpeg")
    if path is None:
        raise SettingsError("no ffmpeg program is found: pip install imageio-ffmpeg brings one")
    return path


def _imageio_ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def feed(
    command: list[str],
    header: bytes,
    frame_header: bytes,
    found: Iterable[VideoFrame],
    pix_fmt: str,
    name: str,
    on_frame: Callable[[int], None],
) -> list[int]:
    """Run an encoder on frames written to its standard input.

    Returns:
        The frames' timestamps.

    Raises:
        TitleFailed: the program fails; its last words are in the text.
        SettingsError: it went on without an option that it was given.
    """
    times: list[int] = []
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=subprocess.STDOUT)
        try:
            assert process.stdin is not None
            with vitals.waiting_for(process), process.stdin as pipe:
                pipe.write(header)
                for frame in found:
                    times.append(frame.pts or 0)
                    same = frame if frame.format.name == pix_fmt else frame.reformat(format=pix_fmt)
                    pipe.write(frame_header)
                    pipe.write(np.ascontiguousarray(same.to_ndarray()).data)
                    on_frame(len(times))
            with vitals.waiting_for(process):  # it codes what it has looked ahead at
                status = process.wait()
        except BrokenPipeError:
            status = process.wait() or 1
        except BaseException:
            process.kill()
            process.wait()
            raise
        words.seek(0)
        refused = _REFUSALS.search(words.read().decode(errors="replace"))
        if refused:
            raise SettingsError(f"{name} would go on without an option that was asked for: {refused[1] or refused[2]}")
        if status != 0:
            words.seek(max(0, words.seek(0, 2) - _LAST_WORDS_BYTES))
            last = [line.strip() for line in words.read().decode(errors="replace").split("\n") if line.strip()]
            said = " / ".join([line for line in last if _COMPLAINT.search(line)][:4] or last[-4:])
            raise TitleFailed(Reason.UNSUPPORTED, f"{name} ended with {status} after {len(times)} frames: {said}")
    return times
