"""Encoders that are programs of their own: feeding them frames through a pipe, and what they say."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable

import numpy as np
from av.video.frame import VideoFrame

from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.vitals import vitals

_LAST_WORDS_BYTES = 2000
# A program writes this of an option that it does not know, or of a value, and goes on as if nothing had been asked.
_REFUSALS = re.compile(r"Invalid option: ?(\S+?)\.?$|(Error: .* must be .*)", re.MULTILINE)

_COMPLAINT = re.compile(r"error|invalid|unprocessed|must be", re.IGNORECASE)


def feed(
    command: list[str],
    header: bytes,
    frame_header: bytes,
    frames: Iterable[VideoFrame],
    name: str,
    on_frame: Callable[[int], None],
) -> list[int]:
    """Run an encoder on frames written to its standard input, as they are.

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
                for frame in frames:
                    times.append(frame.pts or 0)
                    pipe.write(frame_header)
                    pipe.write(np.ascontiguousarray(frame.to_ndarray()).data)
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
