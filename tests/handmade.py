"""A clip and its manifest made by hand, for tests of what reads manifests: no model, no Ray."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vsal import manifest, storage
from vsal.manifest import MapRow
from vsal.roi.qp import qp_offsets
from vsal.settings import PrepareSettings
from vsal.video.probe import probe

WIDTH, HEIGHT, FPS = 330, 180, 24  # the last column of blocks reaches beyond the picture
SHOT, SPAN = 24, 8  # frames
BOX = 48  # side of the subject, in pixels
COLOURS = ((40, 70, 40), (40, 40, 90), (90, 60, 30))  # background of each shot, RGB
SUBJECT = (250, 240, 90)


def subject_at(frame: int) -> tuple[int, int]:
    """Left and top of the subject."""
    return 10 + (frame % SHOT) * 10, 20 + 30 * (frame // SHOT % 3)


def picture(frame: int) -> NDArray[np.uint8]:
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = COLOURS[frame // SHOT % len(COLOURS)]
    image += np.linspace(0, 60, WIDTH, dtype=np.uint8)[None, :, None]
    x, y = subject_at(frame)
    image[y : y + BOX, x : x + BOX] = SUBJECT
    return image


def write_clip(path: Path, shots: int = 3) -> Path:
    """An MP4 with B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(shots * SHOT):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_manifest(out: str | Path, title_id: str, clip: str | Path, settings: PrepareSettings | None = None) -> None:
    """The manifest that a perfect model would give; both may be URIs."""
    settings = settings or PrepareSettings()
    info = probe(str(clip))
    rows, cols = -(-HEIGHT // 16), -(-WIDTH // 16)
    frames = info.frames_estimate or 0
    ticks = info.frame_duration
    uri = manifest.maps_uri(str(out), title_id)
    metadata = manifest.file_metadata(storage.stat(str(clip)), "by_hand", "0" * 64, settings.shaping(), info.to_json())
    path = storage.staging_file(uri)
    with manifest.ManifestWriter(path, metadata) as writer:
        for number, start in enumerate(range(0, frames, SPAN)):
            saliency = np.zeros((rows, cols), np.uint8)
            x, y = subject_at(start + SPAN // 2)
            saliency[y // 16 : (y + BOX) // 16 + 1, x // 16 : (x + BOX) // 16 + 1] = 255
            offsets = qp_offsets(saliency.astype(np.float32) / 255)
            writer.append(
                [
                    MapRow(
                        title_id=title_id,
                        shot=start // SHOT,
                        map=number,
                        frame_start=start,
                        frame_end=start + SPAN,
                        pts_start=info.zero_pts + start * ticks,
                        pts_end=info.zero_pts + (start + SPAN) * ticks,
                        time_base=Fraction(info.time_base),
                        width=WIDTH,
                        height=HEIGHT,
                        samples=1,
                        motion=1.0,
                        saliency=saliency,
                        qp_offset=offsets,
                    )
                ]
            )
    storage.publish(path, uri)
