"""Sources and manifests made for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tests.encode.maps import blob, rows_of, steps
from vsal import storage
from vsal.encode.source import frames
from vsal.encode.source_facts import read_source_facts
from vsal.manifest import ManifestWriter, MapRow, file_metadata, maps_uri
from vsal.settings import PrepareSettings

WIDTH, HEIGHT, SHOT, MAP = 320, 192, 24, 8


def texture(seed: int, width: int, height: int) -> np.ndarray:
    """Detail everywhere, so that every block costs bits."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    mixed = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.0, 3.0))
    return (128 + 45 * mixed / np.abs(mixed).max() * 2).clip(16, 235).astype(np.uint8)


def write_source(
    path: Path,
    frame_count: int = 3 * SHOT,
    width: int = WIDTH,
    height: int = HEIGHT,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 24),
    codec: str = "libx264",
    setup: Callable[[av.video.stream.VideoStream], None] = lambda stream: None,
) -> Path:
    """A clip of three textures that drift, one after another."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=24, options={"crf": "8", "preset": "ultrafast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base
        setup(stream)
        for number in range(frame_count):
            # It turns and grows, so that no frame is told by the one before: VP9 leaves keyframes as they are.
            turn = cv2.getRotationMatrix2D((width / 3, height / 2), 1.5 * (number % SHOT), 1.0 + 0.01 * (number % SHOT))
            still = texture(number // SHOT, width, height)
            drawn = cv2.warpAffine(still, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
            frame = av.VideoFrame.from_ndarray(np.repeat(drawn[..., None], 3, axis=2), "rgb24").reformat(format=pix_fmt)
            frame.pts = number if times is None else times[number]
            frame.time_base = time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def wandering(rows: int, cols: int, count: int) -> list[np.ndarray]:
    """QP offsets of a subject that walks through the picture."""
    radius = max(2.0, rows / 5)
    return [steps(blob(rows, cols, rows * 0.5, cols * (0.2 + 0.6 * (i % 8) / 7), radius)) for i in range(count)]


def write_manifest(
    out: Path | str,
    source: Path | str,
    change: Callable[[MapRow], MapRow | None] = lambda row: row,
    title_id: str = "title",
) -> str:
    """A manifest of a source, of shots of 24 frames with a map every 8; returns the title's id.

    `change` may make another row of each, or leave it out with None.
    """
    picture = read_source_facts(str(source))
    info = picture.info
    times = [frame.pts for frame in frames(picture)]
    rows, cols = -(-info.height // 16), -(-info.width // 16)
    count = -(-len(times) // MAP)
    shots = [number * MAP // SHOT for number in range(count)]
    ends = [*times, times[-1] + info.frame_duration]
    found = []
    for row in rows_of(wandering(rows, cols, count), info.width, info.height, MAP, info.time_base, shots=shots):
        end = min(row.frame_end, len(times))
        whole = replace(row, title_id=title_id, frame_end=end, pts_start=ends[row.frame_start], pts_end=ends[end])
        changed = change(whole)
        if changed is not None:
            found.append(changed)
    uri = maps_uri(str(out), title_id)
    local = storage.staging_file(uri)
    metadata = file_metadata(storage.stat(str(source)), "none", "0" * 64, PrepareSettings().shaping(), info.to_json())
    with ManifestWriter(local, metadata) as writer:
        writer.append(found)
        writer.close()
    storage.publish(local, uri)
    return title_id
